#!/usr/bin/env python3
"""A page in the browser to ask trained models about pictures. It works offline, and sends nothing anywhere.

    python tools/app.py model=save regions=data/regions images=data/pictures
    python tools/app.py model=[save,save/vqa2,save/refcoco_plus] detector=ustc-community/dfine-large-coco

model     the folder of a run (env.save_dir) or a checkpoint in it, an exported model, or a name on Hugging Face's hub;
          or several: each question is answered by all that were trained for it, and the others are not offered
regions   a region store, a corpus, or a feature folder or LMDB to choose images from
images    the folder with the pictures of these images (IMAGE_ID.jpg, .png, .webp), to draw on
detector  finds regions in pictures that are uploaded; known where the model's corpus was made with one
top_k     how many words or answers are shown: 5
host, port    where the page is served: 127.0.0.1, for this machine alone, and the first free port from 7860
device, dtype  where it computes (auto, cpu, cuda:1), and in what: float32, bfloat16, float16, auto

Needs Gradio: pip install ".[app]". Ctrl-C ends it, and removes what was uploaded.
"""

import sys

from mmf_muvla.app.command import app_command
from mmf_muvla.command_line import run_command

if __name__ == "__main__":
    sys.exit(run_command(app_command, __doc__))
