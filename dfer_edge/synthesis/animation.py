"""Expression over time: unit curves with onset, apex and offset, blinks, speech, gaze and head motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfer_edge.synthesis.action_units import ACTION_UNITS, AU_INDEX
from dfer_edge.synthesis.recipes import DISTRACTOR_LIMIT, DISTRACTORS, NEUTRAL, RECIPES, SHIFTS, Variant

NEUTRAL_LABEL = RECIPES.index(NEUTRAL)
_SPEECH_UNITS = (26, 22, 18, 23, 28, 10, 16, 25)
_BLINKS_PER_MINUTE = (12.0, 24.0)


@dataclass(frozen=True)
class Performance:
    """What a face does in a clip.

    Attributes
    ----------
    label
        Index into ``recipes.CLASSES``.
    intensity
        float32 [T]: share of the apex that the expression has reached times its strength, 0 to 1; 0 for neutral.
    units
        float32 [T, n_AU, 2]: AU intensities of the left and right side.
    shifts
        float32 [T, 5]: weights of ``recipes.SHIFTS``.
    gaze
        float32 [T, 2]: yaw and pitch of the eyes in the head, rad, positive to the subject's left and up.
    head
        float32 [T, 3]: yaw, pitch, roll of the head, rad; positive pitch is down.
    """

    label: int
    intensity: np.ndarray
    units: np.ndarray
    shifts: np.ndarray
    gaze: np.ndarray
    head: np.ndarray


def smooth_step(x: np.ndarray) -> np.ndarray:
    """0 before 0, 1 after 1, without a corner."""
    x = np.clip(x, 0.0, 1.0)
    return np.asarray(x * x * (3.0 - 2.0 * x))


def drift(rng: np.random.Generator, times_s: np.ndarray, period_s: float) -> np.ndarray:
    """A smooth random curve of unit variance whose wanderings last about ``period_s``; float [T]."""
    waves = rng.normal(size=(2, 5))
    rates = 2.0 * np.pi / (period_s * np.array([0.6, 0.85, 1.3, 1.9, 2.9]))
    angles = times_s[:, None] * rates
    curve: np.ndarray = (np.sin(angles) @ waves[0] + np.cos(angles) @ waves[1]) / np.sqrt(5.0)
    return curve


def drawn(rng: np.random.Generator, share: float) -> bool:
    """True in ``share`` of cases. Nothing is drawn for 0, so that sets without it stay as they were."""
    return share > 0.0 and bool(rng.random() < share)


def uneven(rng: np.random.Generator, times_s: np.ndarray) -> np.ndarray:
    """The same clip's length in uneven steps: unsteady exposures, and now and then frames that were lost; float [T]."""
    steps = np.exp(rng.normal(0.0, 0.25, len(times_s)))
    lost = rng.random(len(times_s)) < 0.1
    steps[lost] += rng.integers(1, 5, int(lost.sum()))
    passed = np.cumsum(steps) - steps[0]
    return np.asarray(times_s[0] + passed * (times_s[-1] - times_s[0]) / max(passed[-1], 1e-9))


def _pick(rng: np.random.Generator, label: int) -> Variant:
    variants = RECIPES[label]
    weights = np.array([variant.weight for variant in variants])
    return variants[int(rng.choice(len(variants), p=weights / weights.sum()))]


def _apex(rng: np.random.Generator, variant: Variant, strength: float) -> dict[int, float]:
    units = {unit: rng.uniform(*limits) * strength for unit, limits in variant.units.items()}
    for unit, (probability, low, high) in variant.optional.items():
        if rng.random() < probability:
            units[unit] = max(units.get(unit, 0.0), rng.uniform(low, high) * strength)
    return units


def _strength(rng: np.random.Generator) -> float:
    """How much of an expression is shown at its apex: posed faces show nearly all, people in talk a part."""
    return float(rng.uniform(0.2, 0.7)) if rng.random() < 0.4 else float(rng.beta(2.6, 1.1) * 0.6 + 0.4)


def _envelope(rng: np.random.Generator, times_s: np.ndarray, still: bool) -> np.ndarray:
    """Onset 0.2 to 0.7 s, an apex, and an offset when the clip lasts; a still falls near the apex."""
    duration = float(times_s[-1] - times_s[0])
    if still or duration <= 0.0:
        return np.full(len(times_s), rng.uniform(0.85, 1.0))
    onset, offset = rng.uniform(0.2, 0.7), rng.uniform(0.35, 1.1)
    # A third of clips begin at the apex: trimmed videos often do.
    start = rng.uniform(-onset - 0.4, -onset) if rng.random() < 0.35 else rng.uniform(0.0, 0.35) * duration
    end = start + onset + rng.uniform(0.5, 1.4) * duration
    return _rise_and_fall(times_s, start, onset, end, offset)


