"""Stages against the least that they have to do: what ours add must stay small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dfer_edge import Recognizer
from dfer_edge.faces import FaceFinder, FaceFollower, make_detector
from dfer_edge.faces.landmarks import make_laying_detector
from dfer_edge.flow import preprocess
from dfer_edge.flow.postprocess import softmax, to_prediction
from dfer_edge.sources.opening import open_source
from dfer_edge.types import Box

CLIP = Path(__file__).parents[2] / "tests" / "assets" / "astronaut.mp4"
Ratio = Callable[..., float]


@pytest.fixture(scope="module")
def frames() -> list[Any]:
    return list(open_source(CLIP))


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer("slowr50_sa", engine="onnxruntime", detector="haar", threads=1)


def test_decoding(ratio: Ratio) -> None:
    """Against OpenCV's loop with the colour conversion that everyone needs."""

    def plain() -> None:
        capture = cv2.VideoCapture(str(CLIP))
        while (read := capture.read())[0]:
            cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)

    assert ratio(lambda: [frame.index for frame in open_source(CLIP)], plain) <= 1.3


def test_following(frames: list[Any], ratio: Ratio) -> None:
    """Following, with landmarks and searches, against a search in every frame."""
    detector = make_detector("haar")
    finder = FaceFinder(detector, make_laying_detector("auto", 1))
    every = lambda: [detector.detect(frame.image) for frame in frames]  # noqa: E731
    assert ratio(lambda: list(FaceFollower(finder).track(frames)), every) <= 0.35


def test_preprocessing(frames: list[Any], recognizer: Recognizer, ratio: Ratio) -> None:
    """Eight crops to the network's input, against OpenCV and numpy."""
    spec, images, box = recognizer.spec, [frame.image for frame in frames[:8]], Box(60, 40, 200, 180)
    region = preprocess.square(box, spec.face_margin)
    rows, columns = slice(int(region.top), int(region.bottom)), slice(int(region.left), int(region.right))

    def ours() -> Any:
        return preprocess.normalise(np.stack([preprocess.face_crop(image, box, spec) for image in images]), spec)

    def plain() -> Any:
        size = (spec.size, spec.size)
        crops = np.stack([cv2.resize(i[rows, columns], size, interpolation=cv2.INTER_AREA) for i in images])
        pixels = (crops.astype(np.float32) / 255 - np.float32(spec.mean)) / np.float32(spec.std)
        return np.ascontiguousarray(pixels.transpose(3, 0, 1, 2))

    assert np.abs(ours() - plain()).mean() < 0.2, "they compute the same thing"
    assert ratio(ours, plain) <= 1.0


def test_landmarks(frames: list[Any], ratio: Ratio) -> None:
    """Crop, network and way back, against the network alone."""
    detector: Any = make_laying_detector("auto", 1)
    session = detector._session
    (given,) = session.get_inputs()
    shape = [side if isinstance(side, int) else 1 for side in given.shape]
    feed = {given.name: np.random.default_rng(0).random(shape, np.float32)}
    image, box = frames[0].image, Box(80, 40, 190, 170)
    assert ratio(lambda: detector.detect(image, box), lambda: session.run(None, feed)) <= 1.8


def test_postprocessing(recognizer: Recognizer, ratio: Ratio) -> None:
    """Logits to a prediction, against one run of the engine: a hundredth at most."""
    logits, box = np.random.default_rng(0).standard_normal((1, 7)), Box(0, 0, 1, 1)
    feed = {"clip": np.random.default_rng(0).standard_normal((1, *recognizer.spec.input_shape), np.float32)}

    def ours() -> Any:
        weights = {"name": "default", "sha256": ""}
        return to_prediction(softmax(logits)[0], recognizer.spec.labels, tuple(range(8)), box, {}, weights)

    assert ratio(ours, lambda: recognizer._engine.infer(feed)) <= 0.01


def test_predicting(frames: list[Any], recognizer: Recognizer, ratio: Ratio) -> None:
    """Everything on eight crops that are given, against the engine alone."""
    images = [np.ascontiguousarray(frame.image) for frame in frames[::6]][:8]
    feed = {"clip": np.random.default_rng(0).standard_normal((1, *recognizer.spec.input_shape), np.float32)}
    predict = lambda: recognizer.predict(images, faces="cropped")  # noqa: E731
    assert ratio(predict, lambda: recognizer._engine.infer(feed)) <= 1.2
