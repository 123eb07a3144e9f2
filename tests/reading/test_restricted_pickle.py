"""Pickles are read without running what they may contain."""

from __future__ import annotations

import collections
import contextlib
import copyreg
import functools
import operator
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmf_muvla.reading.restricted_pickle import PickleProblem, load_npy_object, load_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.arange(6, dtype=">i8"),
    np.asfortranarray(np.random.default_rng(0).random((3, 4))),
    np.zeros((0, 4), np.float16),
    np.array(["dog", "Ä", ""]),
    np.array([b"dog", b""]),
    np.array([True, False]),
    np.array([1 + 2j], np.complex64),
    np.array(7, np.uint8),
    np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    np.random.default_rng(0).random((4, 6))[::2, ::3],
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_every_kind_arrive(protocol: int) -> None:
    for array in ARRAYS:
        content = pickle.dumps({"a": array, "again": [array]}, protocol)
        loaded = load_pickle(content)
        assert isinstance(loaded["a"], np.ndarray)
        # As NumPy itself reads it, which brings bytes into this machine's order.
        assert loaded["a"].dtype == pickle.loads(content)["a"].dtype
        np.testing.assert_array_equal(loaded["a"], array)
        assert loaded["a"] is loaded["again"][0]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_arrive(protocol: int) -> None:
    value = {
        "numbers": [1, -(10**30), 0.5, True, None],
        "text": ("a", "ä", b"", b"\x00\xff"),
        "sets": [{1, 2}, frozenset([3]), set()],
        "scalars": [np.float32(0.5), np.int64(-3), np.bool_(True), np.str_("x")],
        "ordered": collections.OrderedDict(a=1, b=[2]),
    }
    loaded = load_pickle(pickle.dumps(value, protocol))
    assert loaded == value
    assert type(loaded["scalars"][0]) is np.float32


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_inside_of_arrays(protocol: int) -> None:
    array = np.empty((2, 1), dtype=object)
    array[:, 0] = [{"a": np.arange(3)}, None]
    loaded = load_pickle(pickle.dumps(array, protocol))
    assert loaded.shape == (2, 1)
    assert loaded[0, 0]["a"].tolist() == [0, 1, 2]


def test_module_names_of_both_numpys() -> None:
    content = pickle.dumps(np.arange(3), 2)
    for core in (b"numpy.core.", b"numpy._core."):
        renamed = content.replace(b"numpy._core.", core).replace(b"numpy.core.", core)
        assert load_pickle(renamed).tolist() == [0, 1, 2]


def test_what_was_read_can_be_pickled_and_copied() -> None:
    array = load_pickle(pickle.dumps(np.arange(6).reshape(2, 3)))
    for protocol in PROTOCOLS:
        again = pickle.loads(pickle.dumps(array, protocol))
        assert type(again) is np.ndarray
        np.testing.assert_array_equal(again, array)


# --- what is refused


