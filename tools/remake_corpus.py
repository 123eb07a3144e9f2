#!/usr/bin/env python3
"""Make the generated world's corpus whole again, of which only the pairs and sentences were carried.

    python tools/remake_corpus.py source=FOLDER out=FOLDER [num_workers=auto]

source has corpus.json, pairs.arrow and sentences.arrow of a corpus of the world that tools/make_toyworld.py makes
without options. The regions, 99 % of the corpus, are made anew and compared with the digest in corpus.json. Where the
processor rounds otherwise, so that features differ in bits, that is said, and the corpus can still be used.
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.toyworld.remake import remake_command

if __name__ == "__main__":
    sys.exit(run_command(remake_command, __doc__))
