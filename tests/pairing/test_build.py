from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.errors import InputError
from mmf_muvla.pairing.build import make_stages
from mmf_muvla.pairing.commands import build_command, import_command
from mmf_muvla.pairing.config import BuildConfig, load_config
from mmf_muvla.pairing.store import Corpus, RegionStore
from mmf_muvla.report.images import show_command

STORE = ["store.json", "index.arrow", "tags.arrow", "regions-000000.safetensors"]
RESULTS = ["corpus.json", "sentences.arrow", "pairs.arrow", *(f"regions/{name}" for name in STORE)]
STAGES = ["regions", "sentences", "embed", "retrieve", "phrases", "link", "pack"]


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in RESULTS}


def to_do(arguments: list[str]) -> dict[str, str]:
    states = {stage.name: stage.state() for stage in make_stages(load_config(BuildConfig, arguments))}
    return {name: state.reason for name, state in states.items() if not state.done}


def run_tool(repository: Path, environment: dict[str, str], name: str, *arguments: str) -> Any:
    return subprocess.run(
        [sys.executable, str(repository / "tools" / name), *arguments], env=environment, capture_output=True, text=True
    )


@pytest.fixture
def copy(built_corpus: Path, tmp_path: Path) -> Path:
    """A copy of the built corpus, with what its stages left."""
    return shutil.copytree(built_corpus, tmp_path / "copy")


def test_sentences_fit_the_images(built_corpus: Path, world: Any) -> None:
    corpus = Corpus(built_corpus)
    fitting = 0
    for index, image in enumerate(world.images):
        item = corpus[index]
        fitting += any(name in corpus.sentence(item.sentence_ids[0]).text for name in image.names)
        for number, region_names in ((place, image.names) for place in range(3)):
            sentence = corpus.sentence(item.sentence_ids[number])
            for name, phrase in zip(region_names, item.link_phrase[number], strict=True):
                if name in sentence.text:
                    start, end = sentence.phrases[phrase]
                    assert name in sentence.text[start:end]
    assert fitting >= 57


def test_counts(built_corpus: Path, world: Any) -> None:
    corpus = Corpus(built_corpus)
    items = [corpus[index] for index in range(len(corpus))]
    assert corpus.counts == {
        "images": 60,
        "regions": sum(len(image.names) for image in world.images),
        "sentences": 108,
        "sentences_used": corpus.num_sentences,
        "phrases": sum(len(corpus.sentence(number).phrases) for number in range(corpus.num_sentences)),
        "links": sum(int((item.link_similarity > 0).sum()) for item in items),
        "skipped": 0,
    }


def test_boxes_lie_inside_images(built_corpus: Path) -> None:
    store = RegionStore(built_corpus / "regions")
    for image_id in store.ids:
        regions = store.get(image_id)
        assert (regions.bbox >= 0).all()
        assert (regions.bbox <= [regions.width, regions.height] * 2).all()
        assert (regions.bbox[:, 2:] > regions.bbox[:, :2]).all()


def test_same_inputs_give_the_same_bytes(built_corpus: Path, world: Any, tmp_path: Path) -> None:
    # Built from copies in another place, which are younger.
    inputs = shutil.copytree(world.folder, tmp_path / "inputs", copy_function=shutil.copyfile)
    build_command(type(world)(inputs, world.images, world.sentences).arguments(tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(built_corpus)


def test_regions_are_linked_not_copied(built_corpus: Path) -> None:
    for name in STORE:
        here, there = built_corpus / "regions" / name, built_corpus / "build" / "regions" / name
        assert here.stat().st_ino == there.stat().st_ino
    assert sorted(path.name for path in (built_corpus / "regions").iterdir()) == sorted(STORE)


def test_done_stages_are_skipped(copy: Path, world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file() and path.name != ".lock"}
    build_command(world.arguments(copy))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert capsys.readouterr().out.count("skipped, done before") == len(STAGES)
    build_command([*world.arguments(copy), "status"])
    assert "to do" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ("link.threshold=0.7", ["link", "pack"]),
        ("phrases.strip_determiners=false", ["phrases", "link", "pack"]),
        ("query.separator=', '", ["retrieve", "phrases", "link", "pack"]),
        ("embedding.dtype=float32", ["embed", "retrieve", "phrases", "link", "pack"]),
        ("sentence_options.max_words=9", ["sentences", *STAGES[2:]]),
        ("sentence_options.max_characters=2000", []),
        ("sentence_options.max_characters=1999", ["sentences", *STAGES[2:]]),
        ("sentence_options.max_word_characters=20", ["sentences", *STAGES[2:]]),
        ("region_options.max_regions=2", ["regions", *STAGES[3:]]),
        ("embedding.batch_size=7", []),
        ("num_workers=3", []),
        ("retrieval.faiss.nprobe=9", []),
        ("retrieval.sentences_at_once=70", []),
        ("retrieval.index=flat", ["retrieve", "phrases", "link", "pack"]),
        ("pairing.true_fraction=0.5", []),
        ("pairing.seed=3", []),
    ],
)
def test_options_redo_what_depends_on_them(change: str, redone: list[str], built_corpus: Path, world: Any) -> None:
    assert list(to_do([*world.arguments(built_corpus), change])) == redone


