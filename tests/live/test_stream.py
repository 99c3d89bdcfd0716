"""Sources in, observations out, on threads."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dfer_edge import InvalidInput, SourceLost
from dfer_edge.live import Limits, LiveStream, Options
from dfer_edge.live.capture import CameraFeed, Feed, open_feed, open_feeds
from dfer_edge.live.history import Step
from dfer_edge.live.options import make_options
from dfer_edge.sources.redaction import redacted
from tests.live.fakes import HERE, Scorer, Where, image, network

FRAMES = [image(k) for k in range(50)]


def stream(source: Any, net: Any = None, on_frame: Any = None, **options: Any) -> LiveStream:
    chosen = make_options(**{"hop": 0, **options})
    return LiveStream(net or network(), open_feeds(source, chosen.stall_s, chosen.rate), chosen, "detect", on_frame)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("dfer-edge")}


def no_threads(seconds: float = 5.0) -> bool:
    """Whether the threads of streams have ended; a source's ends after it handed on what was wrong."""
    deadline = time.monotonic() + seconds
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not threads()


class Camera(Feed):
    """A live source that the test drives: an item is a frame, a function to call, or an error to raise."""

    live = reopens = True

    def __init__(self, *passes: list[Any], name: str = "camera") -> None:
        super().__init__(name)
        self._passes = iter(passes)
        self.opened = 0

    def items(self) -> Iterator[tuple[np.ndarray, float | None]]:
        self.opened += 1
        for item in next(self._passes, []):
            if isinstance(item, Exception):
                raise item
            if callable(item):
                item()
            else:
                yield item, None


# -- every kind of source ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: FRAMES,
        lambda: np.stack(FRAMES),
        lambda: iter(FRAMES),
        lambda: (frame for frame in FRAMES),
        lambda: ((frame, k / 25) for k, frame in enumerate(FRAMES)),
        lambda: zip(FRAMES, np.arange(50) / 25, strict=True),
    ],
)
def test_frames_of_any_kind(make: Callable[[], Any]) -> None:
    found = list(stream(make()))
    assert [o.frame_index for o in found] == list(range(50)), "nothing is dropped of what is no live source"
    assert not threads()


def test_window_and_hop_hold_for_arrays() -> None:
    found = list(stream(FRAMES, hop=0.2, window=1.0))
    np.testing.assert_allclose([o.time_s for o in found], np.arange(10) * 0.2)
    slow = list(stream(FRAMES, hop=0.2, window=1.0, rate=5))
    assert len(slow) == 50


def test_a_video_capture_is_a_source() -> None:
    class Capture:
        def __init__(self) -> None:
            self.left = list(FRAMES)

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def read(self) -> tuple[bool, np.ndarray | None]:
            return (True, self.left.pop(0)[..., ::-1]) if self.left else (False, None)

        def release(self) -> None:
            self.left = []

    with pytest.raises(SourceLost, match="VideoCapture, it gives no more"):
        list(stream(Capture()))
    assert next(stream(Capture(), drop=False)).frame_index == 0


def test_a_video_capture_of_a_file_ends_and_keeps_the_times_of_the_file(astronaut: Path) -> None:
    found = list(stream(cv2.VideoCapture(str(astronaut)), hop=0))
    assert [round(seen.time_s, 3) for seen in found] == [round(k / 25, 3) for k in range(50)]


@pytest.mark.parametrize("source", ["63", "/dev/video63", 63])
def test_an_absent_camera_is_an_error_that_names_it(source: object) -> None:
    with pytest.raises(SourceLost, match=r"camera or stream that opens.*63"):
        next(stream(source))


@pytest.mark.parametrize("source", [None, b"frames", 2.5, True, object(), {}, "nothing.mp4"])
def test_what_is_no_source(source: object) -> None:
    with pytest.raises(InvalidInput):
        stream(source)


def test_lists_and_mappings_of_sources_share_engine_calls() -> None:
    scorer = Scorer()
    hang = threading.Event()
    cameras = {f"c{k}": Camera([FRAMES[0], hang.wait]) for k in range(3)}
    with stream(cameras, network(scorer=scorer)) as live:
        found = list(itertools.islice(live, 3))
        hang.set()
    assert {o.source for o in found} == {"c0", "c1", "c2"}
    assert sum(map(len, scorer.calls[1:])) == 3, "after the call that warms up"
    assert [feed.name for feed in open_feeds([iter([]), iter([])])] == ["list_iterator#0", "list_iterator#1"]


# -- dropping ---------------------------------------------------------------------------------------------------------


def test_a_slow_reader_gets_the_newest_frame_and_drops_are_counted() -> None:
    go, done, hang = (threading.Event() for _ in range(3))
    live = stream(Camera([FRAMES[0], go.wait, *FRAMES[1:], done.set, hang.wait]))
    first = next(live)
    go.set()
    assert done.wait(10)
    time.sleep(0.1)
    second = next(live)
    stats = live.stats()
    hang.set()
    live.close()
    assert (first.frame_index, second.frame_index) == (0, 49)
    assert stats.frames == 50
    assert stats.dropped + stats.replaced == 48
    assert stats.queue == 1


class Slow(Scorer):
    def logits(self, windows: Sequence[Sequence[Step]]) -> list[np.ndarray]:
        time.sleep(0.005)
        return super().logits(windows)


