"""Graphs, scratch memory, order between streams and what cannot be made, against the double."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from dfer_edge import EngineUnavailable, InvalidInput, PrecisionUnavailable, engines
from dfer_edge.engines import load_engine, registry
from dfer_edge.engines.tensorrt import engine as tensorrt_engine
from dfer_edge.engines.tensorrt import library as tensorrt_library
from dfer_edge.engines.tensorrt.engine import TensorRtEngine
from dfer_edge.engines.tensorrt.library import Library
from tests.engines.fake_cuda import FakeCuda, RaceError
from tests.engines.fake_tensorrt import install
from tests.engines.strict_double import World
from tests.engines.tensorrt_cases import OnDevice, feed_of

pytestmark = pytest.mark.usefixtures("fresh_cache")


def own_stream(world: World) -> int:
    return int(world.cuda.cudaStreamCreateWithFlags(1)[1])


@pytest.fixture
def engine(clip_file: Path, strong: World):
    with load_engine(clip_file, "tensorrt", "fp32") as loaded:
        assert isinstance(loaded, TensorRtEngine)
        yield loaded
    assert not strong.cuda.memory.keys() - {address for address, *_ in strong.kept}
    assert not strong.cuda.graphs
    assert not strong.cuda.events


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of the tests' own stay behind."""
    monkeypatch.setattr(World, "kept", [], raising=False)


def mine(world: World, feed: dict[str, np.ndarray], rows: int, classes: int = 7) -> tuple[OnDevice, OnDevice]:
    clip, logits = OnDevice(world.cuda, feed["clip"].shape), OnDevice(world.cuda, (rows, classes))
    clip.array[...] = feed["clip"]
    world.kept.extend([(clip.address,), (logits.address,)])
    return clip, logits


# -- graphs ---------------------------------------------------------------------------------------------------------


def test_calls_after_the_first_launch_one_graph(engine: TensorRtEngine, strong: World) -> None:
    feeds = [feed_of(engine, 1, seed) for seed in range(3)]
    first = [engine.infer(feed)["logits"] for feed in feeds]
    assert strong.cuda.launched == 2
    enqueues = len(strong.recorded("execute_async_v3"))
    again = [engine.infer(feed)["logits"] for feed in feeds]
    assert strong.cuda.launched == 5
    assert len(strong.recorded("execute_async_v3")) == enqueues, "a launch is the only call"
    np.testing.assert_array_equal(first, again)
    assert engine.info()["cuda_graphs"] == "yes"


def test_batches_share_graphs_by_powers_of_two(engine: TensorRtEngine, strong: World) -> None:
    whole = feed_of(engine, 8)
    expected = engine.infer(whole)["logits"]
    for rows in (*range(1, 9), *range(1, 9)):
        found = engine.infer({"clip": whole["clip"][:rows]})["logits"]
        np.testing.assert_allclose(found, expected[:rows], atol=1e-5)
    assert len(strong.cuda.graphs) == 4, "of 1, 2, 4 and 8 rows"


def test_where_nothing_can_be_captured_it_says_so_and_runs(clip_file: Path, strong: World) -> None:
    strong.cuda.no_capture = True
    with load_engine(clip_file, "tensorrt", "fp32") as engine:
        feed = feed_of(engine, 1)
        np.testing.assert_array_equal(engine.infer(feed)["logits"], engine.infer(feed)["logits"])
        assert "no: CUDA failed in cudaStreamBeginCapture" in engine.info()["cuda_graphs"]
    assert not strong.cuda.launched


# -- scratch memory -------------------------------------------------------------------------------------------------


