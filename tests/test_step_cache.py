"""Streams whose windows share features: equal to windows computed whole, and each step computed once."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfer_edge import InvalidInput, Recognizer, export, weights
from dfer_edge.inference.parts import Streaming
from dfer_edge.models import registry
from dfer_edge.pipeline import Windower, WindowPlan
from dfer_edge.sources import Source
from dfer_edge.spec import ModelSpec
from dfer_edge.step_cache import StepCache
from dfer_edge.stopwatch import Stopwatch
from dfer_edge.types import Box, Clip, Frame, Image, Observation, Points, TrackedFace
from tests.inference import keypoint_cases
from tests.test_streaming import NAMES, Counting, small

WINDOW_S, HOP_S = 1.2, 0.4
HERE, JUMPED = Box(5, 5, 45, 45), Box(50, 30, 75, 55)


class Film(Source):
    """Frames of noise, 10 a second, up to ``late_s`` late."""

    name = "film"

    def __init__(self, count: int, late_s: float = 0.0) -> None:
        self._count = count
        late = np.random.default_rng(3).uniform(0, late_s, count)
        self._times_s = np.arange(count) / 10 + late - late[0]

    def __iter__(self) -> Iterator[Frame]:
        for index, time_s in enumerate(self._times_s):
            # Light and colour that change from frame to frame: neighbouring windows differ clearly.
            rng = np.random.default_rng(index)
            image = rng.integers(0, 256, 3) * rng.uniform(0.5, 1, (64, 80, 1))
            yield Frame(image.astype(np.uint8), index, float(time_s))


class Script:
    """A tracker that says who is where in which frame."""

    def __init__(self, people: Mapping[int, Callable[[int], Box | None]]) -> None:
        self._people = people

    def __call__(self, faces: str, stride: int) -> Script:
        return self

    def track(self, frames: Iterator[Frame]) -> Iterator[tuple[Frame, tuple[TrackedFace, ...]]]:
        for frame in frames:
            boxes = {track_id: where(frame.index) for track_id, where in self._people.items()}
            yield frame, tuple(TrackedFace(track_id, box) for track_id, box in boxes.items() if box)


# One leaves for longer than a window and returns; the box of the other jumps.
PEOPLE = {
    0: lambda index: None if 22 <= index < 40 else HERE,
    1: lambda index: HERE if index % 13 < 9 else JUMPED,
}
ONE = {0: lambda index: HERE}


class Finder:
    """Landmarks that follow from the pixels; none in a third of the frames, so that they repeat others."""

    name = "finder"

    def __init__(self, is_lossy: bool = True) -> None:
        self._is_lossy = is_lossy

    def detect(self, image: Image, box: Box) -> Points | None:
        seed = int(image.sum())
        return (
            None
            if self._is_lossy and seed % 3 == 0
            else keypoint_cases.faces(1, 1, image.shape[0], seed)[0, 0].numpy().astype("f4")
        )


def amplify(module: torch.nn.Module) -> None:
    """Logits 30 times as far from those of a grey clip: random weights hardly tell clips apart."""
    last = module.head.classifier
    with torch.no_grad():
        grey = module(torch.zeros(1, *module.spec.input_shape))[0]
        last.bias.copy_(30 * (last.bias - grey))
        last.weight.mul_(30)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights of small networks."""
    folder, modules = tmp_path_factory.mktemp("weights"), {name: small(name).float() for name in NAMES}
    amplify(modules["slowr50_sa"])
    return {name: weights.save(folder / f"{name}.safetensors", module) for name, module in modules.items()}


@pytest.fixture(scope="module")
def networks(files: dict[str, Path]) -> Callable[[str], Recognizer]:
    return functools.cache(lambda name: recogniser(name, files[name]))


def recogniser(name: str, path: Path | str, engine: str = "onnxruntime") -> Recognizer:
    return Recognizer(name, path, engine, precision="fp32", detector="haar", threads=1, landmark_detector=Finder())


def stream(network: Recognizer, people: Any = ONE, film: Source | None = None, **options: float) -> list[Observation]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "_tracker", Script(people))
        return list(network.stream(film or Film(60), **({"window_s": WINDOW_S, "hop_s": HOP_S} | options)))


