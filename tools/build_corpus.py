#!/usr/bin/env python3
"""Build a weakly aligned corpus out of images' regions and unrelated sentences.

    python tools/build_corpus.py config=projects/muvla/corpus/toyworld.yaml [key=value …]
    python tools/build_corpus.py config=projects/muvla/corpus/toyworld.yaml status [check=true]

The first form runs the stages regions, sentences, embed, retrieve, phrases, link and pack; what is done already, from
the same inputs with the same options, is skipped. The second says what is done; with check=true it also reads every
file, and names those that are damaged. Every key of the configuration file can be given on the command line as well:
retrieval.k=3, out=data/corpus/other. With executor=ray the nodes of a Ray cluster make the parts (docs/cluster.md).
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.pairing.commands import build_command

if __name__ == "__main__":
    sys.exit(run_command(build_command, __doc__))
