"""Live: a steady signal per person from cameras, addresses, iterators or pushed frames.

:meth:`dfer_edge.Recognizer.stream` and :meth:`dfer_edge.Recognizer.session` are the way in; here are their parts.
Names are imported on use: the command line reads the options alone, without OpenCV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dfer_edge._names import lazy

if TYPE_CHECKING:
    from dfer_edge.live.capture import Feed, open_feed
    from dfer_edge.live.frames import Captured
    from dfer_edge.live.options import Limits, Options
    from dfer_edge.live.session import Session
    from dfer_edge.live.stream import LiveStream, Stats

__all__ = ["Captured", "Feed", "Limits", "LiveStream", "Options", "Session", "Stats", "open_feed"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "capture": ("Feed", "open_feed"),
        "frames": ("Captured",),
        "options": ("Limits", "Options"),
        "session": ("Session",),
        "stream": ("LiveStream", "Stats"),
    },
)
