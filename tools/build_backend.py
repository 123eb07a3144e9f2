"""setuptools' build backend, with one file more in the wheel: the ``.pth`` that wakes ``mmf_muvla.compat``.

MMF's own command ``mmf_run`` imports MMF before any plugin, so the compatibility layer has to be in place when the
interpreter starts. setuptools can put a ``.pth`` file into a wheel's root neither for a normal nor for an editable
install; this adds it to both, with its entry in ``RECORD``, so that ``pip uninstall`` removes it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the other hooks, as they are)

# ``.pth`` files are read in alphabetical order: this one after setuptools' own ``__editable__.….pth``, which makes an
# editable install importable. A line that raises would spoil every start of the interpreter: it cannot.
PTH_NAME = "mmf_muvla_compat.pth"
PTH_LINE = (
    b"import sys; exec('try:\\n from mmf_muvla.compat.finder import install\\n install()"
    b"\\nexcept Exception:\\n pass')\n"
)


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    name = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    _add_pth(os.path.join(wheel_directory, name))
    return name


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    _add_pth(os.path.join(wheel_directory, name))
    return name


def _add_pth(wheel: str) -> None:
    digest = base64.urlsafe_b64encode(hashlib.sha256(PTH_LINE).digest()).rstrip(b"=").decode()
    record_line = f"{PTH_NAME},sha256={digest},{len(PTH_LINE)}\n".encode()
    extended = f"{wheel}.tmp"
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(extended, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith(".dist-info/RECORD"):
                target.writestr(PTH_NAME, PTH_LINE)
                content += record_line
            target.writestr(entry, content)
    os.replace(extended, wheel)