def test_a_deadline_takes_the_precision_that_was_loaded_at_the_start() -> None:
    own, other, asked = Slow(), Scorer(), []

    def load(precision: str) -> Scorer:
        asked.append((precision, len(own.calls)))
        return other

    net = dataclasses.replace(network(scorer=own), others=load)
    limits = Limits(hop_s=0.0, beat_s=0.0, precisions=("int8",))
    live = stream(iter([(frame, k / 25) for k, frame in enumerate(FRAMES * 4)]), net, deadline_ms=1, limits=limits)
    live.start()
    warm = len(own.calls)
    assert (asked, len(other.calls)) == ([("int8", warm)], 1), "before the first frame, and warm"
    assert len(list(live)) > 0
    assert live.stats().precision == "int8"
    assert len(own.calls) > warm, "its own first"
    assert len(other.calls) > 1
    assert len(asked) == 1
    without = stream(FRAMES, deadline_ms=1, limits=limits)
    for _ in range(2):  # not started by an error: what follows would wait for sources that nobody opened
        with pytest.raises(InvalidInput, match="other precisions"):
            without.start()


def test_a_file_in_real_time_takes_its_time() -> None:
    begin = time.monotonic()
    found = list(stream(FRAMES[:10], realtime=True))
    assert time.monotonic() - begin >= 9 / 25
    assert found[-1].frame_index == 9
    assert all(observation.age_ms < 5000 for observation in found)


# -- loss -------------------------------------------------------------------------------------------------------------


def test_a_camera_that_was_unplugged_and_is_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dfer_edge.live.reader.FIRST_PAUSE_S", 0.01)
    hang = threading.Event()
    camera = Camera(FRAMES[:3], [SourceLost("busy")], [], FRAMES[3:6], [hang.wait])
    events, faces = [], []
    with stream(camera, drop=False) as live:
        for observation in live:
            (events if observation.event in ("lost", "restored") else faces).append(observation)
            if len(faces) == 6:
                break
        assert live.stats().reconnects == 1
    hang.set()
    assert [o.event for o in events[:2]] == ["lost", "restored"]
    assert not events[0].has_face
    assert camera.opened >= 4
    assert all(b.time_s > a.time_s for a, b in itertools.pairwise(faces))
    assert "camera is lost: it ended; trying again" in caplog.text


def test_without_reconnecting_the_end_of_a_live_source_is_an_error() -> None:
    live = stream(Camera(FRAMES[:3]), drop=False, reconnect=False)
    assert [next(live).frame_index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SourceLost, match="gives no more: it ended"):
        next(live)
    assert not threads()


def test_a_stall_is_said_times_out_and_can_be_closed() -> None:
    hang = threading.Event()
    live = stream(Camera([FRAMES[0], hang.wait]), stall_s=0.2, timeout_s=0.5)
    assert next(live).has_face
    assert next(live).event == "lost"
    assert live.stats().lost == ("camera",)
    with pytest.raises(SourceLost, match=r"within 0\.5 s"):
        next(live)
    blocked = stream(Camera([FRAMES[0], hang.wait]), stall_s=60)
    next(blocked)
    threading.Timer(0.2, blocked.close).start()
    assert list(blocked) == [], "closed from another thread: the end"
    hang.set()


def test_errors_of_a_source_or_a_detector_reach_the_caller() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield FRAMES[0]
        raise ZeroDivisionError("sensor")

    live = stream(broken())
    assert next(live).frame_index == 0
    with pytest.raises(ZeroDivisionError, match="sensor"):
        next(live)

    def blind(index: int) -> None:
        raise KeyError("detector")

    with pytest.raises(KeyError, match="detector"):
        list(stream(FRAMES, network({0: blind})))
    with pytest.raises(InvalidInput, match="frame 1 of"):
        list(stream(iter([FRAMES[0], np.zeros((3, 3), np.uint8)])))
    assert no_threads()


def test_sizes_may_change() -> None:
    assert len(list(stream(iter([image(0), image(1, 90, 120), image(2)])))) == 3


# -- life -------------------------------------------------------------------------------------------------------------


def test_a_stream_that_nobody_refers_to_stops() -> None:
    for observation in stream(itertools.cycle(FRAMES)):
        assert observation.has_face
        break
    del observation
    gc.collect()
    assert no_threads()


def test_asyncio() -> None:
    async def count() -> int:
        return sum([1 async for _ in stream(FRAMES)])

    assert asyncio.run(count()) == 50


def test_every_frame_and_its_faces_on_request() -> None:
    seen: list[tuple[str, int, int]] = []
    people: Where = {0: lambda index: HERE if index % 2 else None}
    list(
        stream(FRAMES, network(people), lambda name, c, faces: seen.append((name, c.frame.index, len(faces))), hop=0.4)
    )
    assert seen == [("the array", k, k % 2) for k in range(50)]


# -- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://admin:s3cret@10.0.0.1/cam", "rtsp://***@10.0.0.1/cam"),
        ("http://cam/video?user=me&pwd=s3cret&fps=5", "http://cam/video?user=***&pwd=***&fps=5"),
        ("http://cam/v?access_token=s3cret#x", "http://cam/v?access_token=***#x"),
        (
            'rtspsrc location=rtsp://a:s3cret@h/1 user-pw="s3cret x" ! appsink',
            "rtspsrc location=rtsp://***@h/1 user-pw=*** ! appsink",
        ),
        ("/data/a@b.mp4", "/data/a@b.mp4"),
    ],
)
def test_credentials_are_never_said(text: str, expected: str) -> None:
    assert redacted(text) == expected
    assert "s3cret" not in open_feed(text if "!" in text or "://" in text else iter([])).name


def test_a_refused_address_is_an_error_without_its_password(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    live = stream("RTSP://admin:s3cret@127.0.0.1:9/cam?token=s3cret", stall_s=2)
    with pytest.raises(SourceLost, match=r"\*\*\*@127\.0\.0\.1:9/cam") as error:
        next(live)
    assert "s3cret" not in str(error.value) + caplog.text + "".join(capfd.readouterr())
    assert isinstance(open_feed("http://x/"), CameraFeed)
    assert Options().reconnect
