"""Sources: whatever opens, decodes or checks media and gives RGB frames lives here, and nothing that looks into them.

:func:`open_source` tells what was given; :mod:`~dfer_edge.sources.frames` has the contract of a source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dfer_edge._names import lazy

if TYPE_CHECKING:
    from dfer_edge.sources.camera import CameraSource
    from dfer_edge.sources.frames import MAX_SIDE, MIN_SIDE, ArraySource, Source, checked
    from dfer_edge.sources.opening import IMAGES, VIDEOS, FolderSource, PictureSource, is_media, open_source
    from dfer_edge.sources.video import VideoSource

__all__ = [
    "IMAGES",
    "MAX_SIDE",
    "MIN_SIDE",
    "VIDEOS",
    "ArraySource",
    "CameraSource",
    "FolderSource",
    "PictureSource",
    "Source",
    "VideoSource",
    "checked",
    "is_media",
    "open_source",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "frames": (
            "MAX_SIDE",
            "MIN_SIDE",
            "ArraySource",
            "Source",
            "checked",
        ),
        "camera": ("CameraSource",),
        "video": ("VideoSource",),
        "opening": (
            "IMAGES",
            "VIDEOS",
            "FolderSource",
            "PictureSource",
            "is_media",
            "open_source",
        ),
    },
)
