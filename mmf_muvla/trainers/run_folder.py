"""The folder of a run, which a training owns from its start to its end, by a lock that ends with the process::

config.yaml                  the configuration that it ran with
bert/                        shape (config.json) and tokenizer of the BERT that it started from, without weights
history.jsonl                every logged number
models/model_N.ckpt          the last checkpoints, after N updates
current.ckpt, best.ckpt      further names of the newest checkpoint and of the one that validation says is best
MODEL_final.safetensors      the weights at its end
results.json                 the scores of the weights that were tested, and which these are
evaluation/, predictions/    of later runs that evaluate or predict: their config.yaml and what they found
scores/                      of retrieval: the scores that ranks are made of, for whoever evaluates the same again
"""

from __future__ import annotations

import fcntl
import os
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mmf_muvla.artifacts.files import publish_file, publish_folder, remove_temporary_files
from mmf_muvla.errors import InputError
from mmf_muvla.terminal import log_message
from mmf_muvla.trainers.checkpoints import link_atomically, save_atomically
from mmf_muvla.trainers.saved_run import BERT, CONFIG, RESULTS, SHAPE

HISTORY = "history.jsonl"
CURRENT, BEST, LOCK = "current.ckpt", "best.ckpt", "run.lock"
# Folders of what a training does not write itself.
EVALUATION, PREDICTIONS, SCORES = "evaluation", "predictions", "scores"
# The first line of a configuration that is written here.
MARK = "# The configuration that a run of mmf_muvla has had.\n"
_TRAINING = (HISTORY, RESULTS, CURRENT, BEST, "models/model_*.ckpt", "tensorboard/events.out.tfevents.*")
_LATER = (
    *(f"{folder}/{name}" for folder in (EVALUATION, PREDICTIONS) for name in (CONFIG, RESULTS)),
    *(f"{PREDICTIONS}/*_{split}.{kind}" for split in ("val", "test") for kind in ("json", "jsonl", "csv")),
    *(f"{SCORES}/{split}/{name}" for split in ("val", "test") for name in ("made_from.json", "scores-*.*")),
    *(f"{BERT}/{name}" for name in ("*.json", "vocab.txt")),
)
_SCORES = tuple(f"{SCORES}/{split}" for split in ("val", "test"))
_FOLDERS = ("models", "tensorboard", BERT, EVALUATION, PREDICTIONS, *_SCORES, SCORES)


