"""What a process computes with: machines that work together must agree on it, or their parts do not fit each other."""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Those that parts are made with, and runs.
_LIBRARIES = (
    *("mmf", "torch", "numpy", "transformers", "tokenizers", "sentence-transformers", "spacy", "gensim", "faiss-cpu"),
    *("pyarrow", "safetensors", "pillow", "lmdb"),
)


def versions() -> dict[str, str]:
    """The versions of Python, of this package, by its code, and of libraries."""
    found = {"python": "{}.{}".format(*sys.version_info), "mmf_muvla": _digest_of_code()}
    for name in _LIBRARIES:
        found[name] = library_version(name) or "none"
    # Builds for CPUs and for GPUs may work together.
    return {name: value.partition("+")[0] for name, value in found.items()}


def library_version(name: str) -> str | None:
    """The version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _digest_of_code() -> str:
    root = Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=6)
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
    return f"code {digest.hexdigest()}"
