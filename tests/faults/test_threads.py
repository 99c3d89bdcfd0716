"""One recogniser, many threads and processes: every caller gets its own answer, or is told why not."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfer_edge import EngineUnavailable, InvalidInput, Recognizer
from dfer_edge.engines import reasons
from dfer_edge.faces.detectors import HaarDetector
from dfer_edge.faces.landmarks import make_landmark_detector
from dfer_edge.sources.opening import open_source
from dfer_edge.system.call_lock import CallLock
from dfer_edge.types import Box
from tests.videos import write_container

ENGINES = ("openvino", "onnxruntime", "torch")
FORK = multiprocessing.get_context("fork")
_LIMIT_S = 60.0


def make(engine: str, threads: int = 1) -> Recognizer:
    if reason := reasons(engine):
        pytest.skip(reason)
    return Recognizer("slowr50_sa", engine=engine, precision="fp32", detector="haar", threads=threads)


@pytest.fixture(scope="module", params=ENGINES)
def recognizer(request: pytest.FixtureRequest) -> Recognizer:
    return make(request.param)


def clips(count: int) -> list[np.ndarray]:
    # Of different darkness: their answers are far apart.
    noise = np.random.default_rng(0).integers(0, 256, (count, 1, 96, 96, 3), np.uint8)
    return [frames // (k + 1) for k, frames in enumerate(noise)]


def at_once(work: Callable[[int], Any], workers: int = 4, calls: int = 3) -> list[list[Any]]:
    """Each of ``workers`` threads calls ``work`` with its number, ``calls`` times, all starting together."""
    start = threading.Barrier(workers)

    def run(number: int) -> list[Any]:
        start.wait()
        return [work(number) for _ in range(calls)]

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(run, range(workers)))


def test_every_thread_gets_its_own_answer(recognizer: Recognizer) -> None:
    sources = clips(10)
    alone = [recognizer.predict(clip, faces="cropped").probabilities for clip in sources]
    assert min(np.abs(a - b).max() for k, a in enumerate(alone) for b in alone[:k]) > 1e-3, "clips cannot be told apart"
    answers = at_once(lambda k: recognizer.predict(sources[k], faces="cropped").probabilities, workers=10, calls=2)
    for k, own in enumerate(answers):
        for answer in own:
            # To the last bit.
            np.testing.assert_array_equal(answer, alone[k])


def test_threads_share_detectors(astronaut_frames: list[np.ndarray]) -> None:
    haar, landmarks = HaarDetector(), make_landmark_detector()
    assert landmarks is not None
    frame = astronaut_frames[0]
    pictures = [np.ascontiguousarray(frame[:, : frame.shape[1] - 8 * k]) for k in range(3)] + [frame[:, ::-1].copy()]

    def ask(k: int) -> tuple[Any, Any]:
        found = haar.detect(pictures[k])
        return found, landmarks.detect(pictures[k], found[0].box if found else Box(0, 0, 60, 60))

    alone = [ask(k) for k in range(4)]
    assert alone[0][0]
    assert alone[0][0] != alone[3][0]
    for k, own in enumerate(at_once(ask, calls=10)):
        for boxes, points in own:
            assert boxes == alone[k][0]
            np.testing.assert_array_equal(points, alone[k][1])


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns or raises in a fork of this process; fails if it hangs."""
    receiver, sender = FORK.Pipe(duplex=False)

    def run() -> None:
        try:
            sender.send(work())
        except BaseException as error:
            sender.send(error)

    child = FORK.Process(target=run)
    child.start()
    answered = receiver.poll(_LIMIT_S)
    value = receiver.recv() if answered else None
    child.kill()
    child.join()
    assert answered, "the child hangs"
    return value


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_fork_goes_on_or_says_why_not(engine: str, threads: int) -> None:
    recognizer, clip = make(engine, threads), clips(1)[0]
    before = recognizer.predict(clip, faces="cropped").probabilities
    answer = in_child(lambda: recognizer.predict(clip, faces="cropped").probabilities)
    if engine == "torch" and threads > 1:
        assert isinstance(answer, EngineUnavailable)
        assert "fork" in answer.message
        assert "spawn" in answer.hint
    else:
        np.testing.assert_allclose(answer, before, atol=1e-5)
    np.testing.assert_allclose(recognizer.predict(clip, faces="cropped").probabilities, before, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_while_others_are_in_calls(recognizer: Recognizer) -> None:
    """The lock of a call in flight must not stay held in the child."""
    clip, stop = clips(1)[0], threading.Event()

    def busy() -> None:
        while not stop.is_set():
            recognizer.predict(clip, faces="cropped")

    workers = [threading.Thread(target=busy) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        labels = [in_child(lambda: recognizer.predict(clip, faces="cropped").label) for _ in range(3)]
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert set(labels) == {recognizer.predict(clip, faces="cropped").label}


def test_a_fork_waits_for_calls_and_frees_the_locks() -> None:
    lock, inside, leave = CallLock(), threading.Event(), threading.Event()
    forked: list[int] = []

    def call() -> None:
        with lock:
            inside.set()
            leave.wait(_LIMIT_S)
            forked.append(0)

    worker = threading.Thread(target=call)
    worker.start()
    inside.wait(_LIMIT_S)
    threading.Timer(0.1, leave.set).start()
    child = os.fork()
    if child == 0:
        with lock:
            os._exit(len(forked))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1, "the fork happened inside a call"
    worker.join()
    with lock:
        pass


def test_torch_keeps_the_callers_number_of_threads() -> None:
    torch = pytest.importorskip("torch")
    recognizer, before = make("torch", threads=1), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        recognizer.predict(clips(1)[0], faces="cropped")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_recogniser_pickles_by_its_arguments(recognizer: Recognizer) -> None:
    clip = clips(1)[0]
    expected = recognizer.predict(clip, faces="cropped").probabilities
    for twin in (pickle.loads(pickle.dumps(recognizer)), copy.deepcopy(recognizer)):
        assert twin is not recognizer
        assert twin.info() == recognizer.info()
        np.testing.assert_allclose(twin.predict(clip, faces="cropped").probabilities, expected, atol=1e-5)


def test_an_engine_pickles_by_its_file(recognizer: Recognizer) -> None:
    engine = recognizer._engine
    twin = pickle.loads(pickle.dumps(engine))
    assert (twin.info(), twin.path) == (engine.info(), Path(engine.path))


def _child(source: Any, frames: Any) -> int:
    """What a fork says: 7 if going on with ``frames`` is refused and ``source`` is read whole from its start."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    signal.alarm(20)
    try:
        next(frames)
    except InvalidInput as error:
        os._exit(7 if "fork" in error.message and len(list(source)) == 20 else 1)
    finally:
        os._exit(2)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_does_not_read_on_in_the_decoder_of_its_parent(tmp_path: Path) -> None:
    """Its threads are not in the child, which waited for them for ever."""
    source = open_source(write_container(tmp_path / "a.mkv"))
    frames = iter(source)
    next(frames)
    assert _child(open_source(tmp_path / "a.mkv"), frames) == 7
    assert len(list(frames)) == 19
