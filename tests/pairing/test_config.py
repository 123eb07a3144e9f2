from __future__ import annotations

import os
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mmf_muvla.detection.options import DetectionOptions
from mmf_muvla.errors import InputError
from mmf_muvla.options.kinds import as_paths
from mmf_muvla.pairing.config import BuildConfig, ImportConfig, ShowConfig, load_config

NEEDED = ["out=o", "regions=r", "sentences=s"]
SHIPPED = ["toyworld", "cc", "bookcorpus", "pictures"]
# Explained there in a comment alone: what the files say is part of what the kept results were made from.
SAID_IN_COMMENTS = {f"region_options.{name}" for name in ("detector_size", "format", "image_sizes")}


def all_keys(content: Any, prefix: str = "") -> set[str]:
    keys = set()
    for key, value in content.items():
        keys.add(f"{prefix}{key}")
        if isinstance(value, dict):
            keys |= all_keys(value, f"{prefix}{key}.")
    return keys


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_say_everything(name: str, repository: Path) -> None:
    path = repository / f"projects/muvla/corpus/{name}.yaml"
    content = OmegaConf.to_container(OmegaConf.load(path))
    # What was added since results were made stands there as a comment: what a file says is part of what they are.
    added = {
        f"sentence_options.{key}": value
        for key, value in re.findall(r"^  # (max_\w+): (\d+)$", path.read_text(), re.MULTILINE)
    }
    usual = OmegaConf.structured(BuildConfig)
    expected = all_keys(OmegaConf.to_container(usual))
    if name == "pictures":  # which are detected, not read
        expected = {key for key in expected if not key.startswith("region_options")}
        expected |= {f"regions.{field.name}" for field in fields(DetectionOptions)}
    else:
        assert all(f"# {key.rpartition('.')[2]}: " in path.read_text() for key in SAID_IN_COMMENTS)
        expected -= SAID_IN_COMMENTS
    assert all_keys(content) | added.keys() == expected
    assert added == {key: str(OmegaConf.select(usual, key)) for key in added}
    config = load_config(BuildConfig, [f"config={path}"])
    assert config.retrieval.k == 5
    assert f"python tools/build_corpus.py config=projects/muvla/corpus/{name}.yaml" in path.read_text()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_explain_every_key(name: str, repository: Path) -> None:
    lines = (repository / f"projects/muvla/corpus/{name}.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        is_key = ":" in line and not line.strip().startswith(("#", "-"))
        if is_key and not line.endswith(":"):
            # A comment stands above the key, or above the keys right before it.
            block = [above.strip() for above in lines[max(number - 3, 0) : number]]
            assert any(above.startswith("#") for above in block), line


def test_defaults_of_detection_are_those_that_the_file_says(repository: Path) -> None:
    config = load_config(BuildConfig, [f"config={repository / 'projects/muvla/corpus/pictures.yaml'}"])
    usual = DetectionOptions(images=config.regions.images, detector=config.regions.detector)
    # What costs nothing to leave out of a store, but is wanted on the pages of a corpus.
    assert config.regions == replace(usual, thumbnails=256)


def test_shipped_files_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(BuildConfig, ["config=projects/muvla/corpus/toyworld.yaml"])
    assert config.sentences == "data/toyworld/captions.txt"


def test_command_line_overrides_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("out: o\nregions: [a, b]\nsentences: s\nretrieval:\n  k: 3\n")
    config = load_config(BuildConfig, ["retrieval.k=7", f"config={tmp_path / 'a.yaml'}", "link.threshold=0.25"])
    assert (config.retrieval.k, config.link.threshold, config.regions) == (7, 0.25, ["a", "b"])
    assert load_config(BuildConfig, [*NEEDED, "regions=[x,y]"]).regions == ["x", "y"]
    assert load_config(BuildConfig, [*NEEDED, "query.separator=', '"]).query.separator == ", "


def test_names_of_classes_are_the_users_own() -> None:
    config = load_config(BuildConfig, [*NEEDED, "region_options.rename.tvmonitor=tv monitor"])
    assert config.region_options.rename == {"tvmonitor": "tv monitor"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["config=absent.yaml"], "config=absent.yaml: no such file"),
        (["config=projects/muvla/corpus/absent.yaml"], "absent.yaml: no such file in this project"),
        (["status"], "status: is not understood"),
        (NEEDED[:2], "command line: sentences not given"),
        ([*NEEDED, "retrieval.top_k=3"], r"unknown key 'retrieval.top_k'. Did you mean retrieval.k"),
        ([*NEEDED, "k=3"], r"unknown key 'k'. Did you mean retrieval.k\?"),
        ([*NEEDED, "embeding.model=x"], r"unknown key 'embeding'. Did you mean embedding"),
        ([*NEEDED, "xyzzy=1"], "unknown key 'xyzzy'. Known keys: out, regions, sentences"),
        ([*NEEDED, "retrieval.k=many"], "retrieval.k"),
        ([*NEEDED, "query.separator=, "], r"query.separator=, : the value is not valid YAML"),
        ([*NEEDED, "retrieval.k=0"], "retrieval.k=0: must be between 1 and 1000"),
        ([*NEEDED, "retrieval.max_uses=0"], "retrieval.max_uses=0"),
        ([*NEEDED, "retrieval.scores=dot"], "retrieval.scores=dot"),
        ([*NEEDED, "link.threshold=1.5"], "link.threshold=1.5: must be between 0 and 1"),
        ([*NEEDED, "query.order=random"], "query.order=random: unknown value. Use one of frequency"),
        ([*NEEDED, "on_bad_record=ignore"], "on_bad_record=ignore: unknown value. Use one of error, skip"),
        ([*NEEDED, "sentence_options.min_words=9", "sentence_options.max_words=8"], "min_words=9 exceeds max_words=8"),
        ([*NEEDED, "retrieval=5"], r"'retrieval' is a group of options, not a value \(5\). Set one of retrieval.k,"),
    ],
)
def test_errors(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(BuildConfig, arguments)


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for content in ("a: [1", "- a\n- b\n", "\x00"):
        path.write_text(content)
        with pytest.raises(InputError, match=r"a.yaml: (is not valid YAML|does not hold keys and values)"):
            load_config(BuildConfig, [f"config={path}"])
    path.write_text("out: o\nretrieval:\n  kk: 5\n")
    with pytest.raises(InputError, match=r"a.yaml: unknown key 'retrieval.kk'. Did you mean retrieval.k"):
        load_config(BuildConfig, [f"config={path}"])


def test_a_limit_of_uses_does_not_go_with_leaving_out_own_sentences() -> None:
    own = ["sentence_options.format=jsonl", "sentence_options.image_id_column=i", "retrieval.exclude_own=true"]
    with pytest.raises(InputError, match="retrieval.max_uses=9: is not possible together with retrieval.exclude_own"):
        load_config(BuildConfig, [*NEEDED, *own, "retrieval.max_uses=9"])
    assert load_config(BuildConfig, [*NEEDED, "retrieval.max_uses=9"]).retrieval.max_uses == 9


def test_paths() -> None:
    assert as_paths("a") == [Path("a")]
    assert as_paths(["~/a", "b"]) == [Path(os.path.expanduser("~/a")), Path("b")]
    for value in ("[]", "['']", "null", ""):
        with pytest.raises(InputError, match="regions=.*is neither a path nor a list of paths"):
            load_config(BuildConfig, [*NEEDED, f"regions={value}"])
    with pytest.raises(InputError, match="unknown key 'regions.a'"):
        load_config(BuildConfig, [*NEEDED, "regions={a: 7}"])


def test_import_has_options_of_its_own() -> None:
    config = load_config(ImportConfig, ["regions=a", "out=b", "region_options.max_regions=36"])
    assert (config.regions, config.region_options.max_regions) == ("a", 36)
    with pytest.raises(InputError, match="unknown key 'retrieval'"):
        load_config(ImportConfig, ["regions=a", "out=b", "retrieval.k=3"])


def test_words_of_former_days_are_understood(caplog: pytest.LogCaptureFixture) -> None:
    assert load_config(ImportConfig, ["source=[a,b]", "out=o"]).regions == ["a", "b"]
    assert load_config(ShowConfig, ["corpus=c", "n=3"]).num_images == 3
    assert caplog.messages == ["source= is called regions= today", "n= is called num_images= today"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["sentence_options.format=tsv", "sentence_options.column=caption"], "column=caption: is no column"),
        (["sentence_options.column=-1"], "column=-1: is no column"),
        (["sentence_options.column=true"], "column=True: is no column"),
        (["sentence_options.column=[1]"], r"column=\[1\]: is no column"),
        (["sentence_options.format=text", "sentence_options.image_id_column=1"], "do not say which image"),
        (["retrieval.exclude_own=true"], "exclude_own=True: it is not known which image a sentence belongs to"),
        (
            ["pairing.source=captions"],
            "pairing.source=captions: it is not known which image a sentence belongs to. Set",
        ),
        (["pairing.source=truth"], "pairing.source=truth: unknown value. Use one of retrieval, captions"),
        (["pairing.true_fraction=1.01"], "pairing.true_fraction=1.01: must be between 0 and 1"),
        (["pairing.true_fraction=-0.5"], "pairing.true_fraction=-0.5: must be between 0 and 1"),
        (["pairing.true_fraction=.nan"], "pairing.true_fraction=nan: must be between 0 and 1"),
        (["pairing.seed=-1"], "pairing.seed=-1: must be between 0"),
        (
            ["pairing.source=captions", "retrieval.exclude_own=true", "sentence_options.image_id_column=image"],
            "pairing.source=captions: .* forbids. Set retrieval.exclude_own=false",
        ),
        (["retrieval.index=annoy"], "retrieval.index=annoy: unknown value. Use one of exact, flat, ivf, ivfpq, hnsw"),
        (["retrieval.faiss.nprobe=0"], "retrieval.faiss.nprobe=0: must be between 1"),
    ],
)
def test_options_that_do_not_fit_each_other(change: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(BuildConfig, [*NEEDED, *change])


def test_columns_by_number_and_name() -> None:
    options = load_config(BuildConfig, [*NEEDED, "sentence_options.column=2"]).sentence_options
    assert (options.column, options.format) == (2, "auto")
    options = load_config(BuildConfig, [*NEEDED, "sentence_options.column=caption"]).sentence_options
    assert options.column == "caption"
