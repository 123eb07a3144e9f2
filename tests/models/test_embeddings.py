"""What enters the trunk, recomputed by hand."""

from __future__ import annotations

import pytest
import torch

from mmf_muvla.errors import InputError
from mmf_muvla.models.embeddings import MultimodalEmbeddings, region_location
from mmf_muvla.models.trunk import TrunkConfig

CONFIG = TrunkConfig(vocab_size=11, hidden_size=6, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
                     max_position_embeddings=7)  # fmt: skip


@pytest.fixture
def embeddings() -> MultimodalEmbeddings:
    torch.manual_seed(0)
    module = MultimodalEmbeddings(CONFIG, feature_dim=5).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def norm(module: MultimodalEmbeddings, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + module.norm.eps).sqrt()
    return scaled * module.norm.weight + module.norm.bias


def test_location_is_the_five_vector() -> None:
    bbox = torch.tensor([[[10.0, 20.0, 30.0, 60.0]]])
    location = region_location(bbox, torch.tensor([[100.0, 200.0]]))
    expected = torch.tensor([[[0.1, 0.1, 0.3, 0.3, (60 - 20) * (30 - 10) / (100 * 200)]]])
    torch.testing.assert_close(location, expected)


def test_word_is_word_plus_position_plus_segment_normalised_once(embeddings: MultimodalEmbeddings) -> None:
    ids = torch.tensor([[3, 5, 3]])
    expected = norm(
        embeddings, embeddings.word.weight[ids] + embeddings.position.weight[:3] + embeddings.segment.weight[0]
    )
    torch.testing.assert_close(embeddings.embed_text(ids), expected)


def test_texts_longer_than_the_positions_are_refused(embeddings: MultimodalEmbeddings) -> None:
    embeddings.embed_text(torch.ones(2, 7, dtype=torch.long))
    with pytest.raises(InputError, match="7 positions are too few for a text of 8 tokens.*max_text_tokens"):
        embeddings.embed_text(torch.ones(2, 8, dtype=torch.long))


def test_tag_has_its_box_in_place_of_the_position(embeddings: MultimodalEmbeddings) -> None:
    ids = torch.tensor([[1, 4]])
    location = torch.rand(1, 2, 5)
    result = embeddings.embed_text(ids, location, torch.tensor([[False, True]]))
    place = torch.stack([embeddings.position.weight[0], embeddings.location(location[0, 1])])
    torch.testing.assert_close(
        result[0], norm(embeddings, embeddings.word.weight[ids[0]] + place + embeddings.segment.weight[0])
    )


def test_region_is_feature_plus_location_plus_modality(embeddings: MultimodalEmbeddings) -> None:
    feature, location = torch.rand(1, 2, 5), torch.rand(1, 2, 5)
    result = embeddings.embed_regions(embeddings.project_features(feature), location)
    projected = embeddings.feature(embeddings.feature_norm(feature))
    expected = norm(embeddings, projected + embeddings.location(location) + embeddings.segment.weight[1])
    torch.testing.assert_close(result, expected)


def test_hidden_region_enters_as_the_zero_feature_at_its_place(embeddings: MultimodalEmbeddings) -> None:
    feature, location = torch.rand(1, 2, 5), torch.rand(1, 2, 5)
    hidden = torch.tensor([[True, False]])
    result = embeddings.embed_regions(embeddings.project_features(feature), location, hidden)
    zeroed = feature.clone()
    zeroed[0, 0] = 0
    torch.testing.assert_close(result, embeddings.embed_regions(embeddings.project_features(zeroed), location))


@pytest.mark.parametrize("size", [0.02, 0.05, 0.11])  # of random words, of BERT-base's, of a small BERT's
def test_regions_and_locations_start_at_the_size_of_words(size: float) -> None:
    torch.manual_seed(0)
    module = MultimodalEmbeddings(TrunkConfig(), feature_dim=2048).eval()
    torch.nn.init.normal_(module.word.weight, std=size)
    module.start_regions_at_the_size_of_words()
    projected = module.project_features(torch.rand(50, 2048) * 3)
    assert projected.std().item() == pytest.approx(size, rel=0.1)
    assert module.location.weight.std().item() == pytest.approx(size, rel=0.1)
