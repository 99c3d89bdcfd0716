"""Action units move what FACS says they move; recipes and curves keep their promises."""

from __future__ import annotations

import numpy as np
import pytest

from dfer_edge.labels import DFEW
from dfer_edge.synthesis import CLASSES, FaceRenderer
from dfer_edge.synthesis.action_units import ACTION_UNITS, AU_INDEX, SHAPES, shape_matrix, shape_weights
from dfer_edge.synthesis.animation import NEUTRAL_LABEL, perform
from dfer_edge.synthesis.creases import GROUPS, LEFT, RIGHT, gains
from dfer_edge.synthesis.recipes import DISTRACTORS, RECIPES, SHIFTS

TIMES = np.arange(90) / 30
LEFT_CORNER, RIGHT_CORNER, CHIN, UPPER_LIP, LOWER_LIP = 54, 48, 8, 62, 66
LEFT_LIDS, RIGHT_LIDS = ((43, 47), (44, 46)), ((37, 41), (38, 40))


def _units(unit: int, left: float = 1.0, right: float = 1.0) -> np.ndarray:
    units = np.zeros((1, len(ACTION_UNITS), 2), np.float32)
    units[0, AU_INDEX[unit]] = left, right
    return units


def _move(renderer: FaceRenderer, units: np.ndarray) -> np.ndarray:
    """What landmarks do, cm: [68, 3]."""
    model = renderer.model
    weights = shape_weights(units, shape_matrix(model.shape_names), model.shape_names)
    return np.tensordot(weights[0], model.expression[:, model.landmarks], axes=1)


def _opening(renderer: FaceRenderer, units: np.ndarray, lids) -> float:
    rest = renderer.model.neutral[renderer.model.landmarks]
    points = rest + _move(renderer, units)
    return float(np.mean([points[upper, 1] - points[lower, 1] for upper, lower in lids]))


def test_the_label_order_is_the_products() -> None:
    assert (*DFEW, "contempt") == CLASSES
    assert CLASSES[NEUTRAL_LABEL] == "neutral"
    assert len(RECIPES) == len(CLASSES)


def test_every_unit_has_shapes_and_every_recipe_known_units(ict: FaceRenderer) -> None:
    matrix = shape_matrix(ict.model.shape_names).reshape(len(ACTION_UNITS), 2, -1)
    for unit in ACTION_UNITS:
        assert (matrix[AU_INDEX[unit]] > 0).any(axis=1).all(), f"AU{unit} moves nothing"
    assert set(SHAPES) == set(ACTION_UNITS)
    assert set(SHIFTS) <= set(ict.model.shape_names)
    for variants in RECIPES:
        for variant in variants:
            assert {*variant.units, *variant.optional} <= set(ACTION_UNITS)
            assert all(0 <= low <= high <= 1.4 for low, high in variant.units.values())
            assert all(0 < p <= 1 and 0 <= low <= high <= 1.3 for p, low, high in variant.optional.values())
    assert set(DISTRACTORS) <= set(ACTION_UNITS)


def test_lip_corners_rise_with_12_and_fall_with_15(ict: FaceRenderer) -> None:
    smile, frown = _move(ict, _units(12)), _move(ict, _units(15))
    for corner, outward in ((LEFT_CORNER, 1), (RIGHT_CORNER, -1)):
        assert smile[corner, 1] > 0.3
        assert smile[corner, 0] * outward > 0.2
        assert frown[corner, 1] < -0.15


def test_brows(ict: FaceRenderer) -> None:
    inner, outer, down = _move(ict, _units(1)), _move(ict, _units(2)), _move(ict, _units(4))
    assert inner[[21, 22], 1].min() > 0.2
    assert inner[[21, 22], 1].min() > 2 * inner[[17, 26], 1].max()
    assert outer[[18, 25], 1].min() > 0.2
    assert down[[20, 21, 22, 23], 1].max() < -0.2


def test_lids(ict: FaceRenderer) -> None:
    rest = np.zeros((1, len(ACTION_UNITS), 2), np.float32)
    for lids in (LEFT_LIDS, RIGHT_LIDS):
        open_ = _opening(ict, rest, lids)
        assert _opening(ict, _units(43), lids) < 0.25 * open_
        assert _opening(ict, _units(5), lids) > 1.15 * open_
        assert _opening(ict, _units(7), lids) < 0.9 * open_


def test_a_closed_lid_wins_over_a_wide_one(ict: FaceRenderer) -> None:
    both = _units(43) + _units(5)
    assert _opening(ict, both, LEFT_LIDS) == pytest.approx(_opening(ict, _units(43), LEFT_LIDS), abs=1e-4)


def test_jaw_and_lips(ict: FaceRenderer) -> None:
    assert _move(ict, _units(26))[CHIN, 1] < -1.5
    assert _move(ict, _units(10))[UPPER_LIP, 1] > 0.2
    assert _move(ict, _units(16))[LOWER_LIP, 1] < -0.2
    pucker = _move(ict, _units(18))
    assert pucker[LEFT_CORNER, 0] < -0.3 < 0.3 < pucker[RIGHT_CORNER, 0]
    stretch = _move(ict, _units(20))
    assert stretch[LEFT_CORNER, 0] > 0.2 > -0.2 > stretch[RIGHT_CORNER, 0]


