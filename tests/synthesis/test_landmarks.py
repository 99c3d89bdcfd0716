"""Landmarks lie on the drawn face, and where an independent network sees them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from dfer_edge.faces.aligned import face_frame
from dfer_edge.synthesis import ClipSettings, FaceRenderer
from dfer_edge.synthesis.animation import NEUTRAL_LABEL
from dfer_edge.synthesis.scene import HEAD_CENTRE_CM, project, rotations, to_pixels, view_of
from tests.synthesis.plates import MATTE, person, plate, render

FRONTAL = ClipSettings(frames=1, size=224, pose_spread=0.0, degrade=0.0)


@pytest.mark.parametrize("head", [(0.0, 0.0, 0.0), (0.5, -0.2, 0.1), (-0.3, 0.3, -0.2)])
def test_a_plate_on_a_landmark_is_drawn_where_the_label_says(
    ict: FaceRenderer, head: tuple[float, float, float]
) -> None:
    model, size = ict.model, 100
    rotation = rotations(np.array([head]))
    points = model.neutral[model.landmarks]
    planes = project(points[None], rotation, 80.0)
    affine = view_of(planes, size, 4.0, np.zeros(2))
    labels = to_pixels(planes, affine)[0]
    surfaces = MATTE.copy()
    surfaces[:, 3] = 1.0
    for (x, y, z), label in zip(points, labels, strict=True):
        scene = person(plate((x - 0.3, x + 0.3), (y - 0.3, y + 0.3), z))
        view = {"rotation": rotation[0], "centre": HEAD_CENTRE_CM, "distance": 80.0, "affine": 2 * affine[0]}
        cover = render(scene, size=size, ambient=1.0, surfaces=surfaces, **view)[..., 3]
        rows, columns = np.mgrid[:size, :size]
        drawn = (columns * cover).sum() / cover.sum(), (rows * cover).sum() / cover.sum()
        assert np.hypot(*(drawn - label)) < 0.25


def test_the_view_frames_the_face(ict: FaceRenderer) -> None:
    planes = project(ict.model.neutral[ict.model.landmarks][None], rotations(np.zeros((1, 3))), 90.0)
    pixels = to_pixels(planes, view_of(planes, 120, 3.0, np.zeros(2)))[0]
    centre, s = face_frame(pixels)
    np.testing.assert_allclose(centre, 59.5, atol=0.01)
    assert s == pytest.approx(40, rel=1e-4)


def test_left_and_right_are_ibugs(ict: FaceRenderer) -> None:
    marks = ict.clip((3, 0), NEUTRAL_LABEL, FRONTAL).landmarks[0]
    assert marks[0, 0] < marks[8, 0] < marks[16, 0], "the jaw runs from the image's left to its right"
    assert marks[36:42, 0].mean() < marks[27, 0] < marks[42:48, 0].mean()
    assert marks[48, 0] < marks[54, 0]
    assert marks[19, 1] < marks[37, 1] < marks[33, 1] < marks[51, 1] < marks[57, 1] < marks[8, 1]


def test_the_head_turns_the_way_its_pose_says(ict: FaceRenderer) -> None:
    rest = ict.model.neutral[ict.model.landmarks][None]
    straight, turned, nodded, leaned = (
        project(rest, rotations(np.array([pose])), 90.0)[0]
        for pose in ((0, 0, 0), (0.4, 0, 0), (0, 0.4, 0), (0, 0, 0.3))
    )
    assert turned[30, 0] > straight[30, 0] + 2, "positive yaw takes the nose to the image's right"
    assert nodded[30, 1] < straight[30, 1] - 2, "positive pitch takes it down (y is up in the image plane)"
    assert leaned[8, 0] > straight[8, 0] + 1, "positive roll turns counter-clockwise: the chin goes to the right"


def test_an_independent_network_sees_the_same_points(ict: FaceRenderer, media: Path) -> None:
    """The 68 points of face-api on frontal neutral renders: median error in shares of the distance of the eyes."""
    network = media / "onnx" / "face_landmark68_faceapi.onnx"
    if not network.is_file():
        pytest.skip(f"no landmark network at {network}")
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    name, errors = session.get_inputs()[0].name, []
    for index in range(24):
        clip = ict.clip((11, index), NEUTRAL_LABEL, FRONTAL)
        marks = clip.landmarks[0]
        low, high = marks.min(axis=0), marks.max(axis=0)
        side = 1.15 * (high - low).max()
        corner = (low + high - side) / 2 - (0, 0.03 * side)
        crop = cv2.warpAffine(
            clip.frames[0],
            np.float64([[112 / side, 0, -corner[0] * 112 / side], [0, 112 / side, -corner[1] * 112 / side]]),
            (112, 112),
        )
        shape = session.get_inputs()[0].shape
        fed = crop.astype(np.float32)[None]
        fed = fed.transpose(0, 3, 1, 2) if shape[1] == 3 else fed
        seen = session.run(None, {name: np.ascontiguousarray(fed)})[0].reshape(68, 2) * side + corner
        apart = np.linalg.norm(marks[36:42].mean(axis=0) - marks[42:48].mean(axis=0))
        errors.append(np.linalg.norm(seen - marks, axis=1) / apart)
    errors = np.array(errors)
    assert np.median(errors) < 0.09, f"two public networks differ by 5 to 9 %; here {np.median(errors):.3f}"
    inner = errors[:, 36:68]
    assert np.median(inner) < 0.08, f"{np.median(inner):.3f}"
