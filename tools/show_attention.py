#!/usr/bin/env python3
"""Draw which regions of an image each word of a sentence looks at, beside a control and a second model.

    python tools/show_attention.py run=save other=save_uvb image=2000001 regions=data/regions text="a dog on a sofa"
    python tools/show_attention.py run=save image=kitchen.jpg control=street.jpg text="a dog on a sofa"

Writes attention.png and attention.html: boxes on the picture, and words x regions, for the image and for another one
with the same words, whose attention shows what is looked at whatever is said.

run       the folder of a run (env.save_dir) or a checkpoint in it, an exported model, or a name on the hub
other     a second one, beside it
image     a picture; with regions=, an image's id there
text      the sentence; or several: text='[a dog, "a cat, or two"]'
regions   take images from a region store, a corpus, or a feature folder or LMDB, instead of detecting
images    with regions=: a folder with the pictures, IMAGE_ID.jpg or .png; without it boxes are drawn on a plain canvas
control   the other image, a picture or an id; not given: one of the region store, at random (seed), or none
layer, head
          which ones, counted from 0; not given: the mean of all
out       where the two files are written (RUN/attention)
weights   of the runs: best.ckpt, muvla_final.safetensors; those that their test scores are of
detector  find regions with another detector than that of the models' corpus
seed      of the other image (0)
device    auto (a GPU where there is one), cpu, cuda:1
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.report.attention_page import show_attention_command

if __name__ == "__main__":
    sys.exit(run_command(show_attention_command, __doc__))
