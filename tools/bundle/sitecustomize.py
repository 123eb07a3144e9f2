"""Wakes ``mmf_muvla.compat`` at every start of Python, as the installed package's ``.pth`` file does.

A folder on ``PYTHONPATH`` is no site folder: ``.pth`` files in it are not read. This module is imported instead, in
every process, of multiprocessing too. One of the same name that the machine had before is still run.
"""

import os
import sys


def _run_the_other_one() -> None:
    own = os.path.dirname(os.path.abspath(__file__))
    place = next(number for number, path in enumerate(sys.path) if os.path.abspath(path) == own)
    path, this = sys.path.pop(place), sys.modules.pop(__name__)
    try:
        import sitecustomize  # noqa: F401
    except ImportError:
        sys.modules[__name__] = this
    finally:
        sys.path.insert(place, path)


_run_the_other_one()
try:
    from mmf_muvla.compat.finder import install
except ImportError:
    sys.stderr.write("mmf_muvla is not importable: is the root of its tree on PYTHONPATH?\n")
else:
    install()
