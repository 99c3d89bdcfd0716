"""The thread between readers and engine: finds the faces of the newest frames of all sources.

People in sight do not wait for a search for others: it is made once the engine has their frame behind it, at the
latest before the next frame of the source.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

from dfer_edge.live.frames import Captured, Slot
from dfer_edge.live.reader import Reader
from dfer_edge.live.tracking import Look, Looker
from dfer_edge.types import TrackedFace

OnFrame = Callable[[str, Captured, tuple[TrackedFace, ...]], None]


@dataclasses.dataclass
class Lane:
    """One source on its way through the stages."""

    name: str
    reader: Reader
    frames: Slot[Captured]
    looker: Looker
    looks: Slot[Look]
    others: int = 0

    @property
    def is_drained(self) -> bool:
        """Whether everything that will ever come has gone through."""
        return self.reader.is_done and not len(self.frames) and not len(self.looks)


class FaceThread:
    """Looks at one frame after the other, the sources in turns.

    Parameters
    ----------
    lanes
        All sources.
    changed
        The condition that their slots share.
    on_frame
        Called with every frame that was looked at: source, frame, faces.

    Attributes
    ----------
    error
        What ended it, or None.
    is_busy
        A frame is being looked at.
    is_engine_busy
        Set by whoever runs the engine, who notifies ``changed``.
    """

    def __init__(self, lanes: list[Lane], changed: threading.Condition, on_frame: OnFrame | None) -> None:
        self._lanes, self._changed, self._on_frame = lanes, changed, on_frame
        self.error: BaseException | None = None
        self.is_busy = self.is_engine_busy = False
        self._next = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="dfer-edge faces", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the frame at hand."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for lane in self._lanes:
            lane.looks.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(2.0)

    def _run(self) -> None:
        try:
            while (found := self._take()) is not None:
                self._look(*found)
                with self._changed:
                    self.is_busy = False
                    self._changed.notify_all()
        except Exception as error:  # belongs to the consumer: a detector of the user's, a frame of no sense
            self.error = error
            with self._changed:
                self._changed.notify_all()

    def _take(self) -> tuple[Lane, Captured | None] | None:
        """The next frame of a source, or a source without one that shall catch up; None at the end."""
        with self._changed:
            while not self._is_closed:
                for step in range(len(self._lanes)):
                    lane = self._lanes[(self._next + step) % len(self._lanes)]
                    captured = lane.frames.take()
                    if captured is not None:
                        self._next = (self._next + step + 1) % len(self._lanes)
                        self.is_busy = True
                        return lane, captured
                is_calm = not self.is_engine_busy and not any(len(lane.looks) for lane in self._lanes)
                owing = next((lane for lane in self._lanes if lane.looker.owes), None)
                if is_calm and owing is not None:
                    return owing, None
                self._changed.wait()
        return None

    def _look(self, lane: Lane, captured: Captured | None) -> None:
        lane.looker.catch_up()
        if captured is None:
            return
        look = lane.looker.look(captured)
        if self._on_frame is not None:
            self._on_frame(lane.name, captured, lane.looker.faces)
        if look is not None:
            lane.others = look.others
            lane.looks.put(look)
