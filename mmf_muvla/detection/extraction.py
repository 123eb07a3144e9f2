"""The job that makes a region store out of pictures: ``tools/extract_regions.py``, and a stage of a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmf_muvla.artifacts.artifact import Artifact
from mmf_muvla.artifacts.executors import open_executor
from mmf_muvla.artifacts.files import fingerprint
from mmf_muvla.artifacts.outputs import output_folder, refuse_inputs
from mmf_muvla.detection.detectors.detector import detector_fingerprint
from mmf_muvla.detection.options import DetectionOptions, ExtractConfig
from mmf_muvla.detection.source import Detection, PictureRegions
from mmf_muvla.errors import InputError
from mmf_muvla.options.kinds import as_paths
from mmf_muvla.options.reading import read_options
from mmf_muvla.regions.importing import store_of
from mmf_muvla.terminal import printable

# What changes only how fast it goes; of the order of 1e-6, also what comes out.
_SETTINGS = ("batch_size", "device")


def extract_command(arguments: Sequence[str]) -> None:
    """``images=PATH detector=NAME out=FOLDER [key=value …]``: make a region store out of pictures.

    Raises:
        InputError: an option or an input cannot be used.
    """
    config = read_options(ExtractConfig, arguments)
    options = config.detection()
    inputs = input_files(options)
    out = output_folder("out", config.out, inputs)
    store = extracted_store(out, options, config.on_bad_record, config.max_skipped_fraction)
    refuse_inputs([out, store.work_folder], inputs)
    state = store.state()
    if not state.done:
        store.check()
        state = store.run(open_executor(config.executor, config.executor_options, config.num_workers))
    print(printable(f"{out}: ") + ", ".join(f"{name} {count:,}" for name, count in state.counts.items()))


def extracted_store(
    folder: Path, options: DetectionOptions, on_bad_record: str, max_skipped_fraction: float
) -> Artifact:
    """A region store that is to be made of pictures.

    As with files of detector output, ``skipped.jsonl`` in it lists the pictures that were left out. On CPUs it is the
    same, byte for byte, whatever the number of workers, and however often the work is killed and begun again.

    Raises:
        InputError: there are no such pictures, or there is no such detector or vocabulary.
    """
    vocabulary = [Path(options.vocabulary).expanduser()] if options.vocabulary else []
    for file in vocabulary:
        if not file.is_file():
            raise InputError(f"vocabulary={file}", "no such file", "Name a text file with a name a line")
    detection = Detection(options)
    everything = asdict(options)
    inputs = {str(file): fingerprint(file) for file in vocabulary}
    inputs |= detector_fingerprint(options.detector, options.detector_options)
    return store_of(
        folder,
        [PictureRegions(path, detection) for path in as_paths(options.images)],
        {"on_bad_record": on_bad_record, "max_skipped_fraction": max_skipped_fraction},
        inputs=inputs,
        parameters={name: value for name, value in everything.items() if name not in ("images", *_SETTINGS)},
        settings={name: everything[name] for name in _SETTINGS},
        libraries=("transformers", "torch", "pillow", "safetensors", "numpy", "pyarrow"),
    )


def input_files(options: DetectionOptions) -> list[Path]:
    """The files and folders that are read and the user has named."""
    named: list[Any] = [options.vocabulary, options.detector]
    return [
        *as_paths(options.images),
        *(Path(it).expanduser() for it in named if it and Path(it).expanduser().exists()),
    ]
