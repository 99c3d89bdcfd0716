"""Pictures without people that faces are pasted on, and cut-out things that are pasted as what is no face.

Any folder of pictures serves. The shipped network saw Debian's wallpaper packages and the photographs of Tux Paint's
stamps; which ones is listed in its model card.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dfer_edge.errors import SourceNotFound
from dfer_edge.training.data.pictures import picture_files

_LONGEST, _THING = 1100, 160


@dataclass(frozen=True)
class Pictures:
    """Grey backgrounds uint8 [H, W], and things as grey levels times coverage and coverage, uint8 [H, W] both."""

    backgrounds: list[np.ndarray]
    things: list[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def read(cls, folder: Path) -> Pictures:
        """Read every picture under a folder: with an alpha channel it is a thing, without one a background.

        Raises
        ------
        SourceNotFound
            Not one background.
        """
        backgrounds, things = [], []
        for path in picture_files(folder):
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if image is None or image.dtype != np.uint8:
                continue
            if image.ndim == 3 and image.shape[2] == 4:
                things.append(_thing(image))
            else:
                grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
                backgrounds.append(_shrunk(grey, _LONGEST))
        if not backgrounds:
            raise SourceNotFound(f"expected backgrounds in {folder}, found pictures with an alpha channel alone")
        return cls(backgrounds, things)


def _shrunk(image: np.ndarray, longest: int) -> np.ndarray:
    scale = min(1.0, longest / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _thing(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cover = image[..., 3]
    grey = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY).astype(np.float32) * (cover.astype(np.float32) / 255)
    return _shrunk(grey.astype(np.uint8), _THING), _shrunk(cover, _THING)
