#!/usr/bin/env python3
"""Show some images of a corpus: their tags, their sentences with scores, and which phrase is linked to which tag.

    python tools/show_retrieval.py corpus=data/corpus/toyworld [num_images=10] [seed=0] [out=FOLDER] [images=FOLDER]

The images are chosen at random; another seed chooses others. Noun phrases are underlined, linked ones in the colour of
their tag, with the similarity behind them. With out, the same images are also in out/retrieval.html, a single file,
with their pictures: those that a corpus from pictures has of its own, or what images names, as in
tools/inspect_corpus.py.
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.report.images import show_command

if __name__ == "__main__":
    sys.exit(run_command(show_command, __doc__))
