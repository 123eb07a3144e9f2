"""Models as folders that Hugging Face's libraries read, and on its hub."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mmf_muvla.artifacts.files import publish_folder
from mmf_muvla.artifacts.outputs import foreign_in_marked, mark_folder, output_folder
from mmf_muvla.errors import InputError
from mmf_muvla.interface.card import CARD, model_card
from mmf_muvla.interface.loading import VOCABULARY

if TYPE_CHECKING:
    from mmf_muvla.interface.model import Model


def save(model: Model, folder: Path, license: str | None) -> None:
    """See :meth:`~mmf_muvla.interface.model.Model.save_pretrained`."""
    inputs = [] if model.folder is None else [model.folder]
    path = output_folder("folder", folder, inputs, may_be_inside=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with publish_folder(path, foreign_in_marked) as temporary:
        write(model, temporary, path.name, license)
        mark_folder(temporary)


def push(model: Model, name: str, *, private: bool | None, license: str | None, token: str | None) -> str:
    """See :meth:`~mmf_muvla.interface.model.Model.push_to_hub`."""
    from huggingface_hub import HfApi

    hub = HfApi(token=token)
    with TemporaryDirectory() as folder:
        write(model, Path(folder), name, license)
        try:
            hub.create_repo(name, private=private, exist_ok=True)
            found = hub.upload_folder(repo_id=name, folder_path=folder, commit_message="A model of mmf-muvla")
        except (OSError, ValueError) as error:
            problem = f"the hub did not take it ({' '.join(str(error).split())[:300]})"
            raise InputError(name, problem, "Log in (hf auth login), or give a token that may write there") from error
    return str(found.commit_url)


def write(model: Model, folder: Path, name: str, license: str | None) -> None:
    """Write all files of an exported model, which its card calls ``name``, into an empty folder."""
    config, written = model.network.config, copy.deepcopy(model.network.config)
    if config.detection and config.detection.get("vocabulary"):
        names = Path(config.detection["vocabulary"]).expanduser()
        if not names.is_file():
            problem = "the names that its open-vocabulary detector looks for are not there"
            raise InputError(str(names), problem, "Put the file there again")
        shutil.copyfile(names, folder / VOCABULARY)
        written.detection["vocabulary"] = VOCABULARY
    model.network.config = written
    try:
        model.network.save_pretrained(folder)
    finally:
        model.network.config = config
    model.words.tokenizer.save_pretrained(folder)
    (folder / CARD).write_text(model_card(model, name, license), encoding="utf-8")
