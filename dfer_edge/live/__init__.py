"""Live: a steady signal per person from cameras, addresses, iterators or pushed frames.

:meth:`dfer_edge.Recognizer.stream` and :meth:`dfer_edge.Recognizer.session` are the way in; here are their parts.
"""

from __future__ import annotations

from dfer_edge.live.capture import Feed, open_feed
from dfer_edge.live.frames import Captured
from dfer_edge.live.options import Limits, Options
from dfer_edge.live.session import Session
from dfer_edge.live.stream import LiveStream, Stats

__all__ = ["Captured", "Feed", "Limits", "LiveStream", "Options", "Session", "Stats", "open_feed"]