def test_given_pairs_leave_what_is_retrieved_as_it_was(built_corpus: Path) -> None:
    """A corpus that was built when there was no such option has not to be built again."""
    manifest = json.loads((built_corpus / "build" / "retrieve" / "manifest.json").read_text())
    assert set(manifest["made_from"]["parameters"]) == {
        *("order", "separator", "min_confidence", "unique", "attributes"),
        *("k", "index", "exclude_own"),
    }


def test_codes_leave_what_other_indexes_found_as_it_was(world: Any, tmp_path: Path) -> None:
    """A corpus that was built when there was no index of codes has not to be built again."""

    def parameters(*options: str) -> dict[str, Any]:
        config = load_config(BuildConfig, [*world.arguments(tmp_path), *options])
        return next(stage for stage in make_stages(config) if stage.name == "retrieve").parameters["faiss"]

    before = {
        *("factory", "nlist", "nprobe", "M", "efConstruction", "efSearch", "quantizer", "sentences_per_index"),
        "train_size",
    }
    assert set(parameters("retrieval.index=ivf")) == before
    changed = parameters("retrieval.index=ivfpq", "retrieval.faiss.code_size=32", "retrieval.faiss.candidates=50")
    assert changed == parameters("retrieval.index=ivf") | {"code_size": 32, "candidates": 50}


def test_limits_on_characters_leave_sentences_as_they_were(built_corpus: Path) -> None:
    """A corpus that was built when there were no such limits has not to be built again."""
    manifest = json.loads((built_corpus / "build" / "sentences" / "manifest.json").read_text())
    assert set(manifest["made_from"]["parameters"]) == {
        *("format", "column", "image_id_column", "min_words", "max_words"),
        *("on_bad_record", "max_skipped_fraction"),
    }