def _brief_envelope(rng: np.random.Generator, times_s: np.ndarray) -> np.ndarray:
    """Rest, then 0.25 to 1.5 s from onset to offset, at most half of the clip, anywhere in it; then rest."""
    duration = float(times_s[-1] - times_s[0])
    shown = min(float(rng.uniform(0.25, 1.5)), duration / 2)
    onset, offset = shown * rng.uniform(0.2, 0.35), shown * rng.uniform(0.25, 0.45)
    start = times_s[0] + rng.uniform(0.0, duration - shown)
    return _rise_and_fall(times_s, start, onset, start + shown - offset, offset)


def _rise_and_fall(times_s: np.ndarray, start: float, onset: float, end: float, offset: float) -> np.ndarray:
    rise = smooth_step((times_s - start) / onset)
    fall = 1.0 - smooth_step((times_s - end) / offset)
    return np.asarray(rise * fall)


def _unit_curves(
    rng: np.random.Generator, apex: dict[int, float], variant: Variant, times_s: np.ndarray, envelope: np.ndarray
) -> np.ndarray:
    curves = np.zeros((len(times_s), len(ACTION_UNITS), 2), np.float64)
    side_of_all = int(rng.integers(2))
    for unit, value in apex.items():
        lag = rng.normal(0.0, 0.07)
        curve = np.interp(times_s - lag, times_s, envelope) if len(times_s) > 1 else envelope
        wobble = 1.0 + 0.06 * drift(rng, times_s, 1.2)
        sides = value * np.exp(rng.normal(0.0, 0.12) * np.array([1.0, -1.0]))
        if variant.one_sided:
            sides[side_of_all] *= rng.uniform(0.0, 0.25)
        elif rng.random() < 0.05:
            sides[rng.integers(2)] *= rng.uniform(0.2, 0.8)
        curves[:, AU_INDEX[unit]] += (curve * wobble)[:, None] * sides
    return curves


def _distract(rng: np.random.Generator, times_s: np.ndarray, curves: np.ndarray) -> None:
    for _ in range(int(rng.poisson(1.2))):
        level = rng.uniform(0.0, DISTRACTOR_LIMIT) * np.clip(0.75 + 0.35 * drift(rng, times_s, 2.5), 0.0, 1.3)
        curves[:, AU_INDEX[int(rng.choice(DISTRACTORS))]] += level[:, None]
    if rng.random() < 0.3:  # heavy lids
        curves[:, AU_INDEX[43]] += rng.uniform(0.0, 0.25)


def _speak(rng: np.random.Generator, times_s: np.ndarray, curves: np.ndarray, amount: float) -> None:
    for unit in _SPEECH_UNITS:
        if unit != 26 and rng.random() < 0.35:
            continue
        share = 0.3 if unit == 26 else rng.uniform(0.1, 0.45)
        curve = np.clip(0.35 + 0.8 * drift(rng, times_s, rng.uniform(0.16, 0.4)), 0.0, 1.4)
        curves[:, AU_INDEX[unit]] += (amount * share * curve)[:, None]


def _blink(rng: np.random.Generator, times_s: np.ndarray, curves: np.ndarray) -> None:
    rate = rng.uniform(*_BLINKS_PER_MINUTE) / 60.0
    at = times_s[0] - 0.3 + rng.exponential(1.0 / rate)
    while at < times_s[-1]:
        down, up = rng.uniform(0.06, 0.1), rng.uniform(0.12, 0.22)
        lid = np.minimum(smooth_step((times_s - at) / down), 1.0 - smooth_step((times_s - at - down - 0.03) / up))
        curves[:, AU_INDEX[43]] = np.maximum(curves[:, AU_INDEX[43]], rng.uniform(0.85, 1.0) * lid[:, None])
        at += rng.exponential(1.0 / rate) + 0.3


