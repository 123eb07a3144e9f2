"""The options of tools/make_toyworld.py, as a step of a study, for a world that is made in seconds."""

TINY_WORLD = [
    "out={out}", "scenes=60", "captions=120", "books=60", "stories=60", "true_captions=2", "heldout_scenes=2",
    "pictures=0", "task_train_scenes=60", "task_val_scenes=60", "task_test_scenes=60",
    "vqa_train_questions=60", "vqa_val_questions=30", "vqa_test_questions=30",
    "entailment_train_examples=45", "entailment_val_examples=9", "entailment_test_examples=9",
    "refcoco_train_expressions=60", "refcoco_val_expressions=30", "refcoco_test_expressions=30",
    "nlvr2_train_sentences=6", "nlvr2_train_examples=24", "nlvr2_val_examples=24", "nlvr2_test_examples=24",
]  # fmt: skip
