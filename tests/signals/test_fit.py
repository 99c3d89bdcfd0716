"""The morphable face fitted to landmarks: against faces whose units are known."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import numpy as np
import pytest

from dfer_edge.errors import CorruptArtifact
from dfer_edge.faces.aligned import face_frame
from dfer_edge.signals import Identity, fit, load_basis
from dfer_edge.synthesis import load_face_model
from dfer_edge.synthesis.action_units import ACTION_UNITS, AU_INDEX, shape_matrix, shape_weights

BASIS = load_basis()
# The function of the same name hides it.
fit_module = importlib.import_module("dfer_edge.signals.fit")


def turn(yaw: float, pitch: float, roll: float) -> np.ndarray:
    (cy, sy), (cp, sp), (cr, sr) = ((math.cos(a), math.sin(a)) for a in (yaw, pitch, roll))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def shown(rng: np.random.Generator, shape: np.ndarray, noise: float, turned: float = 1.0) -> np.ndarray:
    """Points [P, 2] in pixels of a shape [P, 3] in units of s, by a perspective camera nine s away."""
    angles = turned * rng.uniform((-0.35, -0.2, -0.17), (0.35, 0.2, 0.17))
    x = shape @ turn(*angles).T
    flat = x[:, :2] * (9 / (9 - x[:, 2:])) + rng.normal(0, noise, (len(x), 2))
    return flat * rng.uniform(20, 80) * [1, -1] + rng.uniform(0, 300, 2)


def face(rng: np.random.Generator, units: dict[str, float], noise: float = 0.0, turned: float = 1.0) -> np.ndarray:
    """Points [68, 2] of a face of the shipped shapes; those that are not fitted are NaN."""
    shape = BASIS.mean + np.tensordot(rng.standard_normal(len(BASIS.identity)), BASIS.identity, 1)
    for name, value in units.items():
        shape = shape + value * BASIS.units[BASIS.names.index(name)]
    points = np.full((68, 2), np.nan)
    points[BASIS.points] = shown(rng, shape, noise, turned)
    return points


def test_the_shipped_shapes() -> None:
    assert BASIS.reported == tuple(f"AU{unit}" for unit in (1, 2, 4, 5, 6, 9, 10, 12, 17, 20, 26, 43))
    points = np.zeros((68, 2))
    points[BASIS.points] = BASIS.mean[:, :2]
    centre, scale = face_frame(points)
    np.testing.assert_allclose((*centre, scale), (0, 0, 1), atol=0.01)
    # Raised brows go up, a smile pulls the corner of the mouth (54: the subject's left) out and up, a jaw falls.
    place = {number: position for position, number in enumerate(BASIS.points.tolist())}
    moves = dict(zip(BASIS.names, BASIS.units, strict=True))
    assert moves["AU1"][place[22], 1] > 0.05
    assert (moves["AU12"][place[54], :2] > 0.05).all()
    assert moves["AU26"][place[8], 1] < -0.3
    assert moves["AU43"][place[44], 1] < -0.05


@pytest.mark.parametrize("name", BASIS.reported)
def test_one_unit_alone_is_found_and_no_other_is_taken_for_it(name: str, rng: np.random.Generator) -> None:
    found = np.mean([fit(face(rng, {name: 1.0})[None], BASIS, Identity.unknown(BASIS))[0] for _ in range(12)], 0)
    rest = np.mean([fit(face(rng, {})[None], BASIS, Identity.unknown(BASIS))[0] for _ in range(12)], 0)
    change = found - rest
    position = BASIS.names.index(name)
    assert change[position] > 0.3
    assert change[position] == change.max()


def test_pose_place_and_size_change_nothing_much(rng: np.random.Generator) -> None:
    found = [
        fit(face(np.random.default_rng(3), {"AU12": 0.8}, 0, t)[None], BASIS, Identity.unknown(BASIS)) for t in (0, 1)
    ]
    position = BASIS.names.index("AU12")
    assert abs(found[0][0, position] - found[1][0, position]) < 0.15
    points = face(rng, {"AU26": 0.5})[None]
    exact = fit(points, BASIS, Identity.unknown(BASIS))
    np.testing.assert_allclose(fit(points * 3 + 100, BASIS, Identity.unknown(BASIS)), exact, atol=1e-6)


def test_units_are_never_negative_and_frames_teach_the_identity(rng: np.random.Generator) -> None:
    frames = np.stack([face(rng, {}, 0.02) for _ in range(8)])
    identity = Identity.unknown(BASIS)
    assert not identity.mode.any()
    assert (fit(frames, BASIS, identity) >= 0).all()
    assert identity.frames == 8
    assert (np.linalg.eigvalsh(identity.precision) >= 1 - 1e-9).all()
    assert identity.mode.any()


def test_least_squares_with_no_negative_unit(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The conditions of Karush, Kuhn and Tucker, by pivoting and by what mends a cycle."""
    roots = rng.normal(0, 1, (40, 30, 14))
    square, side = roots.transpose(0, 2, 1) @ roots + np.eye(14), rng.normal(0, 1, (40, 14))
    for exchanges, tolerance in ((12, 1e-8), (1, 0.1)):
        monkeypatch.setattr(fit_module, "_EXCHANGES", exchanges)
        found = fit_module._at_least_zero(square, side)
        slope = side - (square @ found[..., None])[..., 0]
        assert (found >= 0).all()
        assert (slope < tolerance).all()
        assert np.abs(slope[found > 0]).max() < tolerance
        assert 0.2 < (found > 0).mean() < 0.8


