"""Frames pushed in, observations out: for callers that have their own loop."""

from __future__ import annotations

import math
import threading
from numbers import Real
from types import TracebackType
from typing import Any

from dfer_edge.errors import InvalidInput
from dfer_edge.live.batching import Network, Observer
from dfer_edge.live.frames import Captured, WallClock
from dfer_edge.live.options import Options
from dfer_edge.live.tracking import Looker
from dfer_edge.sources.frames import checked
from dfer_edge.types import Frame, Observation, TrackedFace


class Session:
    """A stream that the caller pushes frames into; a context manager, for one thread at a time.

    Several cameras may be pushed, each under a name of its own.

    Parameters
    ----------
    network
        Of a recogniser.
    options
        Of the session.
    faces
        ``detect`` or ``cropped``.
    """

    def __init__(self, network: Network, options: Options, faces: str = "detect") -> None:
        self._network, self._options, self._faces = network, options, faces
        self._clock = WallClock()
        self._observer = Observer(network, options, self._clock)
        self._lookers: dict[str, Looker] = {}
        self._frames: dict[str, int] = {}
        self._begin_s = self._clock.now()
        self._lock = threading.Lock()
        self._is_closed = False

    def push(
        self, frame: Any, time_s: float | None = None, source: str = "", captured_s: float | None = None
    ) -> list[Observation]:
        """What the newest frame shows, if an observation is due.

        Parameters
        ----------
        frame
            uint8 RGB [H, W, 3]; sizes may change.
        time_s
            Its time in seconds from any begin; the time of the call if None. A clock that goes back is mended.
        source
            Which camera.
        captured_s
            Unix time of its capture, for ``age_ms``; the time of the call if None.

        Raises
        ------
        InvalidInput
            For another kind of frame, a time that is no number, or a session that was closed.
        """
        with self._lock:
            if self._is_closed:
                raise InvalidInput("expected an open session, got one that was closed")
            image, now = checked(frame, "the frame"), self._clock.now()
            for moment_s in (time_s, captured_s):
                if moment_s is not None and not (isinstance(moment_s, Real) and math.isfinite(moment_s)):
                    raise InvalidInput(f"expected a time in seconds, got {moment_s!r}")
            at_s = now if captured_s is None else now + captured_s - self._clock.unix(now)
            looker = self._looker(source)
            index = self._frames[source] = self._frames.get(source, -1) + 1
            stamped = Frame(image, index, now - self._begin_s if time_s is None else float(time_s))
            look = looker.look(Captured(stamped, at_s))
            return self._observer.observe({source: look}) if look else []

    def faces(self, source: str = "") -> tuple[TrackedFace, ...]:
        """Everyone in the last frame of a source, also where no observation was due."""
        return self._lookers[source].faces if source in self._lookers else ()

    def close(self) -> None:
        """Forget everyone; pushing is an error from now on. A second call does nothing."""
        with self._lock:
            self._is_closed = True
            self._lookers.clear()
            self._observer = Observer(self._network, self._options, self._clock)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _looker(self, source: str) -> Looker:
        if source not in self._lookers:
            self._lookers[source] = make_looker(self._network, self._options, self._faces)
        return self._lookers[source]


def make_looker(network: Network, options: Options, faces: str) -> Looker:
    """The first stage of one source.

    Raises
    ------
    InvalidInput
        If ``faces`` is neither ``detect`` nor ``cropped``.
    """
    if faces not in ("detect", "cropped"):
        raise InvalidInput(f'expected faces "detect" or "cropped", got {faces!r}')
    return Looker(network.spec, options, network.watching(faces), network.landmarks)
