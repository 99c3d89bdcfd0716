"""Landmarks through the flow: given or found, gaps, crop pixels, engines, command line."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge import CorruptArtifact, InvalidInput, Recognizer, WeightsNotFound
from dfer_edge.cli.main import main
from dfer_edge.doctor.machine import report
from dfer_edge.engines import BEST_FORM, reasons
from dfer_edge.faces import make_landmark_detector
from dfer_edge.faces.detectors import YuNetDetector
from dfer_edge.faces.regions import cut
from dfer_edge.flow import preprocess
from dfer_edge.flow.pipeline import Windower, WindowPlan
from dfer_edge.inference import registry
from dfer_edge.inference.keypoint_graph import mean_shape
from dfer_edge.sources.opening import open_source
from dfer_edge.system.stopwatch import Stopwatch
from dfer_edge.types import Box, Clip, Image, Points, Prediction
from tests.flow.test_pipeline import Clock, Script

SPEC = registry.find("keypoint_tsa").spec
MEAN = mean_shape() * SPEC.size - 0.5


class Scripted:
    """Answers with the index of the frame (its pixel value) in all numbers, None where the script says so."""

    name = "scripted"

    def __init__(self, is_lost: Callable[[int], bool] = lambda index: False) -> None:
        self._is_lost, self.calls, self.boxes = is_lost, [], []

    def detect(self, image: Image, box: Box) -> Points | None:
        index = int(image[0, 0, 0])
        self.calls.append(index)
        self.boxes.append(box)
        return None if self._is_lost(index) else np.full((68, 2), index, np.float32)


def clips(detector: Scripted, count: int, window_s: float = 9.0, hop_s: float = 9.0, **options: object) -> list[Clip]:
    windower = Windower(SPEC, WindowPlan(window_s, hop_s), Stopwatch(), landmark_detector=detector, **options)
    cut = windower.windows(Clock(count), Script({0: range(count)}))
    return [clip for window in cut for clip in window.clips.values()]


def test_only_frames_of_a_clip_are_searched_and_each_once() -> None:
    detector = Scripted()
    (clip,) = clips(detector, 64)
    assert detector.calls == list(clip.frame_indices)
    np.testing.assert_array_equal(clip.landmarks[:, 0, 0], clip.frame_indices)
    streaming = Scripted()
    overlapping = clips(streaming, 64, window_s=1.6, hop_s=0.4)
    assert len(overlapping) > 8
    assert len(streaming.calls) == len(set(streaming.calls)), "windows that share frames share their landmarks"


def test_lost_landmarks_repeat_the_last_ones_then_the_mean_shape() -> None:
    (clip,) = clips(Scripted(lambda index: index < 5 or 20 <= index < 30), 64)
    for index, points in zip(clip.frame_indices, clip.landmarks, strict=True):
        last = max((i for i in clip.frame_indices if i <= index and not 20 <= i < 30), default=None)
        np.testing.assert_allclose(points, MEAN if index < 5 else np.full((68, 2), last), atol=1e-4)
    assert any(20 <= index < 30 for index in clip.frame_indices)


def test_lost_landmarks_repeat_those_of_the_window_before() -> None:
    first, second, *_ = clips(Scripted(lambda index: index >= 20), 48, window_s=2.0, hop_s=2.0)
    assert second.frame_indices[0] >= 20
    np.testing.assert_array_equal(second.landmarks, np.broadcast_to(first.landmarks[-1], (16, 68, 2)))


def test_the_mean_shape_where_nothing_is_ever_found() -> None:
    (clip,) = clips(Scripted(lambda index: True), 20)
    np.testing.assert_allclose(clip.landmarks, np.broadcast_to(MEAN, (16, 68, 2)), atol=1e-4)


def test_given_landmarks_win(rng: np.random.Generator) -> None:
    detector, given = Scripted(), rng.uniform(0, 16, (20, 68, 2)).astype(np.float32)
    (clip,) = clips(detector, 20, landmarks=given)
    assert detector.calls == []
    region = preprocess.square(Box(0, 0, 16, 16), SPEC.face_margin)
    for index, points in zip(clip.frame_indices, clip.landmarks, strict=True):
        np.testing.assert_allclose(points, preprocess.points_in_crop(given[index], region, SPEC.size))


@pytest.mark.parametrize("cropped", [False, True])
def test_the_detector_gets_the_box_in_the_crop(cropped: bool) -> None:
    detector = Scripted()
    clips(detector, 16, cropped=cropped)
    # 16 pixels of face in 18 of crop (17.6, rounded outwards); crops from elsewhere have the margin exactly.
    share = 1 / SPEC.face_margin if cropped else 16 / 18
    edge = SPEC.size * (1 - share) / 2
    assert detector.boxes[0] == pytest.approx((edge, edge, SPEC.size - edge, SPEC.size - edge))


def test_points_go_to_the_crop_and_back_as_the_pixels_do(rng: np.random.Generator) -> None:
    """A white pixel of the frame is brightest where its point lands in the crop, also for boxes of broken pixels."""
    for _ in range(20):
        frame, (x, y) = np.zeros((90, 120, 3), np.uint8), rng.integers(30, 60, 2)
        frame[y, x] = 255
        left, top = rng.uniform(5, 20, 2)
        region = Box(left, top, left + 57.5, top + 57.5)
        spread = cv2.GaussianBlur(cut(frame, region, 224)[..., 0].astype(np.float32), (0, 0), 1)
        rows, columns = np.mgrid[:224, :224]
        centre = ((spread * columns).sum() / spread.sum(), (spread * rows).sum() / spread.sum())
        point = preprocess.points_in_crop(np.asarray([[x, y]], np.float32), region, 224)
        np.testing.assert_allclose(point[0], centre, atol=0.3)
        np.testing.assert_allclose(preprocess.points_in_frame(point, region, 224), [[x, y]], atol=1e-4)


def test_the_feed_needs_landmarks() -> None:
    frames, points = np.zeros((16, 112, 112, 3), np.uint8), np.ones((16, 68, 2), np.float32)
    clip = Clip(frames, tuple(range(16)), Box(0, 0, 9, 9), points)
    feed = preprocess.to_feed([clip, clip], SPEC)
    assert (feed["landmarks"].shape, feed["landmarks"].dtype) == ((2, 16, 68, 2), np.float32)
    with pytest.raises(InvalidInput, match="landmarks for 2 clips of keypoint_tsa, got 1"):
        preprocess.to_feed([clip, Clip(frames, tuple(range(16)), Box(0, 0, 9, 9))], SPEC)


# -- the product --------------------------------------------------------------------------------------------


def recognizer_of(engine: str = "onnxruntime", **options: object) -> Recognizer:
    if reason := reasons(engine):
        pytest.skip(reason)
    return Recognizer("keypoint_tsa", weights="random", engine=engine, precision="fp32", threads=1, **options)


@pytest.fixture(scope="module")
def blind() -> Recognizer:
    """Without a landmark detector."""
    return recognizer_of(detector="haar", landmark_detector=None)


@pytest.fixture(scope="module")
def faceapi(media: Path) -> Path:
    return media / "onnx" / "face_landmark68_faceapi.onnx"


@pytest.fixture(scope="module")
def single_face(media: Path) -> Path:
    return media / "video" / "single_face.mp4"


OTHERS = [engine for engine in BEST_FORM if engine != "onnxruntime"]
LANDMARKS = ("face_landmark68_faceapi.onnx", "face_landmark66_openseeface.onnx")


@pytest.fixture(scope="module", params=LANDMARKS)
def found(request: pytest.FixtureRequest, media: Path, yunet: Path, single_face: Path) -> tuple[Path, Prediction]:
    """A landmark network, and what ONNX Runtime says with it."""
    file = media / "onnx" / request.param
    return file, recognizer_of(detector=yunet, landmark_detector=file).predict(single_face)


@pytest.mark.parametrize("engine", OTHERS)
def test_engines_agree_with_found_landmarks(yunet: Path, single_face: Path, engine: str, found: tuple) -> None:
    file, a = found
    b = recognizer_of(engine, detector=yunet, landmark_detector=file).predict(single_face)
    assert np.abs(a.probabilities - b.probabilities).max() <= 1e-3
    assert a.timings_ms["landmarks"] > 0


def ellipse(count: int) -> np.ndarray:
    """Landmarks [count, 68, 2] about the face of the astronaut clip, moving a little."""
    moving = np.linspace(0, 8, count)[:, None, None]
    return (mean_shape() * 110 + (70, 60) + moving).astype(np.float32)


@pytest.fixture(scope="module")
def given(blind: Recognizer, astronaut_frames: list) -> np.ndarray:
    return blind.predict(astronaut_frames[::3], landmarks=ellipse(17)).probabilities


@pytest.mark.parametrize("engine", OTHERS)
def test_engines_agree_with_given_landmarks(astronaut_frames: list, engine: str, given: np.ndarray) -> None:
    other = recognizer_of(engine, detector="haar", landmark_detector=None)
    b = other.predict(astronaut_frames[::3], landmarks=ellipse(17)).probabilities
    assert np.abs(given - b).max() <= 1e-3


def test_landmarks_reach_the_network(blind: Recognizer, astronaut_frames: list, given: np.ndarray) -> None:
    moved = blind.predict(astronaut_frames[::3], landmarks=ellipse(17) + np.float32(20)).probabilities
    assert np.abs(given - moved).max() > 1e-3


def test_found_and_given_landmarks_are_the_same(yunet: Path, faceapi: Path, single_face: Path) -> None:
    """Found on the stored crop, against given from the whole frames: within 0.02 eye distances, 0.01 in probability."""
    recognizer, network = recognizer_of(detector=yunet, landmark_detector=faceapi), make_landmark_detector(faceapi)
    boxes = recognizer.timeline(single_face).tracks[0].boxes
    images = [frame.image for frame in open_source(single_face)]
    given = np.stack([network.detect(image, Box(*box)) for image, box in zip(images, boxes.tolist(), strict=True)])
    a, b = (recognizer.predict(single_face, landmarks=points).probabilities for points in (None, given))
    assert np.abs(a - b).max() < 0.01
    windower = Windower(SPEC, WindowPlan(9.0, 9.0), Stopwatch(), landmark_detector=network)
    tracked = Script({0: range(72)})
    tracked.track = lambda frames: recognizer._framing.tracker(open_source(single_face), "detect", None)[0].track(
        frames
    )
    (window,) = windower.windows(open_source(single_face), tracked)
    clip = window.clips[0]
    for index, points in zip(clip.frame_indices, clip.landmarks, strict=True):
        region = preprocess.square(Box(*boxes[index].tolist()), SPEC.face_margin)
        expected = preprocess.points_in_crop(given[index], region, SPEC.size)
        eyes = np.linalg.norm(expected[36:42].mean(0) - expected[42:48].mean(0))
        assert np.linalg.norm(points - expected, axis=1).mean() < 0.02 * eyes


def test_video_and_cropped_frames(yunet: Path, faceapi: Path, single_face: Path) -> None:
    recognizer = recognizer_of(detector=yunet, landmark_detector=faceapi)
    images = [frame.image for frame in open_source(single_face)]
    from_file, from_list = (recognizer.predict(source).probabilities for source in (single_face, images))
    # Frames without a clock may lie far apart: the detector sees each. In a file the face is followed by its landmarks.
    np.testing.assert_allclose(from_file, from_list, atol=0.02)
    box = YuNetDetector(yunet).detect(images[0])[0].box
    left, top, right, bottom = preprocess.square(box, SPEC.face_margin).rounded()
    crops = [image[top:bottom, left:right] for image in images[:1]]
    p = recognizer.predict(crops, faces="cropped").probabilities
    assert np.abs(p - recognizer.predict(images[:1]).probabilities).max() < 0.02


def test_batch_and_stream_find_landmarks(yunet: Path, faceapi: Path, single_face: Path) -> None:
    recognizer = recognizer_of(detector=yunet, landmark_detector=faceapi)
    images = [frame.image for frame in open_source(single_face)][::3]
    batch = recognizer.predict_batch([images, images[:9]])
    np.testing.assert_allclose(batch[0].probabilities, recognizer.predict(images).probabilities, atol=1e-5)
    assert len(list(recognizer.stream(single_face, window_s=1.0, hop_s=0.5))) >= 3


@pytest.mark.parametrize(
    "call",
    [
        lambda r, f: r.predict(f),
        lambda r, f: r.predict_batch([f]),
        lambda r, f: r.stream(f),
        lambda r, f: r.timeline(f),
    ],
)
def test_missing_detector_names_the_choices(blind: Recognizer, astronaut_frames: list, call: Callable) -> None:
    with pytest.raises(WeightsNotFound) as error:
        call(blind, astronaut_frames)
    for word in ("keypoint_tsa", "landmarks=", "landmark_detector=", "--landmarks", "DFER_EDGE_LANDMARKS"):
        assert word in str(error.value)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((49, 68, 2), np.float32),
        np.zeros((50, 68, 2), np.float32),
        np.random.default_rng(1).uniform(300, 900, (50, 68, 2)),
        np.random.default_rng(1).uniform(-90, -1, (50, 68, 2)),
        np.zeros((50, 66, 2), np.float32),
        np.zeros((68, 2), np.float32),
        np.float32(5),
        np.zeros((50, 68, 2), int),
        np.zeros((50, 68, 2), complex),
        np.full((50, 68, 2), np.nan, np.float32),
        np.full((50, 68, 2), np.inf, np.float32),
        "points",
    ],
)
def test_wrong_landmarks(blind: Recognizer, astronaut: Path, astronaut_frames: list, points: object) -> None:
    for source in (astronaut, astronaut_frames):
        with pytest.raises(InvalidInput, match=r"expected .*landmarks"):
            blind.predict(source, landmarks=points)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_frame_with_landmarks_that_are_not_finite_is_named(
    blind: Recognizer, astronaut_frames: list, value: float
) -> None:
    points = ellipse(50)
    points[[17, 31], 5, 1] = value
    with pytest.raises(InvalidInput, match=r"frame 17$"):
        blind.predict(astronaut_frames, landmarks=points)


def test_more_landmarks_than_frames_of_a_video(blind: Recognizer, astronaut: Path) -> None:
    with pytest.raises(InvalidInput, match="landmarks for 50 frames, got 51"):
        blind.predict(astronaut, landmarks=ellipse(51))
    assert blind.predict(astronaut, landmarks=ellipse(50)).label


def test_every_network_follows_by_landmarks_unless_told_not_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.onnx").write_bytes(b"not a network")
    monkeypatch.setenv("DFER_EDGE_LANDMARKS", str(tmp_path / "text.onnx"))
    plain = functools.partial(Recognizer, "slowr50_sa", weights="random", engine="onnxruntime", detector="haar")
    for make in (plain, recognizer_of):
        with pytest.raises(CorruptArtifact, match=r"text\.onnx"):
            make()
    assert plain(landmark_detector=None).info()["landmark_detector"] is None
    assert "text.onnx" in report()["landmarks"]["68 points"]


def test_info_and_doctor_name_the_detector(blind: Recognizer, faceapi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert blind.info()["landmark_detector"] is None
    assert report()["landmarks"] == {"68 points": "yes: rendered68, shipped"}
    assert recognizer_of().info()["landmark_detector"] == "following68"
    monkeypatch.setenv("DFER_EDGE_LANDMARKS", str(faceapi))
    assert recognizer_of().info()["landmark_detector"] == "faceapi68"
    assert report()["landmarks"] == {"68 points": f"yes: faceapi68, DFER_EDGE_LANDMARKS names {faceapi}"}
    assert recognizer_of(landmark_detector=Scripted()).info()["landmark_detector"] == "scripted"


def test_command_line(single_face: Path, astronaut: Path, faceapi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", "keypoint_tsa", "--weights", "random", "--engine", "onnxruntime", "--detector", "haar"]
    assert main(["predict", str(single_face), *options, "--landmarks", str(faceapi), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["recognizer"]["landmark_detector"] == "faceapi68"
    assert main(["predict", str(astronaut), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recognizer"]["landmark_detector"] == "following68"
    assert main(["predict", str(astronaut), *options, "--landmarks", "none.onnx"]) == 1
    assert "found nothing at none.onnx" in capsys.readouterr().err