def test_contexts_share_one_block_as_large_as_the_profiles_in_use(engine: TensorRtEngine, strong: World) -> None:
    def scratch() -> int:
        return max(len(array) for array, kind in strong.cuda.memory.values() if kind == "device" and len(array) < 9000)

    strong.scratch_per_row = 1000
    engine.infer(feed_of(engine, 1))
    before = len(strong.cuda.memory)
    assert scratch() == 1000, "a single clip asks for no memory of eight"
    for rows in (2, 4, 8, 1):
        engine.infer(feed_of(engine, rows))
    assert scratch() == 8000
    assert len(strong.cuda.memory) == before + 3 * 4, "in and out of three more sizes, and the same one block"


def test_layers_may_not_take_all_the_memory_that_cpu_and_gpu_share(
    monkeypatch: pytest.MonkeyPatch, clip_file: Path
) -> None:
    for integrated, expected in ((True, [8 << 27]), (False, [])):
        world = install(monkeypatch, "11.1", FakeCuda(f"integrated {integrated}", "8.7", integrated))
        load_engine(clip_file, "tensorrt", "fp32").close()
        assert [size for _, size in world.recorded("set_memory_pool_limit")] == expected


# -- order ----------------------------------------------------------------------------------------------------------


def test_streams_wait_for_each_other_on_the_device(engine: TensorRtEngine, strong: World) -> None:
    feed, other = feed_of(engine, 2, 1), feed_of(engine, 1, 2)
    expected, single = engine.infer(feed)["logits"], engine.infer(other)["logits"]
    a, b = own_stream(strong), own_stream(strong)
    (clip, logits), (clip_b, logits_b) = mine(strong, feed, 2), mine(strong, other, 1)
    engine.enqueue({"clip": clip, "logits": logits}, 2, a)
    engine.enqueue({"clip": clip_b, "logits": logits_b}, 1, b)
    # Waiting for b has to wait for a: both use the scratch memory.
    strong.cuda.cudaStreamSynchronize(b)
    np.testing.assert_array_equal(logits.array, expected)
    np.testing.assert_array_equal(logits_b.array, single)
    engine.enqueue({"clip": clip, "logits": logits}, 2, a)
    np.testing.assert_array_equal(engine.infer(other)["logits"], single)


