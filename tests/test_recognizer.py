"""The product: frames in, a labelled prediction out."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge import EngineUnavailable, InvalidInput, NoFaceFound, Recognizer
from dfer_edge.engines import BEST_FORM, reasons
from dfer_edge.export import onnx_file as export
from dfer_edge.faces import FaceFinder
from dfer_edge.types import Box, Detection


def test_eight_frames_make_a_prediction(recognizer: Recognizer, astronaut_frames: list[np.ndarray]) -> None:
    p = recognizer.predict(astronaut_frames[:8])
    assert p.label in p.labels == recognizer.spec.labels
    assert p.probabilities.dtype == np.float32
    assert p.probabilities.sum() == pytest.approx(1, abs=1e-6)
    assert p.confidence == pytest.approx(p.scores[p.label], abs=1e-6)
    assert p.confidence == pytest.approx(float(p.probabilities.max()), abs=1e-6)
    assert p.frame_indices == tuple(range(8))
    assert p.weights["name"] == "random"
    assert {"detect", "preprocess", "engine", "total"} <= set(p.timings_ms)
    assert sum(ms for stage, ms in p.timings_ms.items() if stage != "total") <= p.timings_ms["total"]
    assert json.loads(json.dumps(p.to_dict()))["label"] == p.label


def test_video_array_and_list_of_the_same_frames_agree(
    recognizer: Recognizer, astronaut: Path, astronaut_frames: list[np.ndarray]
) -> None:
    from_file, from_list, from_array = (
        recognizer.predict(source) for source in (str(astronaut), astronaut_frames, np.stack(astronaut_frames))
    )
    assert from_file.frame_indices == (3, 9, 15, 21, 28, 34, 40, 46)
    np.testing.assert_allclose(from_array.probabilities, from_list.probabilities, atol=1e-5)
    assert from_array.frame_indices == from_list.frame_indices == from_file.frame_indices
    # Frames without a clock may lie far apart: the detector sees each. In a file the face is followed by its landmarks.
    np.testing.assert_allclose(from_list.probabilities, from_file.probabilities, atol=0.03)


def test_one_frame_is_repeated(recognizer: Recognizer, astronaut_frames: list[np.ndarray]) -> None:
    assert recognizer.predict(astronaut_frames[:1]).frame_indices == (0,) * 8


def test_input_reaches_the_network(recognizer: Recognizer, astronaut_frames: list[np.ndarray]) -> None:
    """Darker, mirrored and cropped frames change the probabilities; the same frames do not."""
    base, again = (recognizer.predict(astronaut_frames[:8]).probabilities for _ in range(2))
    np.testing.assert_array_equal(base, again)
    for changed in ([f // 2 for f in astronaut_frames[:8]], [f[:, ::-1] for f in astronaut_frames[:8]]):
        assert np.abs(recognizer.predict(changed).probabilities - base).max() > 1e-4


def test_cropped_frames_skip_detection(recognizer: Recognizer, rng: np.random.Generator) -> None:
    noise = rng.integers(0, 256, (4, 90, 80, 3), np.uint8)
    with pytest.raises(NoFaceFound):
        recognizer.predict(noise)
    p = recognizer.predict(noise, faces="cropped")
    assert p.box == (0, 0, 80, 90)


def test_windows_of_a_longer_video(recognizer: Recognizer, astronaut: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    timeline = recognizer.timeline(astronaut, window_s=0.6, progress=lambda *call: calls.append(call))
    assert [round(o.time_s, 2) for o in timeline.observations] == [0.6, 1.2, 1.8, 1.96]
    assert calls[-1] == (50, 50)
    stacked = np.stack([o.prediction.probabilities for o in timeline.primary])
    assert (stacked.min(0) - 1e-6 <= timeline.prediction.probabilities).all()
    assert (timeline.prediction.probabilities <= stacked.max(0) + 1e-6).all()
    assert timeline.frame_count == 50
    assert len(timeline.tracks[0]) == 50


def test_batch_equals_one_by_one(recognizer: Recognizer, astronaut_frames: list[np.ndarray]) -> None:
    sources = [astronaut_frames[:8], astronaut_frames[20::4]]
    together = recognizer.predict_batch(sources)
    for prediction, source in zip(together, sources, strict=True):
        np.testing.assert_allclose(prediction.probabilities, recognizer.predict(source).probabilities, atol=1e-5)
    with pytest.raises(InvalidInput, match="at least one source"):
        recognizer.predict_batch([])
    with pytest.raises(NoFaceFound, match="source 1"):
        recognizer.predict_batch([astronaut_frames[:2], np.zeros((2, 64, 64, 3), np.uint8)])


def test_stream_observes_every_hop(recognizer: Recognizer, astronaut: Path) -> None:
    seen = list(recognizer.stream(astronaut, window_s=1.0, hop_s=0.48))
    assert [round(o.time_s, 2) for o in seen] == [0.0, 0.48, 0.96, 1.44, 1.92]
    assert {o.track_id for o in seen} == {0}
    assert [o.prediction.frame_indices[-1] for o in seen] == [o.frame_index for o in seen]
    assert json.dumps(seen[0].to_dict())


@pytest.mark.parametrize("endless", [{"window_s": math.inf}, {"hop_s": math.inf}])
def test_a_stream_takes_no_endless_window(recognizer: Recognizer, astronaut: Path, endless: dict) -> None:
    with pytest.raises(InvalidInput, match=r"that ends, of a stream.*got inf"):
        recognizer.stream(astronaut, **endless)


def test_times_of_a_timeline_are_those_of_each_window(
    recognizer: Recognizer, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that moves only in the engine, by 2 s a call."""
    now = [0.0]
    monkeypatch.setattr("dfer_edge.system.stopwatch.time.perf_counter", lambda: now[0])
    infer = recognizer._engine.infer

    def slow(feed: dict) -> dict:
        now[0] += 2.0
        return infer(feed)

    monkeypatch.setattr(recognizer._engine, "infer", slow)
    timeline = recognizer.timeline(astronaut, window_s=0.5)
    assert {o.prediction.timings_ms["engine"] for o in timeline.observations} == {2e3}
    assert timeline.prediction.timings_ms["engine"] == 2e3 * len(timeline.observations)


