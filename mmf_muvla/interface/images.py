"""Images as a model takes them: detected regions, out of a picture or out of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmf_muvla.datasets.images import open_images
from mmf_muvla.detection.decoding import NotAPicture, decode
from mmf_muvla.detection.given import regions_of_pictures
from mmf_muvla.detection.options import DetectionOptions, check_detection
from mmf_muvla.detection.source import Detection
from mmf_muvla.errors import InputError, shown
from mmf_muvla.pairing.store import CORPUS_FILE, REGIONS_FOLDER
from mmf_muvla.regions.index import META_FILE
from mmf_muvla.regions.regions import Regions
from mmf_muvla.regions.store import RegionStore

if TYPE_CHECKING:
    from PIL import Image

_MOST_PIXELS = 10**8  # of a small copy


@dataclass(frozen=True, eq=False)
class ImageRegions:
    """An image, as its detected regions.

    Attributes:
        regions: the regions.
        tags: the object tag of each, empty where no class is known. Models do not read them: they see features.
        picture: the picture in RGB, where it was given, or the small copy that a region store has of it.
    """

    regions: Regions
    tags: list[str]
    picture: Image.Image | None = None

    @property
    def image_feature_0(self) -> np.ndarray:
        """Region features, float16 [n, d]."""
        return self.regions.image_feature_0

    @property
    def bbox(self) -> np.ndarray:
        """Boxes, x1, y1, x2, y2 in pixels, float32 [n, 4]."""
        return self.regions.bbox

    @property
    def confidence(self) -> np.ndarray:
        """The detector's confidence in the tags, float32 [n]."""
        return self.regions.confidence

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.regions.width, self.regions.height

    def __len__(self) -> int:
        return len(self.regions)

    def __repr__(self) -> str:
        width, height = self.size
        named = ", ".join(dict.fromkeys(filter(None, self.tags)))
        return f"<{self.regions.image_id}: {len(self)} regions in {width} x {height} pixels: {named}>"


class StoredImages:
    """The images of a region store, of a corpus, or of a feature folder or LMDB, by their ids: ``images["42"]``.

    Iteration gives the ids of a store or a corpus; of other files, whose images can only be asked for, it is an
    InputError.
    """

    def __init__(self, path: Path, feature_dim: int):
        path = path / REGIONS_FOLDER if (path / CORPUS_FILE).is_file() else path
        self._images = open_images(path, feature_dim)
        # Only a store knows what classes are called, and all ids.
        self._store = RegionStore(path, verify=False) if (path / META_FILE).is_file() else None

    def __getitem__(self, image_id: str) -> ImageRegions:
        regions = self._images.get(image_id)
        if self._store is None:
            return ImageRegions(regions, [""] * len(regions))
        tags = regions.tags(self._store.object_names, self._store.attribute_names)
        return ImageRegions(regions, tags, _picture(self._store.thumbnail(image_id)))

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._images

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed().ids)

    def __len__(self) -> int:
        return len(self._listed())

    def _listed(self) -> RegionStore:
        if self._store is None:
            remedy = "Ask for images by their ids, or make a store with tools/import_regions.py"
            raise InputError(str(self._images.path), "does not list its images", remedy)
        return self._store


class PictureDetector:
    """Finds regions in pictures as they were found for a corpus."""

    def __init__(self, options: DetectionOptions):
        self._detection = Detection(options)

    @property
    def feature_dim(self) -> int:
        """Numbers per feature."""
        return self._detection.detector.feature_dim

    def __call__(self, pictures: Sequence[Any]) -> list[ImageRegions]:
        """Regions of pictures, each a path, bytes of a file, a picture of Pillow or an array [height, width, 3].

        Raises:
            InputError: one of them is no picture, or nothing is found in it.
        """
        names = sorted(set(self._detection.names))
        given = [_content(picture, number) for number, picture in enumerate(pictures)]
        found = regions_of_pictures(self._detection, given, names)
        return [ImageRegions(regions, regions.tags(names, []), picture) for regions, picture in found]


def detection_options(given: str | dict[str, Any] | DetectionOptions, device: str) -> DetectionOptions:
    """What ``detector=`` says: a detector's name, or options as a corpus has them under ``regions``."""
    if isinstance(given, DetectionOptions):
        return given
    options = {"detector": given} if isinstance(given, str) else dict(given)
    return check_detection({"device": device, **options, "images": "-"}, "detector.", "load")


def _picture(jpeg: bytes | None) -> Image.Image | None:
    """A store's small copy; one that is damaged keeps nobody from asking about the regions."""
    try:
        return None if jpeg is None else decode(jpeg, _MOST_PIXELS)
    except NotAPicture:
        return None


def _content(picture: Any, number: int) -> tuple[str, Any]:
    """A name for a picture, and its bytes or itself."""
    from PIL import Image

    if isinstance(picture, str | Path):
        path = Path(picture).expanduser()
        if not path.is_file():
            raise InputError(str(picture), "no such picture", "Check the path")
        return str(path), path.read_bytes()
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            problem = f"picture {number} is an array of {picture.dtype} {list(picture.shape)}"
            raise InputError("detect", problem, "Give uint8 [height, width, 3]")
        picture = Image.fromarray(picture)
    if isinstance(picture, bytes | Image.Image):
        return f"picture {number}", picture
    remedy = "Give a path, the bytes of a file, a picture of Pillow or an array"
    raise InputError("detect", f"picture {number} is {shown(picture)}", remedy)
