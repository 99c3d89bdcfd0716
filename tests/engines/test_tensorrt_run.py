"""Running, keeping and following TensorRT engines, against the double."""

from __future__ import annotations

import json
import logging
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from dfer_edge import EngineUnavailable, InvalidInput, Recognizer
from dfer_edge.cache import store as cache
from dfer_edge.engines import load_engine
from dfer_edge.engines.tensorrt import gate as tensorrt_gate
from dfer_edge.engines.tensorrt.build_progress import BuildState, reporting_to
from dfer_edge.engines.tensorrt.engine import TensorRtEngine
from tests.engines.fake_cuda import FakeCuda
from tests.engines.fake_tensorrt import VERSIONS, install
from tests.engines.strict_double import World
from tests.engines.tensorrt_cases import OnDevice, builds, feed_of, quantised

pytestmark = pytest.mark.usefixtures("fresh_cache")


def test_out_of_device_memory_is_one_clear_error_and_leaks_nothing(clip_file: Path, strong: World) -> None:
    strong.cuda.limit_bytes = 1000
    with pytest.raises(EngineUnavailable, match="CUDA failed in cudaMalloc: cudaErrorMemoryAllocation"):
        load_engine(clip_file, "tensorrt", "fp32")
    assert not strong.cuda.memory


def test_a_profile_that_does_not_fit_leaves_the_others_running(clip_file: Path, strong: World) -> None:
    """The second of its buffers finds no memory: the first is freed, and later calls may find room again."""
    with load_engine(clip_file, "tensorrt", "fp32") as engine:
        expected = engine.infer(feed_of(engine, 1))["logits"]
        before = set(strong.cuda.memory)
        used = sum(len(array) for array, _ in strong.cuda.memory.values())
        for room in (7000, 8192 + feed_of(engine, 2)["clip"].nbytes):
            # No room for the scratch memory of 8 rows; then none for the second of two buffers.
            strong.cuda.limit_bytes = used + room
            with pytest.raises(EngineUnavailable, match="cudaErrorMemoryAllocation"):
                engine.infer(feed_of(engine, 2))
        kinds = [kind for address, (_, kind) in strong.cuda.memory.items() if address not in before]
        assert kinds == ["device"], "nothing but the larger scratch memory, in place of the smaller, is kept"
        np.testing.assert_array_equal(engine.infer(feed_of(engine, 1))["logits"], expected)
        strong.cuda.limit_bytes = None
        assert engine.infer(feed_of(engine, 2))["logits"].shape == (2, 7)
    assert not strong.cuda.memory


def test_the_gate_simulates_q_dq_as_the_engine_does(
    clip_file: Path, strong: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []
    real = tensorrt_gate.OnnxRuntimeEngine
    monkeypatch.setattr(
        tensorrt_gate,
        "OnnxRuntimeEngine",
        lambda path, how: asked.append((how.precision, how.device)) or real(path, how),
    )
    load_engine(quantised(clip_file, tmp_path / "int8.onnx"), "tensorrt", "int8").close()
    load_engine(clip_file, "tensorrt", "fp16").close()
    assert asked == [("int8", "cpu"), ("fp32", "cpu")]


def test_built_once_and_bound_to_what_it_depends_on(
    monkeypatch: pytest.MonkeyPatch, clip_file: Path, tmp_path: Path
) -> None:
    world = install(monkeypatch, "11.1")
    for _ in range(2):
        load_engine(clip_file, "tensorrt", "fp32").close()
    assert builds(world) == 1
    load_engine(clip_file, "tensorrt", "fp16").close()
    assert builds(world) == 2
    monkeypatch.setattr("dfer_edge.system.board.power_mode", lambda: "2 MAXN")
    load_engine(clip_file, "tensorrt", "fp32").close()
    assert builds(world) == 3
    monkeypatch.setattr("dfer_edge.system.board.l4t", lambda: "36.4.3")
    load_engine(clip_file, "tensorrt", "fp32").close()
    assert builds(world) == 4
    for other in (install(monkeypatch, "11.0"), install(monkeypatch, "11.1", FakeCuda(capability="11.0"))):
        monkeypatch.undo()
        monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path / "cache"))
        again = install(monkeypatch, other.generation, other.cuda)
        load_engine(clip_file, "tensorrt", "fp32").close()
        assert builds(again) == 1
    assert len(cache.entries("engines")) == 6
    fields = cache.entries("engines")[0].fields
    needed = {"tensorrt", "gpu", "capability", "l4t", "power_mode", "model_sha256", "simplifications", "recipe"}
    assert needed <= set(fields)


