#!/usr/bin/env python3
"""Rank images and captions of your own by a pre-trained model, as it is (zero-shot) or fine-tuned for retrieval.

    python tools/evaluate_retrieval.py run=save captions=captions.jsonl regions=data/regions [key=value …]

Prints R@1, R@5, R@10 and the median rank, for each image among the captions and for each caption among the images, and
writes them to results.json and, as a page, to retrieval.html. Each has a 95 % interval, and beside it stand what the
run began with (untrained), the retrieval that pairs are made with (Sentence-BERT on the object tags), and chance.

run         folder of a pre-training or of a retrieval run (env.save_dir)
captions    true captions: {"image_id": …, "caption": …} a line, or "captions" with a list (.jsonl, .jsonl.gz); also the
            files of tools/convert_annotations.py for retrieval. Use images that were not trained on
regions     regions of these images: a region store (tools/import_regions.py makes one), or MMF's features; as these
            have no names of classes, Sentence-BERT is left out then
out         where the two files are written (RUN/retrieval)
weights     which of the run's weights: muvla_final.safetensors, best.ckpt, models/model_1000.ckpt
pools       how many images, with a caption each, are ranked together; all: every image with every caption ([100,all])
start       true, or false: leave out the untrained start, whose BERT checkpoint must still be there
num_images  at most so many images, drawn at random (1000)
seed        of images, captions, pools and intervals (0)
batch_size  about so many of the longest pairs pass the model at a time (64)
device      auto (a GPU where there is one), cpu, cuda:1
embedding.model, query.min_confidence, …
            as for tools/build_corpus.py: how Sentence-BERT sees the tags. What is not given is as in the run's corpus,
            if its folder build is still there
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.report.retrieval_evaluation import retrieval_command

if __name__ == "__main__":
    sys.exit(run_command(retrieval_command, __doc__))
