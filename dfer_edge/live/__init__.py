"""Live: a steady signal per person from cameras, addresses, iterators or pushed frames.

:meth:`dfer_edge.Recognizer.stream` and :meth:`dfer_edge.Recognizer.session` are the way in; here are their parts.
Names are imported on use: the command line reads the options alone, without OpenCV.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfer_edge.live.capture import Feed, open_feed
    from dfer_edge.live.frames import Captured
    from dfer_edge.live.options import Limits, Options
    from dfer_edge.live.session import Session
    from dfer_edge.live.stream import LiveStream, Stats

__all__ = ["Captured", "Feed", "Limits", "LiveStream", "Options", "Session", "Stats", "open_feed"]

_HOMES = {
    "Captured": "frames",
    "Feed": "capture",
    "Limits": "options",
    "LiveStream": "stream",
    "Options": "options",
    "Session": "session",
    "Stats": "stream",
    "open_feed": "capture",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