@pytest.fixture(scope="module")
def captioned(world: Any, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What to add to the world's arguments to build from its sentences as captions, one to four of each image."""
    path = tmp_path_factory.mktemp("captions") / "captions.tsv"
    owners = [image.image_id for image in world.images]
    owners += [image_id for image_id in owners[::4] for _ in range(3)]
    lines = [f"{owner}\t{sentence}\n" for owner, sentence in zip(owners, world.sentences, strict=False)]
    path.write_text("".join(lines))
    options = ["format=tsv", "column=1", "image_id_column=0"]
    return [f"sentences={path}", *(f"sentence_options.{option}" for option in options), "pairing.source=captions"]


@pytest.fixture(scope="module")
def caption_corpus(world: Any, captioned: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of true pairs; to be read only."""
    out = tmp_path_factory.mktemp("captions") / "built"
    build_command([*world.arguments(out), *captioned])
    return out


def test_own_captions_become_a_corpus(caption_corpus: Path, captioned: list[str], world: Any) -> None:
    corpus = Corpus(caption_corpus)
    own: dict[str, list[str]] = {}
    for line in Path(captioned[0].removeprefix("sentences=")).read_text().splitlines():
        image_id, sentence = line.split("\t")
        own.setdefault(image_id, []).append(sentence)
    for index, image in enumerate(world.images):
        texts = [corpus.sentence(number).text for number in corpus[index].sentence_ids]
        assert sorted(texts) == sorted((own[image.image_id] * 3)[:3])
        assert (np.diff(corpus[index].scores) <= 0).all()
    assert {len(sentences) for sentences in own.values()} == {1, 4}
    assert corpus.counts["sentences_used"] == corpus.num_sentences < corpus.counts["sentences"] == 105
    assert corpus.counts["links"] > 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("pairing.true_fraction=0.5", "pairing.true_fraction: 1.0 became 0.5"),
        ("pairing.true_fraction=1", ""),
        ("pairing.seed=3", "pairing.seed: 0 became 3"),
        ("pairing.source=retrieval", "pairing: {'source': 'captions', 'true_fraction': 1.0, 'seed': 0} became None"),
        ("retrieval.k=2", "k: 3 became 2"),
        ("retrieval.index=ivf", ""),
    ],
)
def test_pairs_redo_what_depends_on_them(
    change: str, reason: str, caption_corpus: Path, captioned: list[str], world: Any
) -> None:
    reasons = to_do([*world.arguments(caption_corpus), *captioned, change])
    assert list(reasons) == (["retrieve", "phrases", "link", "pack"] if reason else [])
    assert reasons.get("retrieve", "") == reason


def test_killed_builds_of_given_pairs(
    world: Any, captioned: list[str], repository: Path, offline_environment: dict[str, str], tmp_path: Path
) -> None:
    driver = [sys.executable, str(repository / "tests/pairing/killed_builds.py"), str(tmp_path), "8", "1"]
    arguments = [*world.arguments(tmp_path)[1:], *captioned, "pairing.true_fraction=0.5"]
    environment = {**offline_environment, "OMP_NUM_THREADS": "1"}
    output = subprocess.run([*driver, *arguments], env=environment, capture_output=True, text=True, timeout=600)
    assert output.returncode == 0, output.stderr
    result = json.loads(output.stdout.splitlines()[-1])
    assert result["differing"] == []
    assert result["killed"]["retrieve"] >= 1


def test_changed_option_leads_to_another_corpus(copy: Path, built_corpus: Path, world: Any) -> None:
    arguments = [*world.arguments(copy), "link.threshold=0.99"]
    assert to_do(arguments) == {"link": "threshold: 0.6 became 0.99", "pack": "the stage link has changed"}
    build_command(arguments)
    assert to_do(arguments) == {}
    assert Corpus(copy).counts["links"] < Corpus(built_corpus).counts["links"]


def test_options_against_much_used_sentences_lead_to_another_corpus(copy: Path, built_corpus: Path, world: Any) -> None:
    # At their defaults they are as if they were not there, also for corpora that were built without them.
    usual = ["retrieval.scores=cosine", "retrieval.max_uses=null"]
    assert to_do([*world.arguments(copy), *usual]) == {}
    arguments = [*world.arguments(copy), "retrieval.scores=csls", "retrieval.max_uses=3"]
    assert to_do(arguments)["retrieve"] in ("max_uses: None became 3", "scores: None became 'csls'")
    build_command(arguments)
    assert to_do(arguments) == {}
    limited, unlimited = (
        np.bincount(np.concatenate([corpus.sentence_ids(number) for number in range(len(corpus))]))
        for corpus in map(Corpus, (copy, built_corpus))
    )
    assert limited.max() == 3 < unlimited.max()
    assert limited.sum() == unlimited.sum()


def test_changed_input_is_noticed(built_corpus: Path, world: Any, tmp_path: Path) -> None:
    inputs = shutil.copytree(world.folder, tmp_path / "inputs")
    copy = shutil.copytree(built_corpus, tmp_path / "copy")
    arguments = type(world)(inputs, world.images, world.sentences).arguments(copy)
    with (inputs / "sentences.txt").open("a") as file:
        file.write("A green bottle on a chair.\n")
    assert "sentences" in to_do(arguments)


def test_lost_result_is_packed_again(copy: Path, built_corpus: Path, world: Any) -> None:
    (copy / "pairs.arrow").unlink()
    (copy / "build" / "regions" / "index.arrow").touch()
    assert list(to_do(world.arguments(copy))) == ["pack"]
    build_command(world.arguments(copy))
    assert contents(copy) == contents(built_corpus)


def test_corpus_is_not_whole_while_it_is_packed(copy: Path, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("mmf_muvla.pairing.pack._write_pairs", fail)
    with pytest.raises(RuntimeError):
        build_command([*world.arguments(copy), "link.threshold=0.9"])
    with pytest.raises(InputError, match="is not a whole corpus"):
        Corpus(copy)


def test_killed_builds_go_on_to_the_same_result(
    world: Any, repository: Path, offline_environment: dict[str, str], tmp_path: Path
) -> None:
    driver = [sys.executable, str(repository / "tests/pairing/killed_builds.py"), str(tmp_path), "30", "0"]
    environment = {**offline_environment, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(
        [*driver, *world.arguments(tmp_path)[1:]], env=environment, capture_output=True, text=True, timeout=600
    )
    assert output.returncode == 0, output.stderr
    result = json.loads(output.stdout.splitlines()[-1])
    assert result["differing"] == []
    assert sum(result["killed"].values()) >= 30
    assert set(STAGES) <= set(result["killed"])


def test_killed_workers_and_what_they_leave(
    built_corpus: Path, world: Any, repository: Path, offline_environment: dict[str, str], tmp_path: Path
) -> None:
    """A build with workers, killed as a whole as soon as a stage begins, and ended with another number of them."""
    out = tmp_path / "out"
    command = [sys.executable, str(repository / "tools/build_corpus.py"), *world.arguments(out), "num_workers=2"]
    process = subprocess.Popen(command, env=offline_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "build" / "embed.work").exists():
        assert process.poll() is None, "the build ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    # The stage has not been done, those before have, and nobody takes it for a corpus.
    assert next(iter(to_do(world.arguments(out)))) == "embed"
    with pytest.raises(InputError, match="is not a whole corpus"):
        Corpus(out)
    build_command(world.arguments(out))
    assert contents(out) == contents(built_corpus)
    assert sorted(os.listdir(out / "build")) == sorted([".lock", *STAGES])


def test_two_builds_at_once(built_corpus: Path, world: Any, tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "out" / "build").mkdir(parents=True)
    with (tmp_path / "out" / "build" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is building this corpus"):
            build_command(world.arguments(tmp_path / "out"))


def test_left_out_records_are_counted_to_the_end(world: Any, built_corpus: Path, tmp_path: Path) -> None:
    inputs = shutil.copytree(world.folder, tmp_path / "inputs")
    features = inputs / "regions" / "features.tsv"
    lines = features.read_text().splitlines(keepends=True)
    features.write_text("".join([*lines[:10], lines[10][:40] + "\n", *lines[11:]]))
    arguments = type(world)(inputs, world.images, world.sentences).arguments(tmp_path / "out")
    with pytest.raises(InputError, match=r"features.tsv, line 11 \(image 5010\)"):
        build_command(arguments)
    with pytest.raises(InputError, match="1 of 60 records are bad, more than max_skipped_fraction=0.01"):
        build_command([*arguments, "on_bad_record=skip"])
    build_command([*arguments, "on_bad_record=skip", "max_skipped_fraction=0.02"])
    corpus = Corpus(tmp_path / "out")
    assert (corpus.counts["images"], corpus.counts["skipped"]) == (59, 1)
    assert "5010" not in corpus.image_ids
    skipped = json.loads((tmp_path / "out" / "build" / "regions" / "skipped.jsonl").read_text())
    assert (skipped["line"], skipped["id"]) == (11, "5010")
    # The others are as they were.
    whole = Corpus(built_corpus)
    np.testing.assert_array_equal(corpus[10].regions.image_feature_0, whole[11].regions.image_feature_0)
    assert corpus[10].scores.tolist() == whole[11].scores.tolist()


def test_missing_inputs(world: Any, tmp_path: Path) -> None:
    for change in ("regions=absent", "sentences=absent.txt"):
        with pytest.raises(InputError, match="absent.*: no such"):
            build_command([*world.arguments(tmp_path / "out"), change])
    assert not (tmp_path / "out").exists()


# --- the tools as processes


def test_tools_say_what_is_wrong_without_a_trace(
    repository: Path, offline_environment: dict[str, str], tmp_path: Path
) -> None:
    for tool, arguments, message in (
        ("build_corpus.py", ["config=absent.yaml"], "error: config=absent.yaml: no such file"),
        ("import_regions.py", ["regions=absent", f"out={tmp_path / 'o'}"], "error: absent: no such folder"),
        ("show_retrieval.py", ["corpus=absent"], "error: absent: is not a whole corpus"),
    ):
        output = run_tool(repository, offline_environment, tool, *arguments)
        assert output.returncode == 2
        assert message in output.stderr
        assert "Traceback" not in output.stderr
        usage = run_tool(repository, offline_environment, tool, "--help")
        assert usage.returncode == 0
        assert f"python tools/{tool}" in usage.stdout


def test_import_of_regions_alone(world: Any, built_corpus: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "deep" / "store"
    arguments = [f"regions={world.folder / 'regions'}", f"out={out}", "region_options.feature_dim=8"]
    import_command(arguments)
    assert "images 60" in capsys.readouterr().out
    assert RegionStore(out).content == RegionStore(built_corpus / "regions").content
    assert os.listdir(out.parent) == ["store"]


def test_retrieval_can_be_looked_at(built_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_command([f"corpus={built_corpus}", "num_images=4"])
    output = capsys.readouterr().out
    assert output.count("image 50") == 4
    assert output.count("A red ") >= 12
    show_command([f"corpus={built_corpus}", "num_images=4"])
    assert capsys.readouterr().out == output
    show_command([f"corpus={built_corpus}", "num_images=4", "seed=1"])
    assert capsys.readouterr().out != output