def test_the_double_catches_streams_that_do_not_wait(
    engine: TensorRtEngine, strong: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = feed_of(engine, 1)
    monkeypatch.setattr(engine._runner, "_follow", lambda stream: None)
    a, b = own_stream(strong), own_stream(strong)
    for stream in (a, b):
        clip, logits = mine(strong, feed, 1)
        engine.enqueue({"clip": clip, "logits": logits}, 1, stream)
    with pytest.raises(RaceError, match="at a time"):
        strong.cuda.cudaStreamSynchronize(b)
    strong.cuda.cudaStreamSynchronize(a)
    strong.cuda.events.clear()


def test_a_stream_that_is_gone_does_no_harm(engine: TensorRtEngine, strong: World) -> None:
    feed = feed_of(engine, 1)
    expected = engine.infer(feed)["logits"]
    stream = own_stream(strong)
    clip, logits = mine(strong, feed, 1)
    engine.enqueue({"clip": clip, "logits": logits}, 1, stream)
    strong.cuda.cudaStreamDestroy(stream)
    np.testing.assert_array_equal(engine.infer(feed)["logits"], expected)
    np.testing.assert_array_equal(logits.array, expected)


def test_closing_waits_for_work_on_callers_streams(clip_file: Path, strong: World) -> None:
    with load_engine(clip_file, "tensorrt", "fp32") as engine:
        feed = feed_of(engine, 1)
        expected, stream = engine.infer(feed)["logits"], own_stream(strong)
        clip, logits = mine(strong, feed, 1)
        engine.enqueue({"clip": clip, "logits": logits}, 1, stream)
    np.testing.assert_array_equal(logits.array, expected)


def test_what_a_producer_is_still_writing_is_waited_for(engine: TensorRtEngine, strong: World) -> None:
    feed = feed_of(engine, 1)
    expected = engine.infer(feed)["logits"]
    producer, stream = own_stream(strong), own_stream(strong)
    clip, logits = mine(strong, feed, 1)
    clip.array[...] = np.nan
    strong.cuda.push(producer, lambda: np.copyto(clip.array, feed["clip"]))
    clip.__cuda_array_interface__["stream"] = producer
    engine.enqueue({"clip": clip, "logits": logits}, 1, stream)
    strong.cuda.cudaStreamSynchronize(stream)
    np.testing.assert_array_equal(logits.array, expected)


def test_threads_take_turns(engine: TensorRtEngine) -> None:
    feeds = [feed_of(engine, rows, rows) for rows in (1, 2, 3)]
    expected = [engine.infer(feed)["logits"] for feed in feeds]
    wrong: list[int] = []

    def work(number: int) -> None:
        found = [engine.infer(feeds[number])["logits"] for _ in range(4)]
        wrong.extend(number for logits in found if not np.array_equal(logits, expected[number]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -- arrays ---------------------------------------------------------------------------------------------------------


def test_arrays_that_would_be_read_or_written_wrongly(engine: TensorRtEngine, strong: World) -> None:
    feed, stream = feed_of(engine, 1), own_stream(strong)
    clip, logits = mine(strong, feed, 1)
    with pytest.raises(InvalidInput, match="multiple of 256"):
        engine.enqueue({"clip": clip.address + 4, "logits": logits}, 1, stream)
    with pytest.raises(InvalidInput, match="multiple of 256"):
        engine.enqueue({"clip": clip, "logits": 0}, 1, stream)
    logits.__cuda_array_interface__["data"] = logits.address, True
    with pytest.raises(InvalidInput, match="read-only"):
        engine.enqueue({"clip": clip, "logits": logits}, 1, stream)
    logits.__cuda_array_interface__["data"] = logits.address, False
    # Strides of axes of length 1 say nothing; torch and CuPy fill in what they like.
    logits.__cuda_array_interface__["strides"] = (4096, 4)
    engine.enqueue({"clip": clip, "logits": logits}, 1, stream)
    strong.cuda.cudaStreamSynchronize(stream)
    np.testing.assert_array_equal(logits.array, engine.infer(feed)["logits"])


# -- what cannot be made --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Runtime", "Builder"])
def test_what_the_library_cannot_make_is_one_clear_error(kind: str, clip_file: Path, every_world: World) -> None:
    every_world.unmade = {kind}
    with pytest.raises(EngineUnavailable, match=f"made no {kind}: .*nullptr") as caught:
        load_engine(clip_file, "tensorrt", "fp32")
    assert "driver" in (caught.value.hint or "") or kind == "Runtime"
    reason = engines.reasons("tensorrt") if kind == "Runtime" else ""
    assert ("made no Runtime" in reason) is (kind == "Runtime"), "doctor says why"


def test_tensorrt_rtx_runs_as_tensorrt_does(clip_file: Path, strong: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load_rtx(target: str) -> Library:
        asked.append(target)
        return Library(strong.trt, strong.version)

    monkeypatch.setattr(tensorrt_library, "load_rtx", load_rtx)
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: object())
    with load_engine(clip_file, "tensorrt-rtx", "fp16") as rtx, load_engine(clip_file, "tensorrt", "fp16") as other:
        feed = feed_of(rtx, 2)
        np.testing.assert_array_equal(rtx.infer(feed)["logits"], other.infer(feed)["logits"])
        assert rtx.info()["engine"] == "tensorrt-rtx"
    assert set(asked) == {"8.7"}
    with pytest.raises(PrecisionUnavailable, match="no INT8 convolutions"):
        load_engine(clip_file, "tensorrt-rtx", "int8")


def test_the_engines_of_the_two_libraries_are_told_apart(strong: World) -> None:
    device = tensorrt_engine.open_cuda().device()
    plain, rtx = Library(strong.trt, "1.0.0"), Library(strong.trt, "1.0.0", "8.7")
    assert tensorrt_engine.identity(plain, device) != tensorrt_engine.identity(rtx, device)