@pytest.mark.parametrize("unit", [2, 4, 6, 7, 12, 15])
def test_one_side_moves_alone(ict: FaceRenderer, unit: int) -> None:
    left = _move(ict, _units(unit, 1.0, 0.0))
    sides = {1: [*range(22, 27), *range(42, 48), 54], -1: [*range(17, 22), *range(36, 42), 48]}
    assert np.abs(left[sides[1]]).max() > 4 * np.abs(left[sides[-1]]).max()


def test_folds_follow_their_units_and_sides() -> None:
    names = list(GROUPS)
    deep = gains(_units(12, 1.0, 0.0), 1.0, 0.0)[0]
    assert deep[names.index(("nasolabial", LEFT))] > 0.7
    assert deep[names.index(("nasolabial", RIGHT))] == 0
    assert gains(_units(4), 1.0, 0.0)[0, names.index(("glabella", LEFT))] > 1
    assert not gains(np.zeros((1, len(ACTION_UNITS), 2)), 1.0, 0.0).any()
    assert (gains(np.zeros((1, len(ACTION_UNITS), 2)), 1.0, 1.0) > 0).all(), "age engraves all of them"


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_curves_of_every_class(label: int) -> None:
    for seed in range(20):
        acted = perform(np.random.default_rng(seed), label, TIMES)
        for array in (acted.intensity, acted.units, acted.gaze, acted.head):
            assert np.isfinite(array).all()
            assert len(array) == len(TIMES)
        assert 0 <= acted.intensity.min() <= acted.intensity.max() <= 1
        assert 0 <= acted.units.min() <= acted.units.max() <= 1.3
        if label == NEUTRAL_LABEL:
            assert not acted.intensity.any()
        else:
            assert acted.intensity.max() > 0.15


def test_onset_takes_a_fraction_of_a_second() -> None:
    rises = []
    for seed in range(200):
        curve = perform(np.random.default_rng(seed), 0, np.arange(300) / 100).intensity
        peak = curve.max()
        if curve[0] < 0.05 * peak and curve[-1] > 0.99 * peak:
            rises.append((np.argmax(curve > 0.99 * peak) - np.argmax(curve > 0.01 * peak)) / 100)
    assert len(rises) > 20
    assert min(rises) > 0.1
    assert max(rises) < 0.75


def test_blinks_come_some_fifteen_to_twenty_a_minute() -> None:
    minutes, closings = 0.0, 0
    for seed in range(60):
        times = np.arange(600) / 30
        lid = perform(np.random.default_rng(seed), 4, times).units[:, AU_INDEX[43]].mean(axis=1)
        closings += int(((lid[1:] > 0.8) & (lid[:-1] <= 0.8)).sum())
        minutes += 20 / 60
    assert 10 < closings / minutes < 25


def test_units_are_asynchronous_and_sides_differ() -> None:
    acted = perform(np.random.default_rng(3), 4, TIMES)
    brows, jaw = acted.units[:, AU_INDEX[1]].mean(axis=1), acted.units[:, AU_INDEX[26]].mean(axis=1)
    assert np.corrcoef(brows, jaw)[0, 1] < 0.999
    assert np.abs(acted.units[..., 0] - acted.units[..., 1]).max() > 0.01


def test_contempt_is_one_sided() -> None:
    ratios = []
    for seed in range(40):
        sides = perform(np.random.default_rng(seed), CLASSES.index("contempt"), np.zeros(1)).units[0, AU_INDEX[14]]
        ratios.append(sides.min() / max(sides.max(), 1e-6))
    assert np.median(ratios) < 0.5


def test_hard_pairs_differ_in_what_tells_them_apart() -> None:
    def mean(name: str, unit: int) -> float:
        label = CLASSES.index(name)
        draws = [
            perform(np.random.default_rng(seed), label, np.zeros(1)).units[0, AU_INDEX[unit]].mean()
            for seed in range(200)
        ]
        return float(np.mean(draws))

    assert mean("angry", 4) > mean("disgust", 4) + 0.4
    assert mean("disgust", 9) > mean("angry", 9) + 0.3
    assert mean("happy", 12) > mean("surprise", 12) + 0.4
    assert mean("surprise", 2) > mean("happy", 2) + 0.3
    assert mean("sad", 1) > mean("angry", 1) + 0.3
    assert mean("fear", 20) > mean("surprise", 20) + 0.2
    assert mean("angry", 4) > mean("neutral", 4) + 0.5


def test_stills_are_near_the_apex() -> None:
    for label in (0, 1, 3):
        drawn = [perform(np.random.default_rng(seed), label, np.zeros(1)).intensity[0] for seed in range(50)]
        assert min(drawn) >= 0.15
        assert np.median(drawn) > 0.45
