#!/usr/bin/env python3
"""Ask a trained model about a picture.

    python tools/ask.py model=save image=kitchen.jpg match="a woman on a sofa" fill="a woman sits on a [MASK]"
    python tools/ask.py model=save/vqa2 image=kitchen.jpg answer="what colour is the sofa?" [top_k=5] [json=true]
    python tools/ask.py model=save/nlvr2 image=[left.jpg,right.jpg] compare="both show a sofa"
    python tools/ask.py model=save/refcoco_plus image=42 regions=data/regions refer="the woman on the left"

model     the folder of a run (env.save_dir) or a checkpoint in it, an exported model, or a name on Hugging Face's hub
image     a picture; for compare two; with regions=, an image's id there
match, fill, answer, entails, compare, refer
          a text each, or several: match='[a dog, "a cat, or two"]'. What the model was not trained for is an error
attention  a sentence: draws which regions each word looks at, into out=attention.png (.svg, .pdf)
regions   take the image from a region store, a corpus, or a feature folder or LMDB, instead of detecting
detector  find regions with another detector than that of the model's corpus
top_k     how many words or answers
weights   of a run: best.ckpt, muvla_final.safetensors; those that its test scores are of
device, dtype  where it computes (auto, cpu, cuda:1), and in what: float32, bfloat16, float16, auto
json      print JSON, with all regions

Without a question the regions that are found are printed.
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.interface.command import ask_command

if __name__ == "__main__":
    sys.exit(run_command(ask_command, __doc__))