def without_reuse(network: Recognizer, *args: Any, **options: Any) -> list[Observation]:
    """The same windows, each through the whole network."""
    whole = types.SimpleNamespace(logits=network._score)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dfer_edge.recognizer.StepCache", lambda *parts: whole)
        return stream(network, *args, **options)


def counted(network: Recognizer, *args: Any, **options: Any) -> tuple[list[Observation], Counting, Counting]:
    """Observations, and the features and head parts with the calls that they got."""
    features, head = map(Counting, network._parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(network.__dict__, "_parts", (features, head))
        return stream(network, *args, **options), features, head


def rows(part: Counting) -> list[int]:
    return [next(iter(call.values()))[0] for call in part.calls]


def assert_equal(actual: list[Observation], expected: list[Observation]) -> None:
    assert [dataclasses.replace(o, prediction=None) for o in actual] == [
        dataclasses.replace(o, prediction=None) for o in expected
    ]
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a.prediction.probabilities, b.prediction.probabilities, atol=1e-5)
        for what in ("labels", "frame_indices", "box", "weights"):
            assert getattr(a.prediction, what) == getattr(b.prediction, what)
        assert set(a.prediction.timings_ms) == set(b.prediction.timings_ms)


# -- equality -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hop_s", [0.4, 0.27, 0.1])
@pytest.mark.parametrize("name", NAMES)
def test_equal_to_whole_windows(name: str, hop_s: float, networks: Callable[[str], Recognizer]) -> None:
    network, film = networks(name), Film(75, late_s=0.04)
    actual, features, head = counted(network, PEOPLE, film, hop_s=hop_s)
    expected = without_reuse(network, PEOPLE, film, hop_s=hop_s)
    assert_equal(actual, expected)
    assert {o.track_id for o in actual} == {0, 1}
    assert sum(rows(features)) < 0.8 * sum(rows(head)) * Streaming.of(network.spec).steps
    alone = [o.prediction.probabilities for o in expected if o.track_id == 1 and hop_s == HOP_S]
    assert all(np.abs(a - b).max() > 5e-4 for a, b in itertools.pairwise(alone)), "hardly differ"


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_other_engines(engine: str, files: dict[str, Path]) -> None:
    pytest.importorskip(engine)
    network = recogniser("smate", files["smate"], engine)
    assert_equal(stream(network, PEOPLE), without_reuse(network, PEOPLE))
    for part in network._parts:
        assert part.info() == network._engine.info()
        assert part.weights_sha256 == network._engine.weights_sha256


def test_the_first_window_is_what_predict_sees(networks: Callable[[str], Recognizer]) -> None:
    for name in NAMES:
        network = networks(name)
        first, *_ = stream(network)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(network, "_tracker", Script(ONE))
            alone = network.predict(Film(12))
        assert first.prediction.frame_indices == alone.frame_indices
        np.testing.assert_allclose(first.prediction.probabilities, alone.probabilities, atol=1e-5)


