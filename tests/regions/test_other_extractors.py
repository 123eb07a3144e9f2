"""The files of other extractors: the same images in each of the formats are the same store."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.artifacts.executors import LocalExecutor
from mmf_muvla.datasets.images import open_images
from mmf_muvla.errors import InputError
from mmf_muvla.pairing.build import build_corpus
from mmf_muvla.pairing.config import BuildConfig, load_config
from mmf_muvla.reading.problems import BadRecord
from mmf_muvla.regions.checks import FoundImage, Place, check_image
from mmf_muvla.regions.importing import import_regions, region_store
from mmf_muvla.regions.options import RegionOptions
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.sources import REGION_FORMATS, ListedSource, NameIds, open_regions
from mmf_muvla.regions.store import RegionStore
from tests.regions import extractor_files as files
from tests.regions.extractor_files import WITH_CLASSES, WITHOUT_CLASSES, Detected, detected
from tests.regions.mmf_files import FEATURE_DIM, NAMES, MmfImage, write_labels, write_mmf_folder

IDS = ["000000000009", "a b", "val2014_7", "ünïcode"]


def images() -> list[Detected]:
    return [detected(image_id, 500 + 20 * number, 375) for number, image_id in enumerate(IDS)]


def run(source: Path, out: Path, policy: str = "error", **options: Any) -> tuple[dict[str, int], RegionStore]:
    labels = str(write_labels(out.parent))
    given = RegionOptions(**{"feature_dim": FEATURE_DIM, "label_map": labels, **options})
    counts = import_regions([source], given, policy, 1.0, out)
    return counts, RegionStore(out)


def check_arrays(store: RegionStore, expected: Sequence[Detected]) -> None:
    """Features, boxes and sizes, to the bit."""
    assert store.ids == [image.image_id for image in expected]
    for image in expected:
        regions = store.get(image.image_id)
        assert (regions.width, regions.height) == (image.width, image.height)
        assert regions.image_feature_0.tobytes() == image.features.astype(np.float16).tobytes()
        assert regions.bbox.tobytes() == image.boxes.tobytes()


@pytest.mark.parametrize("name", ["vinvl", "scene_graph_benchmark", "oscar", "lxmert", "bottom_up"])
def test_short_features_are_read_in_shorter_pieces(name: str, tmp_path: Path) -> None:
    """Otherwise a piece of 16 MiB, of features of 8 numbers, would be of a hundred thousand images and more."""
    _, write = {**WITH_CLASSES, **WITHOUT_CLASSES}[name]
    source = write(tmp_path / "source", images())
    opened = open_regions(source, RegionOptions())
    assert opened.lines_file
    os.truncate(opened.lines_file, 2**25)
    for feature_dim, size in ((2048, 2**24), (256, 2**24), (8, 2**19)):
        shards = list(type(opened)(source, RegionOptions(feature_dim=feature_dim)).shards(tmp_path / "index"))
        assert shards == [(start, start + size) for start in range(0, 2**25, size)]


def test_pieces_are_named_only_where_features_are_short(vinvl: Any, fake_image: Any, tmp_path: Path) -> None:
    """What was made of long ones before is not made anew."""
    sources = [vinvl([fake_image("1")])]
    for feature_dim, named in ((2048, None), (256, None), (255, "short"), (8, "short")):
        options = RegionOptions(feature_dim=feature_dim)
        store = region_store(tmp_path / "store", sources, options, "error", 0.0)
        assert store.made_from["parameters"].get("pieces") == named


@pytest.mark.parametrize("name", WITH_CLASSES)
def test_formats_with_classes_give_the_same_store(name: str, tmp_path: Path) -> None:
    kind, write = WITH_CLASSES[name]
    source = write(tmp_path / "source", images())
    found = open_regions(source, RegionOptions())
    assert f"{type(found).__module__}:{type(found).__name__}" == REGION_FORMATS[kind]
    _, store = run(source, tmp_path / "store")
    check_arrays(store, images())
    for image in images():
        regions = store.get(image.image_id)
        assert regions.tags(store.object_names, store.attribute_names) == [NAMES[it] for it in image.class_id]
        assert regions.confidence.tobytes() == image.confidence.tobytes()
    _, vinvl = run(files.write_vinvl(tmp_path / "vinvl", images()), tmp_path / "vinvl-store")
    assert store.content == vinvl.content


@pytest.mark.parametrize("name", WITHOUT_CLASSES)
def test_formats_without_classes_serve_for_fine_tuning(name: str, tmp_path: Path) -> None:
    kind, write = WITHOUT_CLASSES[name]
    source = write(tmp_path / "source", images())
    found = open_regions(source, RegionOptions())
    assert f"{type(found).__module__}:{type(found).__name__}" == REGION_FORMATS[kind]
    _, store = run(source, tmp_path / "store", label_map=None)
    check_arrays(store, images())
    assert store.object_names == []
    read = open_images(tmp_path / "store", FEATURE_DIM).get(IDS[0])
    assert read.class_id.tolist() == [-1] * 5 and read.confidence.tolist() == [1] * 5
    # A label map, which other sources may need, changes nothing.
    assert run(source, tmp_path / "labelled")[1].content == store.content


@pytest.mark.parametrize("name", WITHOUT_CLASSES)
def test_a_corpus_needs_classes(name: str, tmp_path: Path) -> None:
    source = WITHOUT_CLASSES[name][1](tmp_path / "source", images())
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("A dog.\nA car.\n")
    arguments = [f"regions={source}", f"sentences={sentences}", f"out={tmp_path / 'corpus'}", "num_workers=1"]
    config = load_config(BuildConfig, [*arguments, f"region_options.feature_dim={FEATURE_DIM}", "retrieval.k=1"])
    with pytest.raises(InputError, match="has no object classes, of which a corpus is made") as error:
        build_corpus(config)
    assert error.value.where == str(source)
    assert "fine-tuning, import these with tools/import_regions.py" in error.value.remedy


class Unsure(ListedSource):
    """A format that knows the class of one of two regions, and in the first image of both."""

    def names(self) -> tuple[list[str], list[str]]:
        return ["dog"], []

    def image_ids(self, problems: list[BadRecord]) -> list[str]:
        return ["1", "2"]

    def read_image(self, image_id: str, names: NameIds) -> FoundImage:
        arrays = np.ones((2, FEATURE_DIM)), np.array([[0, 0, 9, 9], [0, 0, 5, 5]])
        classes = np.array([0, 0 if image_id == "1" else -1])
        regions = Regions(image_id, 10, 10, *arrays, classes, np.full(2, -1), np.ones(2))
        return check_image(regions, self.options, Place(self.path, None, image_id))


@pytest.mark.parametrize("needs_classes", [False, True])
def test_a_region_without_a_class_is_damage_in_a_corpus(needs_classes: bool, tmp_path: Path) -> None:
    options = RegionOptions(feature_dim=FEATURE_DIM, format=f"{__name__}:{Unsure.__name__}")
    artifact = region_store(tmp_path / "store", [tmp_path], options, "skip", 1.0, needs_classes=needs_classes)
    assert artifact.run().counts["skipped"] == needs_classes
    assert RegionStore(tmp_path / "store").ids == (["1"] if needs_classes else ["1", "2"])


@pytest.mark.parametrize("name", ["lxmert", "npz", "vilbert"])
def test_numbers_of_classes_need_names(name: str, tmp_path: Path) -> None:
    source = WITH_CLASSES[name][1](tmp_path / "source", images())
    with pytest.raises(InputError, match="numbers of object classes, whose names are not known"):
        run(source, tmp_path / "store", label_map=None)


def test_sources_with_and_without_classes_in_one_store(tmp_path: Path) -> None:
    first, second = images()[:2], images()[2:]
    sources = [files.write_lxmert(tmp_path / "lxmert", first), files.write_bottom_up(tmp_path / "bua", second)]
    options = RegionOptions(feature_dim=FEATURE_DIM, label_map=str(write_labels(tmp_path)))
    import_regions(sources, options, "error", 0, tmp_path / "store")
    store = RegionStore(tmp_path / "store")
    check_arrays(store, images())
    classes = [store.get(image_id).class_id.max() for image_id in IDS]
    assert classes == [len(NAMES) - 1] * 2 + [-1] * 2


@pytest.mark.parametrize("name", ["npz", "vilbert", "vilbert_lmdb"])
def test_tasks_read_images_by_their_ids(name: str, tmp_path: Path) -> None:
    _, write = (WITH_CLASSES | WITHOUT_CLASSES)[name]
    source = open_images(write(tmp_path / "source", images()))
    assert source.feature_dim == FEATURE_DIM
    assert IDS[1] in source and "x" not in source and f"../{IDS[1]}" not in source
    for image in images():
        regions = source.get(image.image_id)
        assert regions.image_feature_0.tobytes() == image.features.astype(np.float16).tobytes()
        assert regions.bbox.tobytes() == image.boxes.tobytes()


@pytest.mark.parametrize("name", ["bottom_up", "lxmert", "oscar", "scene_graph_benchmark"])
def test_tasks_need_a_store_of_the_others(name: str, tmp_path: Path) -> None:
    source = (WITH_CLASSES | WITHOUT_CLASSES)[name][1](tmp_path / "source", images())
    for path in (source, next(source.glob("*.tsv"))):
        with pytest.raises(InputError, match=r"holds no image features|is a file that is no LMDB") as error:
            open_images(path)
        assert "make a store of other formats with tools/import_regions.py" in error.value.remedy


def test_several_processes_write_the_same_store(tmp_path: Path) -> None:
    many = [detected(f"{number:03d}", num_regions=2) for number in range(100)]
    for name in ("lxmert", "npz", "scene_graph_benchmark"):
        source = WITH_CLASSES[name][1](tmp_path / name, many)
        options = RegionOptions(feature_dim=FEATURE_DIM, label_map=str(write_labels(tmp_path)))
        for workers in (1, 2):
            import_regions([source], options, "error", 0, tmp_path / f"{name}-{workers}", LocalExecutor(workers))
        contents = [RegionStore(tmp_path / f"{name}-{workers}").content for workers in (1, 2)]
        assert contents[0] == contents[1]


# --- scene_graph_benchmark


@pytest.mark.parametrize(("short", "long"), [(800, 1333), (600, 1000)])
def test_rects_in_the_detectors_scale(short: int, long: int, tmp_path: Path) -> None:
    many = [detected(str(number), 640, 480) for number in range(30)]
    scale = min(short / 480, long / 640)
    files.write_lines(tmp_path / "source/predictions.tsv", [files.sgb_line(image, scale) for image in many])
    files.write_lines(tmp_path / "source/hw.tsv", map(files.hw_line, many))
    counts, store = run(tmp_path / "source", tmp_path / "store")
    assert counts["boxes_mended"] == 30
    for image in many:
        np.testing.assert_allclose(store.get(image.image_id).bbox, image.boxes, atol=1e-3)


SIZES: dict[str, tuple[str, str]] = {
    "objects in a list": ("sizes.tsv", '{id}\t[{{"height": {h}, "width": {w}}}]'),
    "objects": ("sizes.tsv", '{id}\t{{"width": {w}, "height": {h}}}'),
    "two numbers": ("sizes.tsv", "{id}\t{h} {w}"),
    "two columns": ("sizes.tsv", "{id}\t{h}\t{w}"),
}


@pytest.mark.parametrize("case", SIZES)
def test_files_of_sizes(case: str, tmp_path: Path) -> None:
    name, form = SIZES[case]
    lines = [form.format(id=image.image_id, h=image.height, w=image.width) for image in images()]
    named = files.write_lines(tmp_path / name, lines, "\r\n")
    files.write_lines(tmp_path / "source/predictions.tsv", map(files.sgb_line, images()))
    _, store = run(tmp_path / "source", tmp_path / "store", image_sizes=str(named))
    check_arrays(store, images())


def test_a_json_of_sizes(tmp_path: Path) -> None:
    named = tmp_path / "sizes.json"
    named.write_text(json.dumps({it.image_id: {"height": it.height, "width": it.width} for it in images()}))
    files.write_lines(tmp_path / "source/predictions.tsv", map(files.sgb_line, images()))
    _, store = run(tmp_path / "source/predictions.tsv", tmp_path / "store", image_sizes=str(named))
    check_arrays(store, images())


BAD_SIZES: dict[str, tuple[str, str]] = {
    "no tab": ("9 480 640\n", "line 1: is '9 480 640.n', not an image id, a tab and a size"),
    "no id": ("\t480 640\n", "line 1: is .*, not an image id"),
    "a word": ("9\t480 640\n7\tlarge\n", "line 2: size is 'large', not "),
    "one side": ("9\t480\n", "line 1: size is 480, not "),
    "zero": ("9\t0 640\n", "line 1: size is .*0.*, not "),
    "a fraction": ('9\t[{"height": 480.5, "width": 640}]\n', "line 1: size is .*480.5"),
    "without width": ('9\t{"height": 480}\n', "line 1: size is "),
    "absurd": (f"9\t480 {'9' * 5000}\n", "line 1: size is "),
    "nested": (f"9\t{'[' * 30000}\n", "line 1: size is "),
    "two sizes": ("9\t480 640\n9\t480 641\n", r"line 2: image 9 has the sizes \(640, 480\) and \(641, 480\)"),
}


@pytest.mark.parametrize("case", BAD_SIZES)
def test_files_of_sizes_that_are_none(case: str, tmp_path: Path) -> None:
    content, message = BAD_SIZES[case]
    named = tmp_path / "hw.tsv"
    named.write_text(content)
    source = files.write_lines(tmp_path / "predictions.tsv", map(files.sgb_line, images()))
    with pytest.raises(InputError, match=message) as error:
        run(source, tmp_path / "store")
    assert "region_options.image_sizes" in error.value.remedy or case == "two sizes"


def test_sizes_that_nobody_knows(tmp_path: Path) -> None:
    source = files.write_sgb(tmp_path / "source", images())
    (source / "test.hw.tsv").rename(source / "other.hw.tsv")
    check_arrays(run(source, tmp_path / "store")[1], images())
    files.write_lines(source / "val.hw.tsv", ["9\t1 1"])
    with pytest.raises(InputError, match="has several files of images' sizes, other.hw.tsv and val.hw.tsv"):
        run(source, tmp_path / "two")
    for file in source.glob("*.hw.tsv"):
        file.unlink()
    with pytest.raises(InputError, match="nothing says how large images are: .* no image_w") as error:
        run(source, tmp_path / "none")
    assert "region_options.image_sizes" in error.value.remedy
    files.write_lines(source / "hw.tsv", list(map(files.hw_line, images()[1:])))
    counts, store = run(source, tmp_path / "most", "skip")
    assert counts["skipped"] == 1 and store.ids == IDS[1:]
    (entry,) = map(json.loads, (tmp_path / "most/skipped.jsonl").read_text().splitlines())
    assert (entry["reason"], entry["line"], entry["id"]) == ("image has no size", 1, IDS[0])
    with pytest.raises(InputError, match="no such file"):
        run(source, tmp_path / "absent", image_sizes=str(tmp_path / "absent.tsv"))


def test_attributes_that_the_detector_does_not_mean(tmp_path: Path) -> None:
    image = detected("1", num_regions=3)
    objects = image.objects(
        feature=[files.in_base64(row) for row in image.features],
        attributes=[["red", "old"], ["green", "red"], ["__no_attribute__"]],
        attr_scores=[[0.9, 0.1], [0.0, 0.0], [0.3]],
    )
    text = json.dumps({"objects": objects, "image_h": image.height, "image_w": image.width})
    source = files.write_lines(tmp_path / "predictions.tsv", [f"1\t{text}"])
    _, store = run(source, tmp_path / "store")
    assert store.get("1").tags(store.object_names, store.attribute_names) == ["red dog", "car", "tree"]


# --- Oscar


def test_oscars_files_can_be_named_in_several_ways(tmp_path: Path) -> None:
    source = files.write_oscar(tmp_path / "source", images())
    for number, path in enumerate((source / "test.yaml", source / "test.feature.tsv")):
        check_arrays(run(path, tmp_path / str(number))[1], images())
    (source / "test.yaml").unlink()
    check_arrays(run(source, tmp_path / "folder")[1], images())
    files.write_oscar(source, images(), "val")
    check_arrays(run(source / "val.yaml", tmp_path / "one of two")[1], images())
    with pytest.raises(InputError, match=r"has several pairs of files: test\.feature\.tsv, val\.feature\.tsv"):
        run(source, tmp_path / "two")
    (source / "val.label.tsv").unlink()
    with pytest.raises(InputError, match=r"has no val\.label\.tsv"):
        run(source / "val.feature.tsv", tmp_path / "half")
    with pytest.raises(InputError, match=r"label is 'val\.label\.tsv', not a file beside it"):
        run(source / "val.yaml", tmp_path / "yaml")


def test_sizes_follow_from_two_kinds_of_boxes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    features, labels = zip(*(files.oscar_lines(image, with_box=True) for image in images()), strict=True)
    files.write_lines(source / "x.feature.tsv", features)
    files.write_lines(source / "x.label.tsv", labels)
    _, store = run(source, tmp_path / "store")
    for image in images():
        regions = store.get(image.image_id)
        assert (regions.width, regions.height) == (image.width, image.height)
        np.testing.assert_allclose(regions.bbox, image.boxes, atol=1e-3)
    # A size of the detector's is none of the image.
    large = detected("large", 1066, 800)
    features, labels = files.oscar_lines(large, with_box=True)
    files.write_lines(source / "x.feature.tsv", [features])
    files.write_lines(source / "x.label.tsv", [labels])
    with pytest.raises(InputError, match=r"is none, or the detector's: 1066\.00 x 800\.00") as error:
        run(source, tmp_path / "detectors")
    assert "region_options.image_sizes" in error.value.remedy


# --- LXMERT and bottom-up-attention.pytorch


def test_attributes_of_a_certain_confidence(tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    names = {str(number): name for number, name in enumerate(NAMES)}
    labels.write_text(json.dumps({"idx_to_label": names, "idx_to_attribute": {"0": "red", "1": "old"}}))
    image = detected("1", num_regions=3)
    columns = files.lxmert_line(image).split("\t")
    columns[5] = files.in_base64(np.array([1, 0, 1]))
    columns[6] = files.in_base64(np.array([0.9, 0.05, 0.1], np.float32))
    source = files.write_lines(tmp_path / "x.tsv", ["\t".join(columns)])
    _, store = run(source, tmp_path / "store", label_map=str(labels))
    assert store.get("1").tags(store.object_names, store.attribute_names) == ["old dog", "car", "old tree"]
    columns[5] = files.in_base64(np.array([1, 7, 8]))
    files.write_lines(source, ["\t".join(columns)])
    with pytest.raises(InputError, match="attribute is not in the label map: region 2: 8"):
        run(source, tmp_path / "unknown", label_map=str(labels))


def test_npz_in_several_shapes_and_names(tmp_path: Path) -> None:
    source, (first, second, third, _) = tmp_path / "source", images()
    (source / "deep").mkdir(parents=True)
    # As MCAN wants them: features with the regions last, and a picture's whole name.
    np.savez(source / f"{first.image_id}.jpg.npz", **{**files.npz_arrays(first), "x": first.features.T})
    np.savez(source / "deep" / f"{second.image_id}.npz", **files.npz_arrays(second))
    # Padded to a number of regions.
    padded = {name: np.pad(array, ((0, 4), (0, 0))) for name, array in (("x", third.features), ("bbox", third.boxes))}
    arrays = {**files.npz_arrays(third), **padded}
    del arrays["info"]
    np.savez(source / f"{third.image_id}.npz", **arrays)
    read = open_images(source)
    for key, image in ((first.image_id, first), (f"deep/{second.image_id}", second), (third.image_id, third)):
        assert read.get(key).image_feature_0.tobytes() == image.features.astype(np.float16).tobytes()
    for image in (first, second):
        (source / f"{image.image_id}.npz").unlink(missing_ok=True)
    (source / f"{third.image_id}.npz").unlink()
    _, store = run(source, tmp_path / "store")
    assert store.ids == [first.image_id, f"deep/{second.image_id}"]
    np.savez(source / f"{first.image_id}.npz", **files.npz_arrays(first))
    with pytest.raises(InputError, match="image id occurs twice: 000000000009"):
        run(source, tmp_path / "twice")


# --- What lies together


def test_files_of_several_formats_are_kept_apart(tmp_path: Path) -> None:
    source = files.write_npz(tmp_path / "source", images())
    files.write_bottom_up(source, images())
    with pytest.raises(InputError, match="files of several formats: bottom_up_tsv, bottom_up_npz") as error:
        run(source, tmp_path / "store")
    assert "region_options.format" in error.value.remedy
    check_arrays(run(source, tmp_path / "npz", format="bottom_up_npz")[1], images())
    write_mmf_folder(source, [MmfImage("x")])
    with pytest.raises(InputError, match="several formats: bottom_up_tsv, bottom_up_npz, mmf_folder"):
        run(source, tmp_path / "more")
    with pytest.raises(InputError, match="several formats"):
        open_images(source)


def test_several_tsv_files_are_named(tmp_path: Path) -> None:
    source = files.write_bottom_up(tmp_path / "source", images()[:2])
    files.write_lines(source / "features.tsv", map(files.bottom_up_line, images()[2:]))
    with pytest.raises(InputError, match=r"several files of the same format: features\.tsv, test_36\.tsv"):
        run(source, tmp_path / "store")
    options = RegionOptions(feature_dim=FEATURE_DIM)
    paths = [source / "test_36.tsv", source / "features.tsv"]
    import_regions(paths, options, "error", 0, tmp_path / "both")
    check_arrays(RegionStore(tmp_path / "both"), images())
    # Two files of the same images.
    counts = import_regions([paths[0], paths[0]], options, "skip", 1.0, tmp_path / "twice")
    assert (counts["images"], counts["skipped"]) == (2, 2)


@pytest.mark.parametrize(("magic", "name"), [(b"\x1f\x8b\x08", "gzip"), (b"PK\x03\x04", "zip"), (b"BZh9", "bzip2")])
def test_compressed_files_are_to_be_unpacked(magic: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / "trainval_36.tsv.gz"
    path.write_bytes(magic + bytes(range(256)) * 20)
    with pytest.raises(InputError, match=rf"is compressed \({name}\)") as error:
        run(path, tmp_path / "store")
    assert error.value.remedy == "Unpack it, and name what comes out of it"