class Crowd:
    """Two people: one in all frames, one larger but only in the first ones."""

    name = "crowd"

    def __init__(self) -> None:
        self._frame = -1

    def detect(self, image: np.ndarray) -> list[Detection]:
        mark = int(image[0, 0, 0])
        stays, leaves = Box(10, 10, 60, 60), Box(80, 10, 180, 110)
        return [Detection(box, 0.9) for box in ([stays, leaves] if mark < 4 else [stays])]


def test_the_longest_track_wins(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        recognizer, "_framing", dataclasses.replace(recognizer._framing, finder=FaceFinder(Crowd(), aligns=False))
    )
    frames = [np.full((128, 200, 3), index, np.uint8) for index in range(12)]
    assert recognizer.predict(frames).box == (10, 10, 60, 60)
    timeline = recognizer.timeline(frames)
    assert timeline.prediction.box == (10, 10, 60, 60)
    assert {o.track_id for o in timeline.observations} == {0, 1}, "everyone, though only one wins"
    assert sorted(len(track) for track in timeline.tracks) == [4, 12]


@pytest.mark.parametrize("engine", BEST_FORM)
def test_engines_agree_on_real_video(recognizer: Recognizer, astronaut: Path, engine: str) -> None:
    if reason := reasons(engine):
        pytest.skip(reason)
    other = Recognizer("slowr50_sa", weights="random", engine=engine, precision="fp32", detector="haar")
    a, b = (r.predict(astronaut).probabilities for r in (recognizer, other))
    assert np.abs(a - b).max() <= 1e-4


