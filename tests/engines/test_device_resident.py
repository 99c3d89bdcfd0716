"""Crops as bytes to the device, features that stay there: against the doubles; built, not yet run on hardware."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from dfer_edge import EngineUnavailable, InvalidInput
from dfer_edge.engines import load_engine
from dfer_edge.engines.base import Engine
from dfer_edge.engines.cuda_memory import open_cuda
from dfer_edge.engines.feature_store import FeatureStore
from dfer_edge.export import onnx_file as export
from dfer_edge.inference import pixels
from tests.engines.strict_double import World
from tests.engines.tensorrt_cases import OnDevice, feed_of, small

pytestmark = pytest.mark.usefixtures("fresh_cache")
# Two steps of two frames.
NAME, FRAMES, STEPS = "smate", 4, 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("parts")
    made = {}
    for part in ("whole", "features", "head"):
        made[part] = folder / f"{part}.onnx"
        export.write(small(NAME), made[part], "2d", external=True, part=part)
        pixels.take_pixels(made[part])
    return made


def windows_of(clips: np.ndarray, features: Engine, head: Engine) -> np.ndarray:
    """Logits of clips [B, T, S, S, 3], each step of which is computed once and kept."""
    return head.infer_kept([features.keep(steps_of(clip)) for clip in clips])


def steps_of(clip: np.ndarray) -> dict[str, np.ndarray]:
    return {"clip": clip.reshape(-1, FRAMES // STEPS, *clip.shape[1:])}


def clips_of(count: int, frames: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, frames, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_kept_features_give_what_whole_windows_give(files: dict[str, Path], backend: str) -> None:
    clips, one = clips_of(3), {"precision": "fp32", "threads": 1}
    with (
        load_engine(files["whole"], backend, **one) as whole,
        load_engine(files["features"], backend, **one) as features,
        load_engine(files["head"], backend, **one) as head,
    ):
        expected = whole.infer({"clip": clips})["logits"]
        assert np.ptp(expected, axis=0).max() > 1e-3
        np.testing.assert_allclose(windows_of(clips, features, head), expected, atol=1e-4)


def test_tensorrt_uploads_bytes_once_and_downloads_logits_only(files: dict[str, Path], strong: World) -> None:
    cuda, clips = strong.cuda, clips_of(3)
    with load_engine(files["whole"], "onnxruntime", "fp32", threads=1) as exact:
        expected = exact.infer({"clip": clips})["logits"]
    with load_engine(files["whole"], "tensorrt", "fp32") as engine:
        np.testing.assert_allclose(engine.infer({"clip": clips})["logits"], expected, atol=1e-5)
    with (
        load_engine(files["features"], "tensorrt", "fp32") as features,
        load_engine(files["head"], "tensorrt", "fp32") as head,
    ):
        for _ in range(3):  # each step alone, into a graph, by the graph
            np.testing.assert_allclose(windows_of(clips, features, head), expected, atol=1e-4)
        before, launched = cuda.copies, cuda.launched
        steps = features.keep(steps_of(clips[0]))
        assert len(steps) == STEPS
        head.infer_kept([steps] * 3)
        assert cuda.copies - before == 2, "crops up, logits down; features moved on the device"
        assert cuda.launched - launched == 2
    assert not cuda.memory
    assert not cuda.graphs


def test_windows_share_steps_and_repeat_them(files: dict[str, Path], strong: World) -> None:
    clip = clips_of(1, 3 * FRAMES // STEPS)[0]
    by_step, order = steps_of(clip)["clip"], [[0, 0], [0, 1], [2, 0], [1, 2]]
    with load_engine(files["whole"], "onnxruntime", "fp32", threads=1) as exact:
        expected = exact.infer({"clip": np.stack([np.concatenate(by_step[window]) for window in order])})["logits"]
    with (
        load_engine(files["features"], "tensorrt", "fp32") as features,
        load_engine(files["head"], "tensorrt", "fp32") as head,
    ):
        steps = features.keep({"clip": by_step[:2]}) + features.keep({"clip": by_step[2:]})
        found = head.infer_kept([[steps[i] for i in window] for window in order])
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_memory_of_a_stream_does_not_grow(files: dict[str, Path], strong: World) -> None:
    clip = clips_of(1)[0]
    with (
        load_engine(files["features"], "tensorrt", "fp32") as features,
        load_engine(files["head"], "tensorrt", "fp32") as head,
    ):
        steps = features.keep(steps_of(clip))
        head.infer_kept([steps])
        size = sum(len(array) for array, _ in strong.cuda.memory.values())
        for frame in range(100):
            steps = [*steps[1:], *features.keep({"clip": steps_of(clip)["clip"][:1]})]
            if frame % 10 == 0:
                head.infer_kept([steps])
        gc.collect()
        grown = sum(len(array) for array, _ in strong.cuda.memory.values())
        # Buffers of one row, where there were those of eight; no block of slots more.
        assert grown - size < 2**20


def test_features_of_a_stream_that_was_destroyed_meanwhile(files: dict[str, Path], strong: World) -> None:
    clip = clips_of(1)[0]
    features, head = load_engine(files["features"], "tensorrt", "fp32"), load_engine(files["head"], "tensorrt", "fp32")
    steps = features.keep(steps_of(clip))
    features.close()
    with pytest.raises(InvalidInput, match="one that was closed"):
        head.infer_kept([steps])
    del steps
    gc.collect()
    head.close()
    assert not strong.cuda.memory


def test_what_keeps_and_what_is_kept(files: dict[str, Path], strong: World) -> None:
    clip = clips_of(1)[0]
    with (
        load_engine(files["features"], "tensorrt", "fp32") as features,
        load_engine(files["features"], "onnxruntime", "fp32", threads=1) as elsewhere,
        load_engine(files["head"], "tensorrt", "fp32") as head,
    ):
        with pytest.raises(InvalidInput, match="expected the features part"):
            head.keep(feed_of(head, 1))
        with pytest.raises(InvalidInput, match="expected the head"):
            features.infer_kept([])
        for windows in ([], [[]], [features.keep({"clip": steps_of(clip)["clip"][:1]})]):
            with pytest.raises(InvalidInput, match="windows of 2 steps"):
                head.infer_kept(windows)
        with pytest.raises(InvalidInput, match="memory of this device, got some of engine onnxruntime"):
            head.infer_kept([elsewhere.keep(steps_of(clip))])


def test_no_room_for_another_block_of_features(strong: World) -> None:
    store = FeatureStore(open_cuda(), 1000)
    kept = [store.take() for _ in range(32)]
    assert len({slot.address for slot in kept}) == 32
    assert all(slot.address % 256 == 0 for slot in kept)
    strong.cuda.limit_bytes = 0
    with pytest.raises(EngineUnavailable, match="cudaErrorMemoryAllocation"):
        store.take()
    address = kept.pop().address
    assert store.take().address == address, "what was given back is handed out again"
    store.close()
    assert not strong.cuda.memory


def test_a_caller_s_bytes_on_the_device(files: dict[str, Path], strong: World) -> None:
    clips = clips_of(2)
    with load_engine(files["whole"], "tensorrt", "fp32") as engine:
        expected = engine.infer({"clip": clips})["logits"]
        crops, logits = OnDevice(strong.cuda, clips.shape, "|u1"), OnDevice(strong.cuda, (2, 7))
        crops.array[...] = clips
        stream = int(strong.cuda.cudaStreamCreateWithFlags(1)[1])
        engine.enqueue({"clip": crops, "logits": logits}, 2, stream)
        strong.cuda.cudaStreamSynchronize(stream)
        np.testing.assert_array_equal(logits.array, expected)
        with pytest.raises(InvalidInput, match="contiguous uint8"):
            engine.enqueue({"clip": OnDevice(strong.cuda, clips.shape), "logits": logits}, 2, stream)


def test_a_recogniser_on_a_gpu_uploads_pixels_and_streams_by_steps(strong: World, tmp_path: Path) -> None:
    from dfer_edge.export.loading import Request, load, load_parts
    from dfer_edge.live.history import Glimpse, Step
    from dfer_edge.live.scoring import StepScorer, WholeScorer
    from dfer_edge.types import Box
    from dfer_edge.weights import file as weights
    from tests.flow.test_streaming import small as small_module

    path = weights.save(tmp_path / "smate.safetensors", small_module("smate").float())
    request = Request("smate", path, "tensorrt", "fp32")
    whole = load(request).engine
    parts = load_parts(request, whole)
    assert parts is not None
    features, head = parts
    assert (whole.takes_pixels, features.takes_pixels, head.takes_pixels) == (True, True, False)
    exact = load(Request("smate", path, "onnxruntime", "fp32", threads=1)).engine
    assert not exact.takes_pixels
    size, steps = whole.spec.size, head.input_shapes["features"][0]
    crops = np.random.default_rng(5).integers(0, 256, (2 * (steps + 1), size, size, 3), np.uint8)
    glimpses = [Glimpse(k, k / 10, Box(0, 0, size, size), crop) for k, crop in enumerate(crops)]
    made = [Step((glimpses[2 * k], glimpses[2 * k + 1])) for k in range(steps + 1)]
    windows, scorer = [made[:steps], made[1:]], StepScorer(features, head)
    found, expected = scorer.logits(windows), WholeScorer(exact).logits(windows)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(WholeScorer(whole).logits(windows), expected, atol=1e-4)
    assert scorer.computed == steps + 1, "each step once"
    for engine in (whole, features, head, exact):
        engine.close()
    assert not strong.cuda.memory
