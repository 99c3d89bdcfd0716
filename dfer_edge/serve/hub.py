"""One thread that serves all streams: the newest frame of every client, all their faces in one engine call."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from dfer_edge.errors import DferError
from dfer_edge.live.batching import Network, Observer
from dfer_edge.live.frames import Captured, WallClock
from dfer_edge.live.options import Options
from dfer_edge.live.session import make_looker
from dfer_edge.live.tracking import Look, Looker
from dfer_edge.serve.decoding import decode_image
from dfer_edge.types import Frame

_LOG = logging.getLogger("dfer_edge")
Answer = Callable[[dict[str, Any]], None]


@dataclasses.dataclass
class _Client:
    looker: Looker
    answer: Answer
    pending: tuple[bytes, float, int] | None = None
    received: int = 0
    dropped: int = 0


class Hub:
    """Recognition for many clients.

    A frame that a newer one of the same client overtakes is dropped and counted; every other frame is answered. Each
    client has one frame in a round, so nobody waits for another's backlog.

    Parameters
    ----------
    network, options
        Of all streams.
    on_round
        Called with the seconds of each round and the faces in it, for metrics.
    """

    def __init__(self, network: Network, options: Options, on_round: Callable[[float, int], None]) -> None:
        self._network, self._options, self._on_round = network, options, on_round
        self._clock = WallClock()
        self._observer = Observer(network, options, self._clock)
        self._clients: dict[str, _Client] = {}
        self._changed = threading.Condition()
        self._gone: list[str] = []
        self._numbers = itertools.count()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="dfer-edge hub", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Clients."""
        return len(self._clients)

    def join(self, answer: Answer) -> str:
        """A new client, and its name; ``answer`` gets one message a frame, in the hub's thread."""
        name = f"client{next(self._numbers)}"
        looker = make_looker(self._network, self._options, "detect")
        with self._changed:
            self._clients[name] = _Client(looker, answer)
        return name

    def leave(self, name: str) -> None:
        """Forget a client."""
        with self._changed:
            if self._clients.pop(name, None) is not None:
                self._gone.append(name)

    def push(self, name: str, data: bytes) -> None:
        """The newest frame of a client, as JPEG, PNG, WebP or BMP."""
        with self._changed:
            client = self._clients.get(name)
            if client is None:
                return
            client.dropped += client.pending is not None
            client.pending = (data, self._clock.now(), client.received)
            client.received += 1
            self._changed.notify()

    def close(self) -> None:
        """Stop after the round at hand."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(5.0)

    def _run(self) -> None:
        while (work := self._take()) is not None:
            begin = time.perf_counter()
            try:
                faces = self._round(work)
            except Exception:  # one round must not end the service
                _LOG.exception("a round of the server failed")
                for client, _, _ in work.values():
                    client.answer({"error": "the server failed on this frame"})
                continue
            self._on_round(time.perf_counter() - begin, faces)

    def _take(self) -> dict[str, tuple[_Client, tuple[bytes, float, int], int]] | None:
        with self._changed:
            while not self._is_closed:
                work = {
                    name: (client, client.pending, client.dropped)
                    for name, client in self._clients.items()
                    if client.pending is not None
                }
                for client, _, _ in work.values():
                    client.pending = None
                if work:
                    return work
                self._changed.wait()
        return None

    def _round(self, work: dict[str, tuple[_Client, tuple[bytes, float, int], int]]) -> int:
        with self._changed:
            gone, self._gone = self._gone, []
        for name in gone:
            self._observer.forget(name)
        looks: dict[str, Look] = {}
        for name, (client, (data, at_s, number), dropped) in work.items():
            try:
                image = decode_image(data)
                look = client.looker.look(Captured(Frame(image, number, at_s), at_s))
            except DferError as error:
                client.answer({"error": str(error), "frame": number, "dropped": dropped})
                continue
            if look is not None:
                looks[name] = look
        observations = self._observer.observe(looks)
        for name, (client, (_, at_s, number), dropped) in work.items():
            if name not in looks:
                continue
            own = [_message(found) for found in observations if found.source == name]
            age_ms = (self._clock.now() - at_s) * 1e3
            client.answer({"frame": number, "dropped": dropped, "age_ms": round(age_ms, 1), "observations": own})
        return sum(len(look.glimpses) for look in looks.values())


def _message(observation: Any) -> dict[str, Any]:
    """What a client gets of an observation: all but what is the same every time."""
    full = observation.to_dict()
    for part in ("prediction", "raw"):
        for key in ("weights", "scores", "frame_indices", "box", "timings_ms"):
            full[part].pop(key, None)
    for key in ("source", "landmarks"):
        full.pop(key)
    return full  # type: ignore[no-any-return]
