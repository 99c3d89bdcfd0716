"""What cameras and rooms do that nobody wants: garbage, a frame a minute, faces at the edge, crowds, nobody."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from dfer_edge import SourceLost
from dfer_edge.live import Options, Session
from dfer_edge.types import Box
from tests.live.fakes import HERE, SPEC, Scorer, image, network
from tests.live.test_stream import stream

Serve = Callable[[bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Bytes to an address that answers with them as motion JPEG, then hangs up."""
    servers: list[ThreadingHTTPServer] = []

    def start(body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with contextlib.suppress(OSError):  # the reader hung up first
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_address[1]}/video.mjpg"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def part(body: bytes) -> bytes:
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body + b"\r\n"


def jpeg(index: int) -> bytes:
    return cv2.imencode(".jpg", image(index, 120, 160))[1].tobytes()


def test_an_address_that_sends_garbage_is_an_error(serve: Serve) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 200_000, np.uint8).tobytes()
    with pytest.raises(SourceLost, match=r"127\.0\.0\.1"):
        list(stream(serve(noise), reconnect=False, stall_s=3.0))


@pytest.mark.parametrize("damaged", [jpeg(9)[:300] + bytes(200), b"", bytes(range(256))])
def test_frames_before_and_after_a_damaged_one_are_seen(serve: Serve, damaged: bytes) -> None:
    address = serve(b"".join(map(part, [*map(jpeg, range(5)), damaged, *map(jpeg, range(20, 25))])))
    levels: list[int] = []
    with contextlib.suppress(SourceLost):
        seen = stream(address, reconnect=False, stall_s=3.0, drop=False, frames=True)
        levels.extend(round(float(observation.frame.mean())) for observation in seen)
    assert levels == [0, 1, 2, 3, 4, 20, 21, 22, 23, 24]


def test_a_frame_a_minute_shows_who_is_there_now_alone() -> None:
    found = list(stream(((image(k), 60.0 * k) for k in range(5)), window=2))
    assert [seen.time_s for seen in found] == [0, 60, 120, 180, 240]
    assert [set(seen.prediction.frame_indices) for seen in found] == [{k} for k in range(5)]
    assert {seen.start_s - seen.time_s for seen in found} == {0}


@pytest.mark.parametrize(
    "box",
    [
        *(Box(-30, 5, 12, 45), Box(50, 5, 95, 45), Box(5, -30, 45, 12), Box(5, 40, 45, 80)),
        *(Box(-200, -200, 300, 300), Box(63, 47, 64, 48), Box(10, 10, 10.5, 10.5)),
    ],
)
def test_faces_across_the_edge_larger_than_the_frame_and_tiny(box: Box) -> None:
    scorer = Scorer()
    with Session(network({0: lambda _: box}, scorer), Options(hop_s=0)) as session:
        (seen,) = session.push(image(3), 0.0)
        crop = session._observer._people["", 0].history.window()[-1].newest.crop
    assert (seen.box, crop.shape, crop.dtype) == (box, (SPEC.size, SPEC.size, 3), np.uint8)


def test_a_hundred_faces_are_the_thirty_two_largest_in_calls_that_fit_and_the_rest_is_counted() -> None:
    crowd = {k: lambda _, k=k: HERE._replace(right=46 + k / 10) for k in range(100)}
    live = stream(iter([image(0), image(1)]), network(crowd, Scorer()), no_face=False)
    found = list(live)
    assert sorted(seen.track_id for seen in found if seen.frame_index == 1) == list(range(68, 100))
    assert live.stats().others == 68


def test_an_hour_without_anybody_holds_nothing() -> None:
    there = lambda index: HERE if index < 5 else None  # noqa: E731
    with Session(network({0: there}), Options(hop_s=1.0)) as session:
        observations = [o for k in range(5 * 3600) for o in session.push(image(k), k / 5)]
        assert len(observations) == 3600
        assert {o.prediction.label for o in observations[2:]} == {"no face"}
        assert len(session._observer) == 0
        (looker,) = session._lookers.values()
        assert len(looker._recent) <= 5 * Options().window_s + 1
        assert not looker._last_points