class RunFolder:
    """The folder of a run (``env.save_dir``) of a model, as seen by the process that writes to it."""

    def __init__(self, path: Path, model: str):
        self.path = path
        self.weights = f"{model}_final.safetensors"
        self._to_remove: list[Path] = []
        self._release: weakref.finalize[Any, Any] | None = None

    def claim(self, go_on: bool, start_over: bool) -> None:
        """Take the folder for a training, for as long as this object lives or until :meth:`release`.

        Raises:
            InputError: a training is in the folder and neither is wanted, or both; or another process has it.
        """
        if go_on and start_over:
            where = "training.start_over=True, checkpoint.resume=True"
            raise InputError(where, "contradict each other", "Leave one of the two out")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock()
        try:
            used = self._used()
            if (config := self.path / CONFIG).is_file():
                if not used:
                    _refuse_another_config(config)
                used.append(config)
            if start_over:
                self._to_remove = used
            elif not go_on:
                self._refuse(used, ", or remove the training by training.start_over=True")
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let others have the folder."""
        if self._release is not None:
            self._release()

    def refuse_used(self) -> None:
        """Refuse a folder with a training in it, for a trainer that neither claims it nor can start over."""
        self._refuse(self._used(), "")

    def begin(self, config: Any) -> None:
        """Make the folder this training's. What is to be removed goes only now, when nothing can go wrong any more."""
        if self._to_remove:
            for path in (*self._to_remove, *(path for pattern in _LATER for path in self.path.glob(pattern))):
                path.unlink()
            for folder in (self.path / name for name in _FOLDERS):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
            self._to_remove = []
        remove_temporary_files(self.path / "models")
        self.write_config(config)

    def keep_bert(self, shape: str, tokenizer: Any) -> None:
        """Keep what a model is built from, and texts are read by, beside its weights: the checkpoint may go one day.

        Args:
            shape: the checkpoint's ``config.json``.
            tokenizer: of Hugging Face.
        """
        if not (self.path / BERT).exists():
            with publish_folder(self.path / BERT, lambda _: None) as folder:
                tokenizer.save_pretrained(folder)
                shutil.copyfile(shape, folder / SHAPE)

    def _used(self) -> list[Path]:
        return [path for pattern in (*_TRAINING, self.weights) for path in sorted(self.path.glob(pattern))]

    def _refuse(self, used: list[Path], further_remedy: str) -> None:
        if used:
            names = [path.relative_to(self.path).as_posix() for path in used]
            problem = f"a training is in it already ({', '.join(names[:3])}{', …' if names[3:] else ''})"
            remedy = f"Go on with it by checkpoint.resume=True, name another env.save_dir{further_remedy}"
            raise InputError(f"env.save_dir={self.path}", problem, remedy)

    def _lock(self) -> None:
        handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if isinstance(error, BlockingIOError):
                problem, remedy = "another run is at work in this folder", "Wait until it has ended, or name another"
                raise InputError(f"env.save_dir={self.path}", problem, f"{remedy} env.save_dir") from error
            log_message(f"{self.path}: cannot be locked ({error}); start no other run in it", "warning")
            return
        self._release = weakref.finalize(self, os.close, handle)
        # A worker of a data loader may live on for seconds after this process is killed, and must not keep the lock.
        os.register_at_fork(after_in_child=self._release)

    def checkpoint(self, best: bool = False) -> Path | None:
        """The checkpoint to go on from: the newest, or the best one; ``None`` if there is none at all."""
        wanted = self.path / (BEST if best else CURRENT)
        if wanted.is_file():
            return wanted
        numbered = self._numbered()
        if best and (numbered or (self.path / CURRENT).is_file()):
            problem = "no such checkpoint, though there are others"
            raise InputError(str(wanted), problem, "Leave checkpoint.resume_best out")
        return numbered[-1] if numbered else None

    def save(self, state: Mapping[str, Any], best: bool, keep: int) -> Path:
        """Write a checkpoint, ``models/model_N.ckpt``; ``current.ckpt``, and ``best.ckpt`` if it is, are the same file.

        Of the numbered ones ``keep`` are kept; negative: all.
        """
        update = int(state["num_updates"])
        path = self.path / "models" / f"model_{update}.ckpt"
        save_atomically(state, path)
        # The newest last: it speaks of the best one, which has to be there whenever this process is killed.
        for name in (BEST, CURRENT) if best else (CURRENT,):
            link_atomically(path, self.path / name)
        if keep >= 0:
            # Later ones than this are of a course that was given up, when somebody went back to an earlier one.
            written = sorted(self._numbered(), key=lambda path: (_update_of(path) <= update, _update_of(path)))
            for old in written[: max(0, len(written) - keep)]:
                old.unlink()
        return path

    def write_config(self, config: Any, folder: str = "") -> None:
        """Write ``config.yaml``: the training's, or that of what goes into a folder of its own."""
        path = self.path / folder / CONFIG
        if folder and path.is_file():
            _refuse_another_config(path)
        with publish_file(path) as temporary:
            temporary.write_text(MARK + OmegaConf.to_yaml(config, resolve=True), encoding="utf-8")

    def _numbered(self) -> list[Path]:
        found = (self.path / "models").glob("model_*.ckpt")
        return sorted((path for path in found if path.stem[6:].isdecimal()), key=_update_of)


def _refuse_another_config(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    # Before there was a mark: the whole configuration of MMF, with this trainer.
    unmarked = text.startswith("config_version:") and "\n  trainer: muvla\n" in text
    if not text.startswith(MARK) and not unmarked:
        raise InputError(str(path), "is not of a run, and would be replaced", "Name another env.save_dir")


def _update_of(path: Path) -> int:
    return int(path.stem.partition("_")[2])
