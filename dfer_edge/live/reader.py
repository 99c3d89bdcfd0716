"""One thread a source: reads, stamps, paces files, notices loss and stalls, opens again with growing pauses."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections import deque

from dfer_edge.errors import SourceLost
from dfer_edge.live.capture import Feed
from dfer_edge.live.frames import Captured, Clock, Slot
from dfer_edge.types import Frame, Image

_LOG = logging.getLogger("dfer_edge")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0


@dataclasses.dataclass(frozen=True)
class Notice:
    """What happened to a source: ``lost`` or ``restored``, when, and why."""

    event: str
    at_s: float
    reason: str = ""


class Reader:
    """Reads one feed into a slot.

    Parameters
    ----------
    feed
        What to read.
    slot
        Gets the frames.
    realtime
        Wait for each frame's presentation time.
    reconnects
        Open a live source again after its loss.
    stall_s
        Seconds without a frame after which a live source counts as lost: said at once, while the device may still hang.
    now
        The monotonic clock.

    Attributes
    ----------
    error
        What ended it, or None.
    is_done
        No more frames will come.
    reconnects
        Times that the source came back.
    notices
        What happened, for the consumer to take.
    """

    def __init__(
        self, feed: Feed, slot: Slot[Captured], realtime: bool, reconnects: bool, stall_s: float, now: Clock
    ) -> None:
        self.feed, self._slot, self._realtime, self._now = feed, slot, realtime, now
        self._reopens, self._stall_s = reconnects and feed.reopens, stall_s
        self.error: BaseException | None = None
        self.is_done = self.is_lost = False
        self.reconnects = self.frames = 0
        self.last_at_s = self.started_s = now()
        self.notices: deque[Notice] = deque(maxlen=16)
        self._stop = threading.Event()
        self._first_at_s: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"dfer-edge {feed.name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self, wait_s: float = 1.0) -> None:
        """Stop; a device that hangs keeps its (daemon) thread until it answers."""
        self._stop.set()
        self._slot.close()
        self.feed.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(wait_s)

    def watch(self) -> None:
        """Called often by the consumer: says once that a live source stalls."""
        silent = self._now() - self.last_at_s
        if self.feed.live and not self.is_lost and not self.is_done and silent > self._stall_s:
            self._say_lost(f"no frame for {silent:.1f} s")

    def _run(self) -> None:
        pause = FIRST_PAUSE_S
        try:
            while not self._stop.is_set():
                before = self.frames
                reason = self._pass()
                if self._stop.is_set() or not self.feed.live:
                    return
                if not self._reopens:
                    raise SourceLost(f"expected frames of {self.feed.name}, it gives no more: {reason}")
                self._say_lost(reason)
                pause = FIRST_PAUSE_S if self.frames > before else min(2 * pause, LONGEST_PAUSE_S)
                self._stop.wait(pause)
        except Exception as error:  # whatever a source of the user's raises belongs to the consumer, not to this thread
            self.error = error
        finally:
            self.is_done = True
            self._slot.wake()

    def _pass(self) -> str:
        """Read until the source gives no more; why."""
        try:
            for image, time_s in self.feed.items():
                if self._stop.is_set():
                    return "closed"
                self._take(image, time_s)
        except SourceLost as error:
            # Refused at the very start: a wrong address, not an outage.
            if not self.frames or not self._reopens:
                raise
            return error.message
        return "it ended"

    def _take(self, image: Image, time_s: float | None) -> None:
        at_s = self._now()
        first = self._first_at_s = at_s if self._first_at_s is None else self._first_at_s
        if self._realtime and time_s is not None and not self.feed.live:
            # The frame belongs to its moment, also where the machine is late.
            at_s = first + time_s
            self._stop.wait(max(0.0, at_s - self._now()))
        self.last_at_s = self._now()
        if self.is_lost:
            self.is_lost = False
            self.reconnects += 1
            _LOG.warning("%s is back", self.feed.name)
            self._say(Notice("restored", at_s))
        time_s = at_s - first if time_s is None else time_s
        frame = Frame(image, self.frames, time_s)
        self.frames += 1
        self._slot.put(Captured(frame, at_s))

    def _say_lost(self, reason: str) -> None:
        if not self.is_lost:
            self.is_lost = True
            _LOG.warning("%s is lost: %s%s", self.feed.name, reason, "; trying again" if self._reopens else "")
            self._say(Notice("lost", self._now(), reason))

    def _say(self, notice: Notice) -> None:
        self.notices.append(notice)
        self._slot.wake()
