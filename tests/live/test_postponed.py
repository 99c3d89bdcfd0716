"""Searches for newcomers that those in sight do not wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dfer_edge.faces import FaceFinder, FaceFollower
from dfer_edge.flow.postprocess import softmax
from dfer_edge.live import LiveStream
from dfer_edge.live.batching import Network
from dfer_edge.live.capture import Feed
from dfer_edge.live.options import make_options
from dfer_edge.live.tracking import Watching
from tests.faces.world import World, face_at
from tests.live.fakes import SPEC, Scorer

ALONE = {1: face_at(200, 150)}
BOTH = {**ALONE, 2: face_at(450, 150)}


def follower(world: World) -> FaceFollower:
    return FaceFollower(FaceFinder(world, world), postpones=True)


def test_a_search_that_is_due_waits_for_catch_up_and_newcomers_come_a_frame_later() -> None:
    world = World(lambda t: BOTH if t >= 1 else ALONE)
    follow = follower(world)
    for index in range(25):
        assert len(follow.update(world.frame(index))) == 1
        assert not follow.owes, "the first search was made at once: nobody was in sight"
    assert len(follow.update(world.frame(25))) == 1
    assert (follow.owes, world.searches) == (True, 1)
    follow.catch_up()
    assert (follow.owes, world.searches) == (False, 2)
    follow.catch_up()
    assert world.searches == 2, "once"
    assert {face.track_id for face in follow.update(world.frame(26))} == {0, 1}


@pytest.mark.parametrize(
    "script",
    [
        lambda t: {} if 1 <= t < 2 else ALONE,  # somebody is lost
        lambda t: {} if t < 1 else ALONE,  # nobody was there
    ],
)
def test_without_anybody_in_sight_searches_are_made_at_once(script: Callable[[float], dict]) -> None:
    plain, world = World(script), World(script)
    now, later = plain.follower(), follower(world)
    for index in range(75):
        expected, found = now.update(plain.frame(index)), later.update(world.frame(index))
        assert [face.track_id for face in found] == [face.track_id for face in expected]
        later.catch_up()


class Camera(Feed):
    """Frames one by one, each when the test says so."""

    live = True

    def __init__(self, world: World) -> None:
        super().__init__("camera")
        self._world, self.go, self.over = world, threading.Semaphore(0), False

    def items(self) -> Iterator[tuple[np.ndarray, float | None]]:
        index = 0
        while self.go.acquire(timeout=20) and not self.over:
            yield self._world.frame(index).image, None
            index += 1


class Gate(Scorer):
    """Remembers how many searches had been made when it was called; may be held."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world, self.searches, self.held = world, [], threading.Event()
        self.held.set()

    def logits(self, windows: Any) -> list[np.ndarray]:
        self.searches.append(self._world.searches)
        assert self.held.wait(20)
        return super().logits(windows)


def test_the_engine_has_the_frame_before_the_search_and_the_search_is_made_before_the_next_look() -> None:
    world = World(lambda _: ALONE)
    gate, camera = Gate(world), Camera(world)
    finder = FaceFinder(world, world)
    watching = lambda _: Watching(FaceFollower(finder, beat_s=0.0))  # noqa: E731 - a search is due in each frame
    net = Network(SPEC, {"name": "fake", "sha256": ""}, 1, gate, softmax, 0.0, None, watching)
    searched, looked = threading.Semaphore(0), threading.Semaphore(0)
    plain = world.detect

    def detect(image: Any, box: Any = None) -> Any:
        found = plain(image, box)
        if box is None:
            searched.release()
        return found

    world.detect = detect  # type: ignore[method-assign]
    options = make_options(hop=0, reconnect=False)
    with LiveStream(net, [camera], options, "detect", lambda *_: looked.release()) as stream:
        gate.searches.clear()  # of the warm-up
        for index in range(3):
            camera.go.release()
            next(stream)
            assert gate.searches[-1] == max(1, index), "those of frames before; in the first nobody was known"
            assert searched.acquire(timeout=20), "the engine is idle: the search needs no further frame"
        while looked.acquire(blocking=False):
            pass
        gate.held.clear()
        waiting = threading.Thread(target=next, args=(stream,))
        camera.go.release()
        waiting.start()
        assert looked.acquire(timeout=20)
        camera.go.release()
        assert looked.acquire(timeout=20)
        assert searched.acquire(timeout=20), "the engine is busy, the next frame came: not without a search"
        gate.held.set()
        waiting.join(20)
        # Its thread ends with the test, not when the wait for a frame does.
        camera.over = True
        camera.go.release()
