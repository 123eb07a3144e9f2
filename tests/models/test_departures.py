"""Where the authors' published code departs from the paper, and the test that shows what ours does.

Each row of the table is a departure and the tests that would fail if ours had it, as ``file::test`` under ``tests/``.
What no other file tests is tested here.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import nn

from mmf_muvla.models.cpu.linear import ROWS_TOGETHER
from mmf_muvla.models.encoder import Encoder
from mmf_muvla.models.pretraining import PretrainingHeads
from mmf_muvla.models.trunk import TrunkConfig
from tests.objectives.test_equations import CLASSES, FEATURES, PRETRAINING_LOSSES, WORDS, Case, case, random_batch

HERE = "models/test_departures.py"
DEPARTURES = {
    "masked features are zeroed in place, MRFR compares with them": [
        "datasets/test_pretraining.py::test_masked_regions_keep_their_original_feature_as_target",
        "objectives/test_equations.py::test_3_1_region_tag",
    ],
    "padding regions are masked and regressed, the loss is averaged over all slots": [
        "datasets/test_pretraining.py::test_batch_fields_and_padding",
        f"{HERE}::test_padding_changes_no_loss",
    ],
    "w_ITM multiplies a batch mean": [
        "objectives/test_objectives.py::test_the_sum_is_the_papers_equation_pair_by_pair"
    ],
    "w_ITM misses p-MRTC and reaches tag batches": ["objectives/test_equations.py::test_3_4_the_curriculum"],
    "R-P masks any token, and both modalities": [
        "objectives/test_views.py::test_region_phrase_masks_one_modality_and_only_what_is_linked",
        "objectives/test_views.py::test_region_phrase_probability_is_rate_times_similarity",
    ],
    "phrase tokens are found by membership": [
        "objectives/test_views.py::test_phrase_tokens_are_found_by_span_not_by_word"
    ],
    "the keep-10-% rule has the wrong threshold": [
        "objectives/test_views.py::test_chosen_tokens_are_80_10_10",
        "objectives/test_views.py::test_region_phrase_probability_is_rate_times_similarity",
        "objectives/test_views.py::test_region_tag_masks_both_modalities_at_their_rates_and_hides_nine_of_ten",
    ],
    "p-MRTC is NaN without targets": [
        "objectives/test_objectives.py::test_a_batch_without_targets_adds_zero_and_keeps_the_graph",
        f"{HERE}::test_a_batch_without_any_target_trains_on_without_nan",
    ],
    "one data set a step, epochs count all four": [
        "objectives/test_equations.py::test_3_4_the_curriculum",
        "trainers/test_sampler.py::test_every_epoch_is_another_permutation_cut_into_whole_batches",
        "trainers/test_sampler.py::test_views_take_turns",
    ],
    "the embedding LayerNorm is bypassed": [
        "objectives/test_equations.py::test_3_0_what_enters_the_trunk",
        "models/test_embeddings.py::test_regions_and_locations_start_at_the_size_of_words",
    ],
    "vocabulary logits at all positions": [f"{HERE}::test_vocabulary_logits_at_targets_only"],
    "everything is padded to 60 tokens and 100 regions": [
        "datasets/test_pretraining.py::test_batch_fields_and_padding",
        f"{HERE}::test_the_trunk_works_on_real_positions_only",
    ],
    "negatives differ by image id only": [
        "objectives/test_views.py::test_negatives_are_as_frequent_as_positives_and_never_the_images_own",
        "datasets/test_pretraining.py::test_sentences_are_the_images_own_and_all_k_of_them_are_seen",
    ],
    "640 kB of zeros ride with each sample": [f"{HERE}::test_a_stored_image_is_its_features_and_little_more"],
    "features and annotations are pickles": [
        "reading/test_restricted_npy.py::test_code_is_refused_and_not_run",
        "trainers/test_checkpoints.py::test_code_in_a_checkpoint_is_not_run",
    ],
    "box coordinates must be divided by hand": ["regions/test_importing.py"],
    "pretrain.yaml is no YAML, with another learning rate": [f"{HERE}::test_configs_are_the_papers"],
    "corpus building is not published": ["pairing/test_build.py"],
}
TEXT_BY_ROW = ("input_ids", "attention_mask", "mlm_labels", "token_region")
TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("departure", DEPARTURES)
def test_every_departure_has_its_test(departure: str) -> None:
    for name in DEPARTURES[departure]:
        file, _, function = name.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in names if function else any(n.startswith("test_") for n in names), name


def losses_of(it: Case, batch: dict) -> dict[str, float]:
    output = it.heads(it.encoder, batch)
    return {loss.name: loss()({}, output).item() for loss in PRETRAINING_LOSSES}


def test_padding_changes_no_loss() -> None:
    """Ten more padding regions and tokens, full of numbers that must not matter."""
    it = case(0, epoch=1)
    padded = {}
    for name, value in it.batch.items():
        padded[name] = value
        if name in ("image_feature_0", "bbox", "region_mask", "object_class", "phrase_ids"):
            fill = {"region_mask": False, "phrase_ids": -100}.get(name, 3)
            more = torch.full((value.shape[0], 10, *value.shape[2:]), fill, dtype=value.dtype)
            padded[name] = torch.cat([value, more], dim=1)
        if name in (*TEXT_BY_ROW, "hidden_regions", "region_targets"):
            fill = {"input_ids": 5, "mlm_labels": -100, "token_region": -1}.get(name, False)
            more = torch.full((*value.shape[:2], 10), fill, dtype=value.dtype)
            padded[name] = torch.cat([value, more], dim=2)
    assert losses_of(it, padded) == pytest.approx(losses_of(it, it.batch), rel=1e-6)


def test_a_batch_without_any_target_trains_on_without_nan() -> None:
    it = Case(seed=1, epoch=0)
    it.batch["mlm_labels"].fill_(-100)
    it.batch["region_targets"].fill_(False)
    it.batch["phrase_ids"].fill_(-100)
    losses = losses_of(it, it.batch)
    assert losses.pop("itm") > 0
    assert losses == {"mlm": 0, "mrc": 0, "mrfr": 0, "p_mrtc": 0}

    output = it.heads(it.encoder, it.batch)
    torch.stack([loss()({}, output) for loss in PRETRAINING_LOSSES]).sum().backward()
    gradients = [p.grad for module in (it.encoder, it.heads) for p in module.parameters()]
    assert all(gradient is None or torch.isfinite(gradient).all() for gradient in gradients)


def test_vocabulary_logits_at_targets_only() -> None:
    it = case(2)
    targets = int((it.batch["mlm_labels"] != -100).sum())
    assert it.output.predictions["mlm"].prediction.shape == (targets, WORDS)
    linked = int((it.batch["phrase_ids"][..., 0] != -100).sum())
    assert it.output.predictions["p_mrtc"].prediction.shape == (linked, WORDS)


def test_the_trunk_works_on_real_positions_only() -> None:
    it = case(3)
    sizes: list[int] = []
    hook = it.encoder.trunk.layers[0].norm.register_forward_hook(lambda _, inputs, output: sizes.append(len(inputs[0])))
    it.heads(it.encoder, it.batch)
    hook.remove()
    real = int(it.batch["attention_mask"].sum()) + 4 * int(it.batch["region_mask"].sum())
    assert sizes == [real + -real % ROWS_TOGETHER]  # but for the end of the batch


def test_behind_the_last_attention_only_what_heads_look_at_is_computed() -> None:
    it = case(3)
    sizes: list[int] = []
    hook = it.encoder.trunk.layers[-1].norm.register_forward_hook(
        lambda _, inputs, output: sizes.append(len(inputs[0]))
    )
    it.heads(it.encoder, it.batch)
    hook.remove()
    plan, samples = it.heads.planner(it.encoder)(it.batch), len(it.batch["mlm_labels"])
    assert len(plan.places["mlm"].state) == int((it.batch["mlm_labels"] != -100).sum())
    regions = {tuple(it) for name in ("p_mrtc", "mrc", "mrfr") for it in plan.places[name].state[:, None].tolist()}
    assert sizes == [len(plan.places["mlm"].state) + len(regions) + 2 * samples]  # and two [CLS] a sample


def test_a_stored_image_is_its_features_and_little_more(tmp_path: Path) -> None:
    from mmf_muvla.regions.store import RegionStore
    from tests.small_corpus import DIM, write_small_corpus

    store = RegionStore(write_small_corpus(tmp_path / "small", images=4) / "regions")
    on_disk = sum(path.stat().st_size for path in store.path.glob("*.safetensors"))
    assert on_disk < sum(len(store.get(image)) * (2 * DIM + 40) + 1200 for image in store.ids)


@pytest.mark.parametrize("name", ["pretrain_cc", "pretrain_bookcorpus"])
def test_configs_are_the_papers(name: str) -> None:
    from mmf_muvla.options.composing import configuration

    config = configuration(f"projects/muvla/{name}.yaml")
    assert config.optimizer.params.lr == 6e-5
    assert (config.training.batch_size, config.training.max_epochs) == (480, 20)
    assert config.scheduler.params.warmup_fraction == 0.1
    assert config.model_config.muvla.curriculum.warmup_epochs == 1


def test_the_same_batch_in_another_order_gives_the_same_losses() -> None:
    """One value per sample: what stands beside a sample in its batch does not matter."""
    torch.manual_seed(0)
    encoder = Encoder(TrunkConfig(WORDS, 16, 1, 2, 24, 40, hidden_dropout_prob=0.0), FEATURES).eval()
    heads: nn.Module = PretrainingHeads(encoder, FEATURES, CLASSES, warmup_epochs=1).eval()
    batch = random_batch(seed=4, epoch=1)
    turned = {n: v.flip(0) if torch.is_tensor(v) else v for n, v in batch.items()}
    one, other = heads(encoder, batch)["pretraining"], heads(encoder, turned)["pretraining"]
    torch.testing.assert_close(one.match_probability, other.match_probability.flip(0))
