"""Reads folders of an ``.npz`` file for every image, as bottom-up-attention.pytorch writes them.

A file has ``x``, float [n, d] or [d, n], ``bbox``, float [n, 4] in pixels, ``num_bbox``, ``image_h``, ``image_w``, and
mostly ``info``, a pickled dictionary with ``objects_id`` and ``objects_conf``, ``attrs_id`` and ``attrs_conf``, as in
LXMERT's files. The image id is the file's path in the folder, without ``.npz``, and without ``.jpg`` before that.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from mmf_muvla.reading.problems import shown
from mmf_muvla.reading.restricted_pickle import ONE_IMAGE, parse_npy_of_objects
from mmf_muvla.regions.checks import Place
from mmf_muvla.regions.image_records import ImageRecord
from mmf_muvla.regions.record_sources import RecordFolder, dictionary_in, explained, parse_npy, read_file, refuse_large

_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
# What a file may have, and under which key a record has it: axes of the array, and the key.
_MEMBERS = {
    "x": (2, "features"),
    "bbox": (2, "bbox"),
    "num_bbox": (0, "num_boxes"),
    "image_h": (0, "image_height"),
    "image_w": (0, "image_width"),
}
_INFO = {"objects_id": "objects", "objects_conf": "conf", "attrs_id": "attrs_id", "attrs_conf": "attrs_conf"}
_COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# NotImplementedError, a RuntimeError, is what archives raise that are in parts, RuntimeError itself encrypted ones.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, LookupError, EOFError, OSError, RuntimeError)


class BottomUpNpz(RecordFolder):
    """A folder of ``X.npz``; folders inside of it are searched as well."""

    suffix = ".npz"

    def id_of(self, name: str) -> str | None:
        image_id = name.removesuffix(self.suffix)
        for suffix in _PICTURE_SUFFIXES:
            image_id = image_id.removesuffix(suffix)
        return image_id

    def file_of(self, image_id: str) -> Path:
        names = (f"{image_id}{suffix}{self.suffix}" for suffix in ("", *_PICTURE_SUFFIXES))
        files = [self.path / name for name in names]
        return next((file for file in files if file.is_file()), files[0])

    def load(self, image_id: str) -> ImageRecord:
        bad = Place(self.file_of(image_id), None, image_id)
        members = _members(read_file("features", bad), bad)
        record: dict[str, Any] = {}
        for name, (num_axes, key) in _MEMBERS.items():
            if f"{name}.npy" in members:
                record[key] = parse_npy(members[f"{name}.npy"], name, num_axes, bad)
        if "features" not in record:
            raise bad("there is no x", f"there are {shown(', '.join(sorted(members)), 80) or 'no arrays'}")
        if "info.npy" in members:
            record |= _parse_info(members["info.npy"], bad)
        features, boxes = record["features"], record.get("bbox")
        if boxes is not None and len(features) != len(boxes) == features.shape[1]:
            features = features.T
        return ImageRecord(features, record, bad, bad)


def _members(content: bytes, bad: Place) -> dict[str, bytes]:
    """What is in the file; a BadRecord where it is damaged, or becomes larger than an image can be."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            wanted = [it for it in archive.infolist() if it.filename.removesuffix(".npy") in (*_MEMBERS, "info")]
            if any(it.compress_type not in _COMPRESSION for it in wanted):
                raise ValueError("it is compressed in another way than NumPy does")
            # Known before anything is unpacked; what says less than it has ends there.
            refuse_large("arrays are", sum(it.file_size for it in wanted), bad)
            return {it.filename: _unpacked(archive, it) for it in wanted}
    except _DAMAGE as error:
        raise bad("file cannot be read as .npz", shown(str(error), 200)) from error


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as file:  # no more of it than it says, which ZipFile.read would unpack first
        return file.read(member.file_size)


def _parse_info(content: bytes, bad: Place) -> dict[str, Any]:
    """Classes and attributes of the regions, where the dictionary has them."""
    with explained("info", "used", bad):
        array = parse_npy_of_objects(io.BytesIO(content), limits=ONE_IMAGE)
    info = dictionary_in(array, "info", bad)
    return {key: info[name] for name, key in _INFO.items() if info.get(name) is not None}