def _look(rng: np.random.Generator, times_s: np.ndarray) -> np.ndarray:
    centre = rng.normal(0.0, (0.05, 0.04) if rng.random() < 0.5 else (0.18, 0.1), size=2)
    gaze = np.tile(centre, (len(times_s), 1))
    at = times_s[0] + rng.exponential(1.2)
    while at < times_s[-1]:  # saccades last some 40 ms
        gaze += smooth_step((times_s - at) / 0.04)[:, None] * rng.normal(0.0, (0.08, 0.05))
        at += rng.exponential(1.2) + 0.2
    return np.clip(gaze, (-0.5, -0.4), (0.5, 0.3))


def _turn_head(rng: np.random.Generator, times_s: np.ndarray, spread: float) -> np.ndarray:
    base = rng.normal((0.0, 0.02, 0.0), (0.3 * spread, 0.15 * spread, 0.07 * spread))
    if rng.random() < 0.08 * spread:
        base[0] = rng.choice((-1.0, 1.0)) * rng.uniform(0.5, 1.1)
    head = np.tile(base, (len(times_s), 1))
    if len(times_s) > 1:
        liveliness = rng.gamma(1.6, 0.6) * spread
        for axis, (size, period) in enumerate(((0.06, 2.2), (0.045, 1.8), (0.03, 2.5))):
            curve = drift(rng, times_s, period * rng.uniform(0.6, 1.6))
            head[:, axis] += liveliness * size * (curve - curve.mean())
    return head


def perform(
    rng: np.random.Generator, label: int, times_s: np.ndarray, pose_spread: float = 1.0, brief: bool = False
) -> Performance:
    """Draw what a face does.

    Parameters
    ----------
    label
        Index into ``recipes.CLASSES``.
    times_s
        float [T], rising; one time is a still near the apex.
    pose_spread
        1 gives head yaw a standard deviation of 0.3 rad; 0 looks straight ahead.
    brief
        At rest but for a moment; of stills and neutral clips nothing changes.
    """
    neutral = label == NEUTRAL_LABEL
    variant = _pick(rng, label)
    strength = 1.0 if neutral else _strength(rng)
    still = len(times_s) == 1 or neutral
    envelope = _brief_envelope(rng, times_s) if brief and not still else _envelope(rng, times_s, still)
    # Weak expressions stay legible: intensity 0.2 still has two fifths of the recipe's lowest values.
    apex = _apex(rng, variant, 1.0 if neutral else 0.2 + 0.95 * strength)
    curves = _unit_curves(rng, apex, variant, times_s, envelope)
    _distract(rng, times_s, curves)
    if variant.speech > 0.0 or rng.random() < 0.12:
        _speak(rng, times_s, curves, variant.speech or rng.uniform(0.2, 0.6))
    if len(times_s) > 1:
        _blink(rng, times_s, curves)
    elif rng.random() < 0.04:
        curves[:, AU_INDEX[43]] = np.maximum(curves[:, AU_INDEX[43]], rng.uniform(0.3, 1.0))
    gaze = _look(rng, times_s)
    head = _turn_head(rng, times_s, pose_spread)
    if rng.random() < variant.head_down:
        gaze[:, 1] -= rng.uniform(0.1, 0.4) * envelope
        head[:, 1] += rng.uniform(0.05, 0.35) * envelope * pose_spread
    if rng.random() < variant.gaze_away:
        aside = rng.choice((-1.0, 1.0)) * rng.uniform(0.1, 0.4) * envelope
        gaze[:, 0] -= 0.5 * aside
        head[:, 0] += aside * pose_spread
    # Lids follow the eyes.
    down, up = AU_INDEX[64], AU_INDEX[63]
    gaze[:, 1] -= 0.3 * curves[:, down].mean(axis=1)
    curves[:, down] = np.maximum(curves[:, down], np.clip(-2.2 * gaze[:, 1], 0.0, 1.0)[:, None])
    curves[:, up] = np.maximum(curves[:, up], np.clip(2.0 * gaze[:, 1], 0.0, 1.0)[:, None])
    shifts = np.zeros((len(times_s), len(SHIFTS)))
    if rng.random() < 0.15:
        shifts[:, rng.integers(len(SHIFTS))] = rng.uniform(0.0, 0.25)
    intensity = np.zeros(len(times_s)) if neutral else np.clip(strength * envelope, 0.0, 1.0)
    narrow = [
        np.ascontiguousarray(array, np.float32) for array in (intensity, np.clip(curves, 0.0, 1.3), shifts, gaze, head)
    ]
    return Performance(label, *narrow)
