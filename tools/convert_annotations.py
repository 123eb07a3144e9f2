#!/usr/bin/env python3
"""Convert a benchmark's published annotation files into the files that the tasks read.

    python tools/convert_annotations.py task=vqa2 source=FOLDER out=data/vqa2 [key=value …]

task is one of the following; source is the folder with the published files, of which those that are there are taken:
  vqa2               v2_OpenEnded_mscoco_{train2014,val2014,test2015,test-dev2015}_questions.json and, where there are
                     any, v2_mscoco_{train2014,val2014}_annotations.json, or the same without v2_ (OK-VQA)
                     -> imdb_train.npy …, answers_vqa.txt
  nlvr2              train.json, dev.json, test1.json, test2.json -> train, val, test, test2.jsonl
  visual_entailment  snli_ve_{train,dev,test}.jsonl -> train, val, test.jsonl
  refcoco_plus       refs(unc).p and instances.json -> train, val, testA, testB.jsonl
  flickr30k_retrieval, coco_retrieval
                     Karpathy's dataset_flickr30k.json, dataset_coco.json -> train, val, test.jsonl (COCO's restval goes
                     to train)
Further keys:
  image_ids          a region store, MMF's features, or a text file with an image's key a line: records of other images
                     are counted; where no record's images are known, nothing is written
  unknown_images     keep (the default) or skip such records
  unlabelled         keep or skip records without a label; the default is skip for visual_entailment, else keep
  on_bad_record      error (the default), or skip: leave damaged records out, count them and list them in left_out.jsonl
  image_key          key of an image, made of {name} (COCO_val2014_000000000042, the default) or {image_id} (42);
                     of an image whose id is the name of a file, {name} is that without folders and ending
  halve_val          true: of vqa2 also write imdb_val_half1.npy and imdb_val_half2.npy, each with the questions about
                     half of the images: choose by one, report the other, since the test's answers are not published
  min_occurrences    of how many questions an answer must be the most frequent one to be in the vocabulary: 9
For questions of your own, in the form of VQA's files (image ids may be names, kinds of questions may be missing):
  questions.train    the name of the file in source; likewise questions.val, questions.test, questions.test-dev
  annotations.train  the same of the answers, annotations.val and so on; answers are texts, or have one as "answer"
  num_answers        how many answers a question has, or any; the default is 10 for the published files, else any
"""

import sys

from mmf_muvla.command_line import run_command
from mmf_muvla.datasets.tasks.conversion.command import convert_command

if __name__ == "__main__":
    sys.exit(run_command(convert_command, __doc__))