def test_an_exported_file_is_weights_too(recognizer: Recognizer, astronaut_frames: list, tmp_path: Path) -> None:
    path = export.export_onnx("slowr50_sa", tmp_path / "own.onnx", weights="random", form="2d")
    own = Recognizer("slowr50_sa", weights=path, engine="onnxruntime", detector="haar")
    assert own.predict(astronaut_frames[:8]).weights == recognizer.predict(astronaut_frames[:8]).weights
    with pytest.raises(InvalidInput, match="expected an ONNX file of slowr50, got one of slowr50_sa"):
        Recognizer("slowr50", weights=path, engine="onnxruntime")


def test_info_says_what_runs(recognizer: Recognizer) -> None:
    info = recognizer.info()
    assert json.dumps(info)
    assert info["engine"] == "onnxruntime"
    assert info["precision"] == "fp32"
    assert info["input"] == {"clip": [3, 8, 196, 196]}
    assert "attention" in info["simplifications"]
    assert info["detector"] == "haar"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r, f: r.predict(f, faces="cut"), 'faces "detect" or "cropped"'),
        (lambda r, f: r.predict(f, landmarks=np.zeros((50, 68, 2), np.float32)), "no landmarks"),
        (lambda r, f: r.predict(0), "index of a camera, got 0|live source 0"),
        (lambda r, f: r.timeline(f, window_s=0), "window of at least"),
        (lambda r, f: r.timeline(f, window_s=float("nan")), "window of at least"),
        (lambda r, f: r.timeline(f, window_s=None), "window of at least"),
        (lambda r, f: r.timeline(f, window_s=True), "window of at least"),
        (lambda r, f: r.stream(f, hop_s=-1), "hop of at least"),
        (lambda r, f: r.predict_batch(None), "list of at least one"),
        (lambda r, f: r.predict_batch("video.mp4"), "list of at least one"),
    ],
)
def test_bad_calls(recognizer: Recognizer, astronaut_frames: list, call, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call(recognizer, astronaut_frames)


def test_unknown_names() -> None:
    with pytest.raises(InvalidInput, match="slowr50_sa"):
        Recognizer("resnet50", weights="random")
    with pytest.raises(InvalidInput, match="keras"):
        Recognizer("slowr50_sa", weights="random", engine="keras")
    for wrong in (None, "", b"random", 3):
        with pytest.raises(InvalidInput, match="expected weights"):
            Recognizer("slowr50_sa", weights=wrong)
    for wrong in (True, 0, 100_000):
        with pytest.raises(InvalidInput, match="threads"):
            Recognizer("slowr50_sa", weights="random", threads=wrong)
    with pytest.raises(EngineUnavailable, match="only torch"):
        Recognizer("slowr50_sa", weights="random", engine="onnxruntime", device="cuda")


def test_damaged_cache_is_exported_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path))
    Recognizer("slowr50", weights="random", engine="onnxruntime")
    (file,) = tmp_path.rglob("model.onnx")
    file.write_bytes(file.read_bytes()[:1000])
    again = Recognizer("slowr50", weights="random", engine="onnxruntime")
    assert "is not used: corrupt" in caplog.text
    assert again.info()["weights"]["name"] == "random"


def test_8k_frames(recognizer: Recognizer, astronaut_frames: list) -> None:
    big = np.zeros((4320, 7680, 3), np.uint8)
    big[:, 1000:5320] = cv2.resize(astronaut_frames[0], (4320, 4320))
    small = recognizer.predict(astronaut_frames[:1]).box
    box = recognizer.predict([big, big]).box
    expected = Box(*(edge * 4320 / 256 + (1000 if side % 2 == 0 else 0) for side, edge in enumerate(small)))
    assert box.iou(expected) > 0.7


def test_auto_is_the_recommended_network() -> None:
    from dfer_edge.doctor.machine import report
    from dfer_edge.inference.registry import RECOMMENDED
    from dfer_edge.weights.file import shipped

    assert Recognizer("auto", precision="fp32", threads=1).spec.name == RECOMMENDED
    assert shipped(RECOMMENDED) is not None
    assert report()["recommended"]["network"] == RECOMMENDED
    with pytest.raises(InvalidInput, match="model name"):
        Recognizer("automatic")