def test_a_tampered_engine_is_built_again(strong: World, clip_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_engine(clip_file, "tensorrt", "fp32").close()
    plan = cache.entries("engines")[0].path / "engine.plan"
    plan.write_bytes(plan.read_bytes() + b"code")
    load_engine(clip_file, "tensorrt", "fp32").close()
    assert builds(strong) == 2
    assert "corrupt" in caplog.text
    loaded = [bytes(plan) for (plan,) in strong.recorded("deserialize_cuda_engine")]
    assert not [plan for plan in loaded if plan.endswith(b"code")], "changed bytes reached the library"


def test_an_engine_that_the_library_refuses_is_built_again(
    strong: World, clip_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load_engine(clip_file, "tensorrt", "fp32").close()
    key = cache.entries("engines")[0]
    named = cache.Key("engines", key.name.rpartition("-")[0], key.fields)
    cache.put(named, lambda folder: (folder / "engine.plan").write_bytes(b"{}\nof another driver") and None)
    load_engine(clip_file, "tensorrt", "fp32").close()
    assert builds(strong) == 2
    assert "building it again" in caplog.text


def test_timing_caches_are_kept_and_used(strong: World, clip_file: Path, smate_file: Path) -> None:
    load_engine(clip_file, "tensorrt", "fp32").close()
    load_engine(smate_file, "tensorrt", "fp32").close()
    given = [bytes(content) for (content,) in strong.recorded("create_timing_cache")]
    assert given == [b"", f"{VERSIONS['11.1']}+simulated|timings".encode()]
    assert len(cache.entries("timing")) == 1


def test_a_timing_cache_that_cannot_be_kept_is_no_failure(
    strong: World, clip_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object) -> None:
        raise cache.DferError("the disk is full")

    monkeypatch.setattr(cache, "put", full)
    load_engine(clip_file, "tensorrt", "fp32").close()
    assert "the timing cache was not kept: the disk is full" in caplog.text


def test_progress_rises_to_the_end_with_the_time_left(strong: World, clip_file: Path) -> None:
    states: list[BuildState] = []
    with reporting_to(states.append):
        load_engine(clip_file, "tensorrt", "fp32").close()
    fractions = [state.fraction for state in states]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert {0.125, 0.5, 0.625} <= set(fractions), "inner phases count within the outer step"
    assert states[0].left_s is None
    assert all(state.left_s >= 0 for state in states if state.fraction)
    assert states[0].what == "r2plus1d_sta-2d-whole-fp32"
    assert {state.phase for state in states} >= {"Building", "Timing"}


def test_an_interrupt_stops_the_build(strong: World, clip_file: Path) -> None:
    def interrupt(state: BuildState) -> None:
        if state.fraction > 0.3:
            raise KeyboardInterrupt

    with reporting_to(interrupt), pytest.raises(KeyboardInterrupt):
        load_engine(clip_file, "tensorrt", "fp32")
    assert not cache.entries("engines")


def test_a_bar_that_fails_costs_no_build(strong: World, clip_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(state: BuildState) -> None:
        raise ValueError("no terminal")

    with reporting_to(fail):
        load_engine(clip_file, "tensorrt", "fp32").close()
    assert caplog.text.count("progress is not shown any more: no terminal") == 1


def test_long_builds_tell_the_log(strong: World, clip_file: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr("dfer_edge.engines.tensorrt.build_progress._LOG_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO, "dfer_edge"):
        load_engine(clip_file, "tensorrt", "fp32").close()
    assert "building r2plus1d_sta-2d-whole-fp32: 50 %, about" in caplog.text


def test_enqueue_runs_on_the_callers_stream_and_memory(world: World, clip_file: Path) -> None:
    with load_engine(clip_file, "tensorrt", "fp32") as mine:
        assert isinstance(mine, TensorRtEngine)
        stream = int(world.cuda.cudaStreamCreateWithFlags(1)[1])
        feed = feed_of(mine, 2)
        clip, logits = OnDevice(world.cuda, feed["clip"].shape), OnDevice(world.cuda, (2, 7))
        clip.array[...] = feed["clip"]
        copies = world.cuda.copies
        mine.enqueue({"clip": clip, "logits": logits.address}, 2, stream)
        assert np.isnan(logits.array).all(), "it waited"
        world.cuda.cudaStreamSynchronize(stream)
        assert copies == world.cuda.copies, "enqueue copies nothing"
        np.testing.assert_array_equal(logits.array, mine.infer(feed)["logits"])
        for wrong in (
            OnDevice(world.cuda, (1, *feed["clip"].shape[1:])),
            OnDevice(world.cuda, feed["clip"].shape, "<f2"),
            OnDevice(world.cuda, feed["clip"].shape, strides=(4,) * 5),
            OnDevice(world.cuda, feed["clip"].shape, strides=(-4, 4, 4, 4, 4)),
            feed["clip"],
        ):
            with pytest.raises(InvalidInput, match="expected clip as"):
                mine.enqueue({"clip": wrong, "logits": logits}, 2, stream)
        for addresses, rows, handle in (({"clip": clip}, 2, stream), ({"clip": clip, "logits": logits}, 2, 0)):
            with pytest.raises(InvalidInput, match=r"addresses|stream"):
                mine.enqueue(addresses, rows, handle)
        for rows in (0, 9):
            with pytest.raises(InvalidInput, match=r"1 to 8 rows"):
                mine.enqueue({"clip": 256, "logits": 512}, rows, stream)
    with pytest.raises(InvalidInput, match="closed"):
        mine.enqueue({"clip": 1, "logits": 2}, 1, stream)


def test_a_jetson_copies_nothing(monkeypatch: pytest.MonkeyPatch, clip_file: Path) -> None:
    world = install(monkeypatch, "10.3", FakeCuda("Orin (simulated)", "8.7", integrated=True))
    with load_engine(clip_file, "tensorrt", "fp32") as mine, load_engine(clip_file, "onnxruntime") as reference:
        feed = feed_of(mine, 1)
        np.testing.assert_allclose(mine.infer(feed)["logits"], reference.infer(feed)["logits"], atol=1e-5)
        kinds = sorted(kind for _, kind in world.cuda.memory.values())
        assert kinds == ["device", "mapped", "mapped"], "scratch memory, and what goes in and out"
    assert world.cuda.copies == 0
    assert not world.cuda.memory


def test_buffers_are_allocated_once(strong: World, clip_file: Path) -> None:
    with load_engine(clip_file, "tensorrt", "fp32") as mine:
        for rows in (1, 3, 5, 2):
            mine.infer(feed_of(mine, rows))
        before = set(strong.cuda.memory)
        for rows in (1, 6, 8, 2, 4, 11):
            mine.infer(feed_of(mine, rows))
        assert set(strong.cuda.memory) == before


def test_pycuda_is_accepted(monkeypatch: pytest.MonkeyPatch, clip_file: Path) -> None:
    world = install(monkeypatch, "10.3")
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    world.cuda.integrated = True

    class Memory:
        def __init__(self, address: int) -> None:
            self.address = address

        def get_device_pointer(self) -> int:
            return self.address

    class Allocation(int):
        def free(self) -> None:
            assert world.cuda.cudaFree(int(self))[0] == 0

    class Locked(np.ndarray):
        base = None

    def pagelocked_empty(size: int, dtype: type, mem_flags: int) -> np.ndarray:
        address = world.cuda.cudaHostAlloc(size, mem_flags)[1]
        array = world.cuda.memory[address][0].view(Locked)
        array.base = Memory(address)
        return array

    def stream() -> types.SimpleNamespace:
        handle = int(world.cuda.cudaStreamCreateWithFlags(1)[1])
        return types.SimpleNamespace(handle=handle, synchronize=lambda: world.cuda.cudaStreamSynchronize(handle))

    def mem_alloc(size: int) -> Allocation:
        return Allocation(world.cuda.cudaMalloc(size)[1])

    device = types.SimpleNamespace(
        name=lambda: "Orin",
        compute_capability=lambda: (8, 7),
        get_attribute=lambda attribute: 1,
        total_memory=lambda: 8 << 30,
    )
    driver = types.ModuleType("pycuda.driver")
    vars(driver).update(
        pagelocked_empty=pagelocked_empty,
        mem_alloc=mem_alloc,
        Stream=stream,
        host_alloc_flags=types.SimpleNamespace(DEVICEMAP=2),
        device_attribute=types.SimpleNamespace(INTEGRATED=18),
        Context=types.SimpleNamespace(get_device=lambda: device),
    )
    for name in ("pycuda", "pycuda.autoprimaryctx"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    world.cuda.name = "Orin"
    with load_engine(clip_file, "tensorrt", "fp32") as mine, load_engine(clip_file, "onnxruntime") as reference:
        feed = feed_of(mine, 2)
        np.testing.assert_allclose(mine.infer(feed)["logits"], reference.infer(feed)["logits"], atol=1e-5)
        assert mine.info()["gpu"] == "Orin"
        assert mine.info()["cuda_graphs"] == "no: PyCUDA captures no CUDA graphs"


@pytest.mark.parametrize("damage", ["gone", "unreadable"])
def test_a_timing_cache_that_does_not_read_only_costs_time(
    damage: str, strong: World, clip_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load_engine(clip_file, "tensorrt", "fp32").close()
    real, read = cache.find, []

    def find(key: cache.Key) -> Path | None:
        if key.kind != "timing":
            return real(key)
        read.append(key)
        if damage == "unreadable":
            raise PermissionError("no")
        return Path("gone")

    monkeypatch.setattr(cache, "find", find)
    load_engine(clip_file, "tensorrt", "fp16").close()
    assert read
    assert "the timing cache is not used" in caplog.text


def test_the_manifest_of_an_engine_says_how_far_it_is_from_the_reference(strong: World, clip_file: Path) -> None:
    load_engine(clip_file, "tensorrt", "fp16").close()
    report = json.loads((cache.entries("engines")[0].path / "parity.json").read_text())
    assert 0 < report["difference"] < 0.01
    assert report["tolerance"] == 0.02


def test_a_recognizer_predicts_with_it(strong: World, clip_file: Path, astronaut_frames: list[np.ndarray]) -> None:
    clip = np.stack(astronaut_frames[:12])
    ours, reference = (
        Recognizer("r2plus1d_sta", weights=clip_file, engine=engine, precision=precision, detector="haar")
        for engine, precision in (("tensorrt", "fp16"), ("onnxruntime", "fp32"))
    )
    a, b = (r.predict(clip, faces="cropped").probabilities for r in (ours, reference))
    assert 0 < np.abs(a - b).max() < 5e-3
    assert "simulated" in ours.info()["tensorrt"]
    assert ours.info()["conv_form"] == "2d"