class Call:
    """Calls something when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None):
        self._reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self._reduced


def touch(path: Path) -> str:
    return f"__import__('pathlib').Path({str(path)!r}).touch()"


def attacks(victim: Path) -> dict[str, Any]:
    """Values that create a file when a plain reader reads them, or would, or take some other detour."""
    code = touch(victim)
    return {
        "os.system": Call(os.system, f"touch {victim}"),
        "os.mkdir": Call(os.mkdir, str(victim)),
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "getattr chain": Call(map, Call(getattr, Call(__import__, "os"), "system"), [f"touch {victim}"]),
        "import": Call(__import__, "antigravity"),
        "partial": Call(functools.partial(os.mkdir, str(victim))),
        "attrgetter": Call(operator.attrgetter("system"), Call(__import__, "os")),
        "methodcaller": Call(operator.methodcaller("touch"), victim),
        "path": victim,
        "reconstructor": Call(copyreg._reconstructor, Path, object, None),  # type: ignore[attr-defined]
        "open": Call(open, str(victim), "w"),
        "numpy load": Call(np.load, str(victim)),
        "numpy fromfile": Call(np.fromfile, str(victim)),
        "numpy save": Call(np.save, str(victim), 1),
        "numpy memmap": Call(np.memmap, str(victim), "u1", "w+", 0, (1,)),
        "numpy fromfunction": Call(np.fromfunction, eval, (1,)),
        "numpy vectorize": Call(np.vectorize, eval),
        "numpy apply": Call(np.apply_along_axis, eval, 0, [code]),
        "numpy testing": Call(np.testing.assert_raises, Exception, eval, code),
        "numpy runstring": Call(np.testing.runstring, code, {}),
        "map": Call(list, Call(map, eval, [code])),
        "module": Call(pickle.loads, pickle.dumps(Call(os.mkdir, str(victim)))),
        "bytes of any size": Call(bytes, 10**12),
        "array of any size": Call(np.ndarray, (10**12,)),
        "zeros": Call(np.zeros, 10**12),
        "range": range(10**12),
        "class": np.random.RandomState,
        "function": np.sum,
    }


NAMES_OF_ATTACKS = list(attacks(Path("x")))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", NAMES_OF_ATTACKS)
def test_code_is_refused_and_not_run(name: str, nested: bool, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    attack = attacks(victim)[name]
    inside = np.empty(1, dtype=object)
    inside[0] = attack
    for protocol in PROTOCOLS:
        try:
            content = pickle.dumps({"bbox": np.zeros((1, 4)), "objects": [inside]} if nested else attack, protocol)
        except Exception:
            # Some cannot be written by the oldest protocols.
            assert protocol < 2
            continue
        with pytest.raises(PickleProblem) as error:
            load_pickle(content)
        assert error.value.remedy
        assert not victim.exists()


def test_the_attacks_are_worth_something(tmp_path: Path) -> None:
    for name in ("os.system", "os.mkdir", "eval", "exec", "open", "numpy memmap", "numpy runstring", "numpy save"):
        victim = tmp_path / name
        with contextlib.suppress(OSError):
            opened = pickle.loads(pickle.dumps(attacks(victim)[name]))
            if name == "open":
                opened.close()
        assert victim.exists() or victim.with_name(f"{name}.npy").exists(), name


def test_torch_tensors_are_refused_with_a_remedy() -> None:
    torch = pytest.importorskip("torch")
    for value in (torch.zeros(3), {"labels": torch.ones(2)}):
        with pytest.raises(PickleProblem, match="torch tensors are not read") as error:
            load_pickle(pickle.dumps(value))
        assert "tensor.numpy()" in error.value.remedy


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
FLOAT = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f4K\x00K\x01tR"
OBJECT = b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8K\x00K\x01tR"
HUGE = b"\x8a\x06" + (10**12).to_bytes(6, "little")

FORGERIES: dict[str, bytes] = {
    # An array's state: (version, shape, dtype, Fortran's order, values).
    "shape beyond the bytes": RECONSTRUCT + b"(K\x01(" + HUGE + b"t" + FLOAT + b"\x89C\x04abcdtb.",
    "bytes beyond the shape": RECONSTRUCT + b"(K\x01(K\x01t" + FLOAT + b"\x89C\x08abcdefghtb.",
    "shape beyond the list": RECONSTRUCT + b"(K\x01(K\x05t" + OBJECT + b"\x89]N atb.".replace(b" ", b""),
    "objects out of bytes": RECONSTRUCT + b"(K\x01(K\x01t" + OBJECT + b"\x89C\x08abcdefghtb.",
    "numbers out of a list": RECONSTRUCT + b"(K\x01(K\x01t" + FLOAT + b"\x89]K\x01atb.",
    "negative shape": RECONSTRUCT + b"(K\x01(J\xff\xff\xff\xffJ\xff\xff\xff\xfft" + FLOAT + b"\x89C\x04abcdtb.",
    "shape of text": RECONSTRUCT + b"(K\x01(X\x01\x00\x00\x00at" + FLOAT + b"\x89C\x04abcdtb.",
    "no state": RECONSTRUCT + b"Nb.",
    "state of another kind": RECONSTRUCT + b"}X\x01\x00\x00\x00aK\x01sb.",
    "another class": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(K\x00tC\x01btR.",
    "another first shape": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + HUGE + b"tC\x01btR.",
    "calling ndarray": b"cnumpy\nndarray\n(" + HUGE + b"tR.",
    "new ndarray": b"cnumpy\nndarray\n(" + HUGE + b"t\x81.",
    "dtype of no size": RECONSTRUCT
    + b"(K\x01("
    + HUGE
    + b"tcnumpy\ndtype\n(X\x02\x00\x00\x00S0K\x00K\x01tR\x89C\x00tb.",
    "void dtype": b"cnumpy\ndtype\n(X\x03\x00\x00\x00V99K\x00K\x01tR.",
    "dtype of a list": b"cnumpy\ndtype\n(]K\x00K\x01tR.",
    "dtype of a dict": b"cnumpy\ndtype\n(}K\x00K\x01tR.",
    "dtype with commas": b"cnumpy\ndtype\n(X\x05\x00\x00\x00f4,O8K\x00K\x01tR.",
    "fields in a dtype": FLOAT + b"(K\x03X\x01\x00\x00\x00|N(X\x01\x00\x00\x00at}K\x08K\x08K\x00tb.",
    "byte order": FLOAT + b"(K\x03X\x01\x00\x00\x00?NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",
    "object scalar": b"cnumpy.core.multiarray\nscalar\n(" + OBJECT + b"C\x08abcdefghtR.",
    "scalar of wrong size": b"cnumpy.core.multiarray\nscalar\n(" + FLOAT + b"C\x03abctR.",
    "scalar of no dtype": b"cnumpy.core.multiarray\nscalar\n(X\x02\x00\x00\x00f4C\x04abcdtR.",
    "buffer of objects": b"cnumpy.core.numeric\n_frombuffer\n(C\x08abcdefgh" + OBJECT + b"(K\x01tX\x01\x00\x00\x00CtR.",
    "buffer of wrong size": b"cnumpy.core.numeric\n_frombuffer\n(C\x04abcd" + FLOAT + b"(K\x09tX\x01\x00\x00\x00CtR.",
    "bytes of a size": b"c__builtin__\nbytes\n(" + HUGE + b"tR.",
    "other codec": b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.",
    "attribute of a function": b"c_codecs\nencode\n}X\x08\x00\x00\x00__code__K\x01sb.",
    "slot of a function": b"c_codecs\nencode\n(N}X\x08\x00\x00\x00__call__K\x01stb.",
    "attribute of a set": b"c__builtin__\nset\n}X\x03\x00\x00\x00addK\x01sb.",
    "attribute by way of a module": b"\x80\x04\x8c\x08builtins\x8c\x0cset.__init__\x93.",
    "new file": b"\x80\x02cio\nFileIO\n(X\x01\x00\x00\x00at\x81.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent": b"Pabc\n.",
    "out of band": b"\x80\x05\x97.",
    "empty": b"",
    "no end": b"K\x01",
    "text": b"hello world",
    "underflow": b"R.",
    "long bytes": b"\x8e" + struct.pack("<Q", 2**62) + b"a.",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_pickles_are_refused(name: str) -> None:
    with pytest.raises(PickleProblem):
        load_pickle(FORGERIES[name])
    # Nothing of it stays behind.
    np.testing.assert_array_equal(load_pickle(pickle.dumps(np.arange(3), 2)), np.arange(3))


def test_what_is_forged_would_be_read_if_it_were_true() -> None:
    array = load_pickle(RECONSTRUCT + b"(K\x01(K\x01t" + FLOAT + b"\x89C\x04abcdtb.")
    assert array.tobytes() == b"abcd"
    assert load_pickle(b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x06\x00\x00\x00latin1tR.") == b"a"


# --- .npy files


def test_npy_files_of_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array({"a": np.arange(3)}, dtype=object), allow_pickle=True)
    assert load_npy_object(path).item()["a"].tolist() == [0, 1, 2]
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        with pytest.raises(PickleProblem):
            load_npy_object(path)
    np.save(path, np.arange(3))
    with pytest.raises(PickleProblem, match=r"is an array of int64 of shape \(3,\)"):
        load_npy_object(path)
    path.write_bytes(content.replace(b"'shape': ()", b"'shape': (9,)".ljust(11)))
    with pytest.raises(PickleProblem):
        load_npy_object(path)
    with pytest.raises(FileNotFoundError):
        load_npy_object(tmp_path / "absent.npy")
