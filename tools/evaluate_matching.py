#!/usr/bin/env python3
"""Measure how well a pre-training matches images with captions of your own.

    python tools/evaluate_matching.py run=save captions=captions.jsonl regions=data/regions [key=value …]

Prints the measures, and writes them to results.json and, as a page, to matching.html: how often an image's own caption
scores higher than another image's, the AUC, R@1, R@5 and R@10 in both directions, and by how much masked nouns of a
caption are easier to predict beside its own image than beside another. Each has a 95 % interval, and beside it stands
what the retrieval reaches that pairs are made with: Sentence-BERT on the image's object tags.

run         folder of a pre-training (env.save_dir)
captions    true captions: {"image_id": …, "caption": …} a line, or "captions" with a list (.jsonl, .jsonl.gz). Use
            images that were not trained on
regions     regions of these images: a region store (tools/import_regions.py makes one), or MMF's features; as these
            have no names of classes, Sentence-BERT is left out then
out         where the two files are written (RUN/matching)
weights     which of the run's weights: muvla_final.safetensors, best.ckpt, models/model_1000.ckpt
candidates  how many images, with a caption each, are compared with each other: 100, or all. It takes one pass of the
            model for every image and candidate; candidates=6 is enough for pair accuracy and AUC
num_images  at most so many images, drawn at random (500)
seed        of images, captions, candidates and intervals (0)
batch_size  pairs in a pass (64)
device      auto (a GPU where there is one), cpu, cuda:1
embedding.model, query.min_confidence, …, phrases.model
            as for tools/build_corpus.py: how Sentence-BERT sees the tags, and what finds nouns. Of embedding and query,
            what is not given is as in the run's corpus, if its folder build is still there
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.report.matching_page import matching_command

if __name__ == "__main__":
    sys.exit(run_command(matching_command, __doc__))
