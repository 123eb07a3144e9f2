#!/usr/bin/env python3
"""Measure a weakly aligned corpus, and write a page to browse it.

    python tools/inspect_corpus.py corpus=data/corpus/toyworld [out=data/corpus/toyworld/report]
        [captions=captions.jsonl] [images=FOLDER] [num_images=300] [seed=0]

Prints the measures and writes them to out/quality.json; out/corpus.html, a single file, shows them with plots, and
num_images of the images with their sentences and links.

captions   true captions of images of the corpus, {"image_id": …, "caption": …} a line (.jsonl, .jsonl.gz): tells how
           often an image's own captions were retrieved, and how alike true and retrieved captions are.
images     a folder with IMAGE_ID.jpg or .png, or a file name with {image_id} in it, or {image_id:012} for zeros in
           front: small copies become part of the page. With an address (https://…/{image_id}.jpg), the page links to
           the pictures. Not given, a corpus from pictures shows the copies that it keeps (regions.thumbnails), or
           else the pictures themselves, if they and the corpus's folder build are still there.
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.report.corpus_page import inspect_command

if __name__ == "__main__":
    sys.exit(run_command(inspect_command, __doc__))
