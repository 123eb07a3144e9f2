#!/usr/bin/env python3
"""Train a small BERT on texts: next sentences, then masked tokens too; no images. A few minutes of one core.

    python tools/make_small_bert.py texts=[data/toyworld/stories.txt,data/toyworld/captions.txt] \\
        out=data/corpus/toyworld_bert [hidden_size=128] [num_hidden_layers=2] [device=auto] [seed=0] \\
        [next_sentence_updates=400] [updates=2400] [words=bert-base-uncased] [vocab_size=4000]

texts are UTF-8 files with a sentence a line. Empty lines end stories, whose sentences follow each other; in a file
without any, every sentence stands alone. Without texts, all those of data/toyworld are read. What is written is a BERT
checkpoint with pooler and both heads: name the folder as model_config.muvla.trunk.pretrained. evaluation.json in it
says how well it tells next sentences and masked tokens of what it was not trained on, for each file. Equal options make
equal files on the same machine with as many threads (OMP_NUM_THREADS).

With words=CHECKPOINT it begins with the word pieces of a larger BERT, and with their embeddings in fewer numbers, and
knows more of rare words than a few texts say. Give it room for them: vocab_size=20000.
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.models.small_bert import small_bert_command

if __name__ == "__main__":
    sys.exit(run_command(small_bert_command, __doc__))
