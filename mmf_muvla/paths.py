"""Where the project's own configuration files are, in a clone and in an installed package."""

from __future__ import annotations

from pathlib import Path

from mmf_muvla.errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def resource_path(name: str) -> str:
    """Absolute path of a file or folder under ``configs/`` or ``projects/``.

    In an installed package the two folders lie inside ``mmf_muvla``; in a clone (also an editable install) beside it.

    Raises:
        InputError: ``name`` does not start with one of the two folders, or does not exist.
    """
    if Path(name).parts[:1] in (("configs",), ("projects",)):
        for root in (_PACKAGE, _PACKAGE.parent):
            if (path := root / name).exists():
                return str(path)
    remedy = f"Its files are under configs/ and projects/, beside or inside {_PACKAGE}"
    raise InputError(name, "no such file in this project", remedy)


def find_included(name: str, *folders: str | Path) -> Path:
    """A file that another one includes: in one of the folders, or else of this project (``projects/…``).

    Raises:
        InputError: there is no such file.
    """
    for folder in folders:
        if (path := Path(folder, name)).is_file():
            return path
    return Path(resource_path(name))


def find_config(name: str) -> Path:
    """The file of ``config=NAME``; those of this project are found from any folder, and in an installed package.

    Raises:
        InputError: there is no such file.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.parts[:1] in (("configs",), ("projects",)):
        return Path(resource_path(name))
    raise InputError(f"config={name}", "no such file", "Name an existing YAML file")