def test_a_broken_file_says_so(tmp_path: Path) -> None:
    for content in (None, b"", b"PK\x03\x04 not a zip"):
        path = tmp_path / "basis.npz"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CorruptArtifact, match="expected the shapes of action units"):
            load_basis.__wrapped__(path)
    np.savez(
        path,
        points=[1, 2],
        mean=np.zeros((2, 3)),
        names=["AU1"],
        units=np.zeros((2, 2, 3)),
        identity=np.zeros((1, 2, 3)),
    )
    with pytest.raises(CorruptArtifact, match="do not fit together"):
        load_basis.__wrapped__(path)


# Correlation of fitted and true intensity over single faces of people that the shipped shapes do not hold whole (all
# 100 identity modes), random units, poses and landmark noise of 2 % of s.
LEAST = {4: 0.8, 9: 0.6, 10: 0.55, 12: 0.8, 20: 0.6, 26: 0.85, 43: 0.5, 1: 0.4, 2: 0.4, 6: 0.35, 5: 0.3, 17: 0.3}


def test_units_of_the_whole_mesh(media: Path) -> None:
    model = load_face_model(media / "face_model" / "ict_face_light.npz")
    rng = np.random.default_rng(11)
    neutral = model.neutral[model.landmarks].astype(np.float64)
    identity = model.identity.reshape(len(model.identity), -1, 3)[:, model.landmarks]
    shapes, matrix = model.expression[:, model.landmarks], shape_matrix(model.shape_names)
    scale = float(face_frame(neutral[:, :2])[1])
    true, found = [], []
    for _ in range(240):
        units = np.where(rng.random(len(ACTION_UNITS)) < 0.2, rng.uniform(0.3, 1.0, len(ACTION_UNITS)), 0.0)
        for silent in (11, 14, 16, 18, 23, 24, 25, 28, 63, 64):
            units[AU_INDEX[silent]] *= 0.3
        weights = shape_weights(np.repeat(units[None, :, None], 2, 2), matrix, model.shape_names)[0]
        mesh = (
            neutral + np.tensordot(rng.standard_normal(len(identity)), identity, 1) + np.tensordot(weights, shapes, 1)
        )
        points = shown(rng, (mesh - neutral.mean(0)) / scale, 0.02)
        true.append(units)
        found.append(fit(points[None], BASIS, Identity.unknown(BASIS))[0])
    for unit, least in LEAST.items():
        own = np.array(found)[:, BASIS.names.index(f"AU{unit}")]
        assert np.corrcoef(own, np.array(true)[:, AU_INDEX[unit]])[0, 1] > least, f"AU{unit}"
