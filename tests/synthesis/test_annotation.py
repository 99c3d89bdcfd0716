"""Landmarks of renders lie where people put them: the jaw on the visible outline, the bridge from eyes to tip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfer_edge.synthesis import load_face_model
from dfer_edge.synthesis.annotation import JAW, annotate, make_outline
from dfer_edge.synthesis.face_model import FaceModel
from dfer_edge.synthesis.scene import project, rotations


@pytest.fixture(scope="module")
def model(media: Path) -> FaceModel:
    return load_face_model(media / "face_model" / "ict_face_light.npz")


def seen(model: FaceModel, head: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Points [68, 2] and all vertices [V, 2] in the image plane, y up."""
    outline = make_outline(model)
    rotation = rotations(np.array([head]))
    planes = project(model.neutral[None], rotation, 90.0)
    return annotate(planes[:, outline.vertices], rotation, outline.outward)[0], planes[0]


def test_all_others_are_the_published_vertices(model: FaceModel) -> None:
    points, plane = seen(model, (0.3, 0.1, -0.1))
    same = [*range(17, 27), *range(31, 68)]
    np.testing.assert_array_equal(points[same], plane[model.landmarks[same]])


def test_the_bridge_runs_from_the_eyes_to_the_end_of_the_tip(model: FaceModel) -> None:
    points, plane = seen(model, (0.0, 0.0, 0.0))
    bridge, tip, base = points[27:31], plane[model.landmarks[30]], points[33]
    assert abs(bridge[0, 1] - points[36:48, 1].mean()) < 0.3, "it begins at the level of the eyes"
    assert base[1] + 0.4 < bridge[3, 1] < tip[1] - 0.4
    np.testing.assert_allclose(np.diff(bridge[:, 1]), np.diff(bridge[:, 1]).mean(), rtol=0.02)


def test_the_lower_jaw_is_evenly_spread(model: FaceModel) -> None:
    points, _ = seen(model, (0.2, 0.0, 0.0))
    for side in (slice(4, 9), slice(8, 13)):
        steps = np.linalg.norm(np.diff(points[side], axis=0), axis=1)
        assert steps.max() < 1.1 * steps.min()


def test_the_jaw_is_the_outline_of_a_frontal_face(model: FaceModel) -> None:
    points, plane = seen(model, (0.0, 0.0, 0.0))
    jaw, fixed = points[JAW], plane[model.landmarks[JAW]]
    outward = fixed - (0, -1)
    assert (((jaw - fixed) * outward).sum(1) > -1e-6).all(), "never further in than the published vertex"
    assert jaw[8, 1] < fixed[8, 1] - 0.2, "the chin ends lower than the front of the chin"
    assert np.abs(jaw[::-1] * (-1, 1) - jaw).max() < 0.4, "both sides alike"
    assert np.linalg.norm(np.diff(jaw, axis=0), axis=1).min() > 0.8, "in order, none twice"


@pytest.mark.parametrize("side", [1, -1])
def test_the_far_side_of_a_turned_head_shows_its_outline(model: FaceModel, side: int) -> None:
    points, plane = seen(model, (side * 0.8, 0.0, 0.0))
    far = slice(13, 16) if side > 0 else slice(1, 4)  # between eye and mouth, where nothing else sticks out
    fixed = plane[model.landmarks[far]]
    assert (side * (points[far] - fixed)[:, 0] > 0.8).all(), "published vertices are hidden behind the cheek"
    skin = plane[np.flatnonzero(model.skin)[:9409]]
    for x, y in points[far]:
        edge = (side * skin[np.abs(skin[:, 1] - y) < 0.25, 0]).max()
        assert edge - side * x < 0.35
