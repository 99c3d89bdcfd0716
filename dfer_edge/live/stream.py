"""Sources in, observations out, on threads: readers, faces, and the engine in the thread of the caller."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import weakref
from collections import deque
from types import TracebackType
from typing import Any

from dfer_edge.errors import InvalidInput, SourceLost
from dfer_edge.live.batching import Network, Observer
from dfer_edge.live.capture import Feed
from dfer_edge.live.deadline import Deadline
from dfer_edge.live.frames import Captured, Slot, WallClock
from dfer_edge.live.options import Options
from dfer_edge.live.reader import Reader
from dfer_edge.live.session import make_looker
from dfer_edge.live.stages import FaceThread, Lane, OnFrame
from dfer_edge.live.tracking import Look
from dfer_edge.types import Observation

# How often a caller that waits looks for stalls, and lets Ctrl-C through.
_PATIENCE_S = 0.1


@dataclasses.dataclass(frozen=True)
class Stats:
    """What a stream did so far, summed over its sources.

    Attributes
    ----------
    frames, observations
        Read, and given out.
    dropped
        Frames that were replaced by newer ones before anyone looked for faces in them.
    replaced
        Frames whose faces were found, and that were replaced by newer ones before the engine was free.
    late, skipped
        Deadline mode: results that came late, and frames that were not scored since they would have been.
    queue
        Most frames that ever waited.
    others
        Faces of the last frames beyond ``max_people``.
    reconnects
        Times that a lost source came back.
    lost
        Names of sources that are lost now.
    hop_s, beat_s, precision
        In use.
    """

    frames: int
    observations: int
    dropped: int
    replaced: int
    late: int
    skipped: int
    queue: int
    others: int
    reconnects: int
    lost: tuple[str, ...]
    hop_s: float
    beat_s: float | None
    precision: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {**dataclasses.asdict(self), "lost": list(self.lost)}


class LiveStream:
    """An iterator over observations, also for ``async for``; ends with its sources, or with ``close`` from any thread.

    Nothing is opened but files before :meth:`start`, which the first observation calls. A stream that is no longer
    referred to closes itself; ``with`` closes it at once.

    Parameters
    ----------
    network, options, faces
        As :class:`~dfer_edge.live.session.Session` takes them.
    feeds
        The sources.
    on_frame
        Called from the stream's thread with every frame that was looked at: source, frame, faces.
    """

    def __init__(
        self,
        network: Network,
        feeds: list[Feed],
        options: Options,
        faces: str = "detect",
        on_frame: OnFrame | None = None,
    ) -> None:
        self._network, self._options, self._clock = network, options, WallClock()
        self._observer = Observer(network, options, self._clock)
        self._changed = threading.Condition()
        self._lanes = [self._lane(feed, faces) for feed in feeds]
        self._faces = FaceThread(self._lanes, self._changed, on_frame)
        # Who draws frames should not see the first ones without labels.
        self._is_watched = on_frame is not None
        self._ready: deque[Observation] = deque()
        self._last: dict[str, Captured] = {}
        self._observations = 0
        beat_s = self._lanes[0].looker.beat_s or 0.0
        self._deadline = (
            Deadline(options.deadline_ms, options.limits, options.hop_s, beat_s) if options.deadline_ms else None
        )
        self._precision = ""
        self._scorers = {"": network.scorer}
        self._is_started = self._is_closed = False
        self._finish = weakref.finalize(self, _shut, self._lanes, self._faces)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources, as in ``Observation.source``."""
        return tuple(lane.name for lane in self._lanes)

    def __iter__(self) -> LiveStream:
        return self

    def __next__(self) -> Observation:
        self.start()
        while not self._ready:
            looks = self._wait()
            if looks is None:
                self.close()
                raise StopIteration
            self._ready.extend(self._observe(looks))
            with self._changed:
                self._faces.is_engine_busy = False
                self._changed.notify_all()
        self._observations += 1
        return self._ready.popleft()

    def __aiter__(self) -> LiveStream:
        return self

    async def __anext__(self) -> Observation:
        found = await asyncio.to_thread(next, self, None)
        if found is None:
            raise StopAsyncIteration
        return found

    def start(self) -> None:
        """Open the sources, which the first observation does otherwise; again does nothing.

        The engine is warmed up before where time counts: live, in real time, with a deadline or ``on_frame``.

        Raises
        ------
        DferError
            If a precision that ``limits`` names is not to be had.
        """
        if self._is_started or self._is_closed:
            return
        is_live = self._options.realtime or any(lane.reader.feed.live for lane in self._lanes)
        if self._deadline or is_live or self._is_watched:
            self._observer.warm_up()
        if self._deadline:
            self._load_others()
        # Only now: after an error above, asking again says it again.
        self._is_started = True
        for lane in self._lanes:
            lane.reader.start()
        self._faces.start()

    def close(self) -> None:
        """Stop reading; a thread that waits for an observation gets the end. A second call does nothing."""
        self._is_closed = True
        self._finish()
        with self._changed:
            self._changed.notify_all()

    def __enter__(self) -> LiveStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stats(self) -> Stats:
        """See :class:`Stats`; from any thread."""
        looker, lanes = self._lanes[0].looker, self._lanes
        return Stats(
            frames=sum(lane.reader.frames for lane in lanes),
            observations=self._observations,
            dropped=sum(lane.frames.dropped for lane in lanes),
            replaced=sum(lane.looks.dropped for lane in lanes),
            late=self._deadline.late if self._deadline else 0,
            skipped=self._deadline.skipped if self._deadline else 0,
            queue=max(lane.frames.deepest for lane in lanes),
            others=sum(lane.others for lane in lanes),
            reconnects=sum(lane.reader.reconnects for lane in lanes),
            lost=tuple(lane.name for lane in lanes if lane.reader.is_lost),
            hop_s=looker.hop_s,
            beat_s=looker.beat_s,
            precision=self._precision,
        )

    # -- inside ---------------------------------------------------------------------------------------------

    def _lane(self, feed: Feed, faces: str) -> Lane:
        options = self._options
        is_live = feed.live or options.realtime
        drops = is_live if options.drop is None else options.drop
        frames: Slot[Captured] = Slot(options.queue, drops, self._changed)
        reader = Reader(feed, frames, options.realtime, options.reconnect, options.stall_s, self._clock.now)
        looker = make_looker(self._network, options, faces)
        if drops:
            looker.postpone()
        return Lane(feed.name, reader, frames, looker, Slot(1, drops, self._changed))

    def _load_others(self) -> None:
        """Every precision that deadline mode may switch to, now: no result could wait for it later."""
        for precision in self._options.limits.precisions:
            if self._network.others is None:
                raise InvalidInput(f"expected a network with other precisions than its own, to take {precision}")
            self._scorers[precision] = self._network.others(precision)
            self._observer.warm_up(self._scorers[precision])

    def _wait(self) -> dict[str, Look] | None:
        """The newest looks of all sources that have one, possibly none; None at the end of everything."""
        while not self._is_closed:
            for lane in self._lanes:
                lane.reader.watch()
            self._raise_errors()
            with self._changed:
                looks = {lane.name: look for lane in self._lanes if (look := lane.looks.take()) is not None}
                self._faces.is_engine_busy = bool(looks)
                if looks or any(lane.reader.notices for lane in self._lanes):
                    return looks
                if all(lane.is_drained for lane in self._lanes) and not self._faces.is_busy:
                    return None
                self._changed.wait(_PATIENCE_S)
        return None

    def _raise_errors(self) -> None:
        with self._changed:
            error = self._faces.error
            if error is None and not self._faces.is_busy:
                # What was read before the error comes out first.
                error = next((lane.reader.error for lane in self._lanes if lane.is_drained), None)
        for lane in self._lanes:
            silent_s = self._clock.now() - lane.reader.last_at_s
            timeout_s = self._options.timeout_s
            if timeout_s is not None and lane.reader.feed.live and silent_s > timeout_s:
                error = error or SourceLost(f"expected a frame of {lane.name} within {timeout_s:g} s, got none")
        if error is not None:
            self.close()
            # Raised by a thread that is gone: its own place is in the traceback.
            raise error

    def _observe(self, looks: dict[str, Look]) -> list[Observation]:
        found = [self._notice(lane) for lane in self._lanes if lane.reader.notices]
        now, deadline = self._clock.now(), self._deadline
        if deadline:
            scored = {
                name: look
                for name, look in looks.items()
                if not look.is_due or not look.glimpses or deadline.admits(now - look.captured.at_s, now)
            }
            # What was turned down by skipping holds from now on.
            self._apply(deadline)
        else:
            scored = looks
        self._last.update({name: look.captured for name, look in looks.items()})
        observations = self._observer.observe(scored)
        if deadline and any(observation.has_face for observation in observations):
            done, worst_ms = self._clock.now(), max(o.age_ms or 0.0 for o in observations)
            deadline.made(done - now, worst_ms / 1e3, done)
            self._apply(deadline)
        return found + observations

    def _notice(self, lane: Lane) -> Observation:
        notice = lane.reader.notices.popleft()
        return self._observer.notice(lane.name, notice.event, self._last.get(lane.name), notice.at_s)

    def _apply(self, deadline: Deadline) -> None:
        """Set what the level of deadline mode says."""
        level = deadline.level
        for lane in self._lanes:
            lane.looker.hop_s = level.hop_s
            lane.looker.beat_s = level.beat_s
        self._precision = level.precision
        self._observer.scorer = self._scorers[level.precision]


def _shut(lanes: list[Lane], faces: FaceThread) -> None:
    faces.close()
    for lane in lanes:
        lane.reader.close()
