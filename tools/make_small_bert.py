#!/usr/bin/env python3
"""Train a small BERT on stories: masked tokens and next sentences, no images. Three minutes on two cores.

    python tools/make_small_bert.py texts=data/toyworld/stories.txt words=data/toyworld/words.txt \\
        out=data/corpus/toyworld_bert [hidden_size=128] [num_hidden_layers=2] [updates=3000] [device=auto] [seed=0]

texts is a UTF-8 file with a sentence a line and an empty line after each story, or a list of such files:
texts=[a.txt,b.txt]. words has words that the vocabulary is to have whole, too. What is written is a BERT checkpoint
with pooler and both heads: name the folder as model_config.muvla.trunk.pretrained. evaluation.json in it says how well
it tells masked tokens and next sentences of stories that it was not trained on.
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.models.small_bert import small_bert_command

if __name__ == "__main__":
    sys.exit(run_command(small_bert_command, __doc__))