# -- cost ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_step_is_computed_once(
    name: str, networks: Callable[[str], Recognizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = networks(name)
    if network.spec.landmarks:
        monkeypatch.setattr(network, "_landmark_detector", Finder(is_lossy=False))
    seen, features, head = counted(network)
    streaming = Streaming.of(network.spec)
    frames = streaming.frames_per_step
    steps = {
        o.prediction.frame_indices[first : first + frames]
        for o in seen
        for first in range(0, streaming.steps * frames, frames)
    }
    assert len(seen) > 10
    assert sum(rows(features)) == len(steps)
    assert len(features.calls) <= len(seen), "one call a window"
    assert rows(head) == [1] * len(seen)


def test_cost_does_not_grow_with_the_window(networks: Callable[[str], Recognizer]) -> None:
    """One new frame a window, also where the hop is half a step and every other window shares."""
    for window_s, start in ((1.2, [3, 1]), (2.4, [3, 3])):
        _, features, _ = counted(networks("slowr50_sa"), film=Film(72), window_s=window_s)
        assert rows(features)[:2] == start
        # The last window is cut from the end.
        assert set(rows(features)[2:-1]) == {1}


def test_all_people_are_one_call(networks: Callable[[str], Recognizer]) -> None:
    crowd = {track_id: lambda index: HERE for track_id in range(10)}
    seen, features, head = counted(networks("slowr50_sa"), crowd, Film(25))
    # 8 clips of 3 frames are the most of one call.
    assert rows(features)[:3] == [24, 6, 10]
    assert rows(head)[:4] == [8, 2, 8, 2]
    assert [o.track_id for o in seen[:10]] == list(range(10))


def test_parts_are_loaded_once_and_only_when_needed(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from dfer_edge import recognizer as module

    calls, load_parts = [], module.load_parts
    monkeypatch.setattr(module, "load_parts", lambda *args: calls.append(args) or load_parts(*args))
    network = recogniser("smate", files["smate"])
    for options in ({"hop_s": WINDOW_S}, {"hop_s": 2.0}, {"window_s": np.inf}):
        assert stream(network, **options)
    # Frames without a clock are one window.
    list(network.stream([np.zeros((32, 32, 3), np.uint8)] * 9, "cropped"))
    network.predict(Film(20), "cropped")
    network.timeline(Film(20), "cropped", window_s=1.0)
    assert not calls
    with caplog.at_level(logging.DEBUG, "dfer_edge"):
        stream(network)
    stream(network)
    assert len(calls) == 1
    assert "2 of 3 steps re-used" in caplog.text


# -- what runs whole ----------------------------------------------------------------------------------------------


def test_files_run_whole_and_the_log_says_so_once(
    tmp_path: Path, files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = export.export_onnx("smate", tmp_path / "own.onnx", files["smate"], form="2d")
    own = recogniser("smate", path)
    with caplog.at_level(logging.INFO, "dfer_edge"):
        first, again = stream(own), stream(own)
    assert own._parts is None
    assert [record.message.count("an .onnx file has no parts") for record in caplog.records] == [1], "said once"
    assert_equal(again, first)
    seen = [observation.prediction.frame_indices for observation in first]
    assert seen == cut_by(own.spec, WindowPlan(WINDOW_S, HOP_S))
    assert seen != cut_by(own.spec, WindowPlan(WINDOW_S, HOP_S, step_frames=2)), "nothing is shared: nothing moves"


def cut_by(spec: ModelSpec, plan: WindowPlan) -> list[tuple[int, ...]]:
    windows = Windower(spec, plan, Stopwatch()).windows(Film(60), Script(ONE))
    return [window.clips[0].frame_indices for window in windows]


@pytest.mark.parametrize("change", ["gone", "other"])
def test_weights_that_changed_since(
    change: str, tmp_path: Path, files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(files["smate"].read_bytes())
    network = recogniser("smate", path)
    path.unlink()
    if change == "other":
        weights.save(path, small("smate").float().apply(lambda m: [p.data.mul_(1.1) for p in m.parameters()]))
    with caplog.at_level(logging.WARNING, "dfer_edge"):
        actual = stream(network)
        stream(network)
    assert [record.message.count("are computed one by one") for record in caplog.records] == [1], "said once"
    assert ("found nothing" if change == "gone" else "changed since") in caplog.text
    assert_equal(actual, without_reuse(network))


def test_int8_runs_whole(networks: Callable[[str], Recognizer], caplog: pytest.LogCaptureFixture) -> None:
    from dfer_edge.loading import load_parts

    network = networks("smate")

    class Int8:
        spec, options = network.spec, dataclasses.replace(network._engine.options, precision="int8")

    with caplog.at_level(logging.INFO, "dfer_edge"):
        assert load_parts(network._request, Int8()) is None
    assert "computed one by one: ranges for int8" in caplog.text
    assert load_parts(network._request, network._engine) is not None


# -- the cache alone ----------------------------------------------------------------------------------------------


class Part:
    """A part that adds up: features are the mean of a step, logits the means of a window."""

    weights_sha256 = ""

    def __init__(self, spec: Any, part: str) -> None:
        self.spec, self.part = spec, part

    def infer(self, feed: Mapping[str, Any]) -> dict[str, Any]:
        if self.part == "head":
            return {"logits": feed["features"].reshape(len(feed["features"]), -1)[:, :: 512 * 9]}
        mean = feed["clip"].mean((1, 2, 3, 4), dtype=np.float64)
        return {"features": np.broadcast_to(mean[:, None, None, None, None], (len(mean), 1, 512, 3, 3)).astype("f4")}


SPEC = dataclasses.replace(registry.find("slowr50_sa").spec, frames=3, size=20)
STEP_BYTES = 512 * 3 * 3 * 4


def cache(**options: int) -> tuple[StepCache, Counting]:
    features = Counting(Part(SPEC, "features"))
    return StepCache(features, Part(SPEC, "head"), **options), features


def clip(*indices: int, shade: int = 0, landmarks: Points | None = None) -> Clip:
    frames = np.stack([np.full((20, 20, 3), index + shade, np.uint8) for index in indices])
    return Clip(frames, indices, HERE, landmarks)


def test_people_that_left_are_forgotten() -> None:
    steps, features = cache()
    steps.logits({0: clip(0, 4, 8), 1: clip(0, 4, 8, shade=100)}, Stopwatch())
    assert (len(steps), steps.needed, steps.computed) == (6, 6, 6)
    steps.logits({1: clip(4, 8, 12, shade=100)}, Stopwatch())
    assert len(steps) == 3
    steps.logits({0: clip(4, 8, 12), 1: clip(4, 8, 12, shade=100)}, Stopwatch())
    assert rows(features) == [6, 1, 3]
    assert steps.logits({}, Stopwatch()) == []
    assert len(steps) == 0
    assert (steps.needed, steps.computed) == (15, 10)


def test_tracks_do_not_mix() -> None:
    steps, _ = cache()
    first, second = steps.logits({0: clip(0, 4, 8), 1: clip(0, 4, 8, shade=100)}, Stopwatch())
    assert np.abs(first - second).min() > 0.1


def test_a_short_clip_repeats_its_steps() -> None:
    steps, features = cache()
    (logits,) = steps.logits({0: clip(5, 5, 6)}, Stopwatch())
    assert rows(features) == [2]
    assert logits[0] == logits[1] != logits[2]


def test_interleaved_windows_share_with_the_one_before_the_last() -> None:
    steps, features = cache()
    for start in range(0, 12, 2):
        steps.logits({0: clip(start, start + 4, start + 8)}, Stopwatch())
    assert rows(features) == [3, 3, 1, 1, 1, 1]
    assert len(steps) <= 6


def test_memory_is_bounded() -> None:
    """With room for half of what interleaved windows share, half is re-used; nothing but time changes."""
    steps, _ = cache(most_bytes=3 * STEP_BYTES + STEP_BYTES // 2)
    ample, _ = cache()
    for start in range(40):
        window = {0: clip(*range(start, start + 30, 10))}
        np.testing.assert_array_equal(steps.logits(window, Stopwatch()), ample.logits(window, Stopwatch()))
        assert len(steps) <= 3
        assert all(kept.base is None for kept in steps._kept.values()), "a view keeps all of its batch"
    assert steps.computed < steps.needed
    none, _ = cache(most_bytes=0)
    none.logits({0: clip(0, 1, 2)}, Stopwatch())
    assert len(none) == 0


def test_landmarks_that_changed_are_other_steps() -> None:
    """A frame without landmarks repeats those of the frame sampled before, which is another in the next window."""
    spec = dataclasses.replace(registry.find("keypoint_tsa").spec, frames=2, size=20)

    class Landmarks(Part):
        def infer(self, feed: Mapping[str, Any]) -> dict[str, Any]:
            if self.part == "head":
                return {"logits": feed["features"][:, :, 0]}
            return {"features": np.broadcast_to(feed["landmarks"][:, :, :1, 0], (len(feed["landmarks"]), 1, 512))}

    features = Counting(Landmarks(spec, "features"))
    steps = StepCache(features, Landmarks(spec, "head"))
    points = np.arange(2, dtype=np.float32)[:, None, None] + np.zeros((2, 68, 2), np.float32)
    (first,) = steps.logits({0: clip(0, 4, landmarks=points)}, Stopwatch())
    points = points + np.float32([[[0]], [[5]]])
    (second,) = steps.logits({0: clip(0, 4, landmarks=points)}, Stopwatch())
    assert (list(first), list(second)) == ([0, 1], [0, 6])
    assert rows(features) == [2, 1]
    with pytest.raises(InvalidInput, match="expected landmarks for 2 clips"):
        steps.logits({0: clip(1, 5)}, Stopwatch())


def test_parts_that_do_not_belong_together() -> None:
    features, head = Part(SPEC, "features"), Part(SPEC, "head")
    with pytest.raises(InvalidInput, match="expected the parts features and head"):
        StepCache(head, features)
    other = Part(dataclasses.replace(SPEC, size=24), "head")
    with pytest.raises(InvalidInput, match="two parts of one network"):
        StepCache(features, other)
