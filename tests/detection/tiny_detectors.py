"""Detectors of today's architectures, small and with random weights, saved to folders as their libraries save them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

NAMES = ["dog", "cat", "red car", "horse", "chair"]
_LABELS = {"id2label": dict(enumerate(NAMES)), "label2id": {name: number for number, name in enumerate(NAMES)}}
_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "dog", "cat", "red", "car", "horse", "chair"]
_DIM = 32
# A picture whose shorter side would have 96 pixels, unless the longer one had more than 160.
_SIZE = {"shortest_edge": 96, "longest_edge": 160}
_SQUARE = {"height": 96, "width": 96}


def _resnet() -> hf.ResNetConfig:
    stages = ["stage2", "stage3", "stage4"]
    return hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=stages)


def _last_of_resnet() -> hf.ResNetConfig:
    return hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, out_features=["stage4"])


# For transformers with an encoder and a decoder, as the first ones have them.
_LAYERS: dict[str, Any] = {
    "d_model": _DIM,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_queries": 12,
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "dropout": 0.0,
}
_REAL_TIME: dict[str, Any] = {
    "d_model": _DIM,
    "encoder_hidden_dim": _DIM,
    "encoder_in_channels": [8, 16, 16],
    "encoder_ffn_dim": 32,
    "encoder_attention_heads": 4,
    "decoder_in_channels": [_DIM] * 3,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 32,
    "num_queries": 12,
    "num_denoising": 0,
    "anchor_image_size": None,
}


def detr() -> tuple[Any, Any]:
    config = hf.DetrConfig(**_LAYERS, **_LABELS, backbone_config=_last_of_resnet())
    return hf.DetrForObjectDetection(config), hf.DetrImageProcessor(size=_SIZE)


def conditional_detr() -> tuple[Any, Any]:
    config = hf.ConditionalDetrConfig(**_LAYERS, **_LABELS, backbone_config=_last_of_resnet())
    return hf.ConditionalDetrForObjectDetection(config), hf.ConditionalDetrImageProcessor(size=_SIZE)


def deformable_detr() -> tuple[Any, Any]:
    config = hf.DeformableDetrConfig(**_LAYERS, **_LABELS, backbone_config=_resnet())
    return hf.DeformableDetrForObjectDetection(config), hf.DeformableDetrImageProcessor(size=_SIZE)


def rt_detr() -> tuple[Any, Any]:
    backbone = hf.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, out_features=["stage2", "stage3", "stage4"]
    )
    config = hf.RTDetrConfig(**_REAL_TIME, **_LABELS, backbone_config=backbone)
    return hf.RTDetrForObjectDetection(config), hf.RTDetrImageProcessor(size=_SQUARE)


def rt_detr_v2() -> tuple[Any, Any]:
    backbone = hf.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, out_features=["stage2", "stage3", "stage4"]
    )
    config = hf.RTDetrV2Config(**_REAL_TIME, **_LABELS, backbone_config=backbone)
    return hf.RTDetrV2ForObjectDetection(config), hf.RTDetrImageProcessor(size=_SQUARE)


def d_fine() -> tuple[Any, Any]:
    backbone = hf.HGNetV2Config(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1] * 4,
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 8, 8, 16],
        stage_mid_channels=[4, 4, 8, 8],
        stage_out_channels=[8, 8, 16, 16],
        stage_num_blocks=[1] * 4,
        stage_numb_of_layers=[1] * 4,
        out_features=["stage2", "stage3", "stage4"],
    )
    config = hf.DFineConfig(**_REAL_TIME, **_LABELS, backbone_config=backbone)
    return hf.DFineForObjectDetection(config), hf.RTDetrImageProcessor(size=_SQUARE)


def yolos() -> tuple[Any, Any]:
    config = hf.YolosConfig(
        hidden_size=_DIM,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        image_size=[96, 128],
        patch_size=16,
        num_detection_tokens=12,
        **_LABELS,
    )
    return hf.YolosForObjectDetection(config), hf.YolosImageProcessor(size=_SIZE)


def owlv2() -> tuple[Any, Any]:
    text = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    vision = {**text, "image_size": 96, "patch_size": 16}
    config = hf.Owlv2Config(
        text_config={**text, "vocab_size": 600, "max_position_embeddings": 16}, vision_config=vision, projection_dim=32
    )
    processor = hf.Owlv2Processor(hf.Owlv2ImageProcessor(size=_SQUARE), _clip_tokenizer())
    return hf.Owlv2ForObjectDetection(config), processor


def grounding_dino() -> tuple[Any, Any]:
    text = hf.BertConfig(
        vocab_size=len(_WORDS), hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32
    )
    swin = hf.SwinConfig(
        embed_dim=8,
        depths=[1] * 4,
        num_heads=[1, 2, 2, 2],
        window_size=4,
        image_size=96,
        out_features=["stage2", "stage3", "stage4"],
    )
    shape = {name: value for name, value in _LAYERS.items() if name != "backbone"}
    config = hf.GroundingDinoConfig(**shape, backbone_config=swin, text_config=text, max_text_len=24)
    processor = hf.GroundingDinoProcessor(hf.GroundingDinoImageProcessor(size=_SIZE), _bert_tokenizer())
    return hf.GroundingDinoForObjectDetection(config), processor


CLOSED: dict[str, Callable[[], tuple[Any, Any]]] = {
    it.__name__: it for it in (detr, conditional_detr, deformable_detr, rt_detr, rt_detr_v2, d_fine, yolos)
}
OPEN: dict[str, Callable[[], tuple[Any, Any]]] = {it.__name__: it for it in (owlv2, grounding_dino)}


def save_detector(name: str, folder: Path) -> Path:
    """Save the detector of an architecture to a folder, from which it can be loaded by path."""
    torch.manual_seed(0)
    model, processor = {**CLOSED, **OPEN}[name]()
    _spread_out(model)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _spread_out(model: torch.nn.Module) -> None:
    """Weights as they are at the beginning say the same of every picture and query."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "logit_" in name:
                weight.mul_(0.1)  # so that not all confidences are 0 or 1
            elif weight.ndim > 1:
                is_query = any(it in name for it in ("query_position_embeddings", "detection_tokens", "tgt"))
                noise = torch.randn(weight.shape, generator=generator)
                weight.add_(noise if is_query else noise / weight[0].numel() ** 0.5)


def _bert_tokenizer() -> Any:
    return hf.BertTokenizer(vocab={word: number for number, word in enumerate(_WORDS)})


def _clip_tokenizer() -> Any:
    """Every letter is a token."""
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    tokens = ["!!", *letters, *(f"{it}</w>" for it in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return hf.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16, pad_token="!!")
