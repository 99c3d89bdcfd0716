"""Sampling."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfer_edge import CorruptArtifact, InvalidInput
from dfer_edge.flow.clips import look, positions, towards_apex, uniform_in_time, uniform_indices
from dfer_edge.spec import ModelSpec


def test_centres_of_segments() -> None:
    # 72 frames in 8 segments of 9: the middle one of each.
    assert uniform_indices(72, 8) == [4, 13, 22, 31, 40, 49, 58, 67]
    assert uniform_indices(8, 8) == list(range(8))


def test_short_clips_repeat() -> None:
    assert uniform_indices(1, 8) == [0] * 8
    assert uniform_indices(3, 8) == [0, 0, 0, 1, 1, 2, 2, 2]


def test_nothing_to_sample() -> None:
    with pytest.raises(InvalidInput):
        uniform_indices(0, 8)


@given(st.integers(1, 500), st.integers(1, 64))
def test_ascending_and_within(length: int, count: int) -> None:
    positions = uniform_indices(length, count)
    assert positions == sorted(positions)
    assert positions[0] >= 0
    assert positions[-1] < length


@given(st.integers(2, 300), st.integers(1, 32), st.sampled_from([1 / 30, 1 / 25, 1 / 23.976, 0.08]))
def test_constant_rate_in_time_is_uniform_in_index(length: int, count: int, step: float) -> None:
    # Time stamps as decoders give them: milliseconds, rounded.
    times = [round(index * step, 5) for index in range(length)]
    assert uniform_in_time(times, count) == uniform_indices(length, count)


def test_variable_rate_samples_what_is_on_screen() -> None:
    # One second at 10 a second, then one frame that stays for four seconds.
    times = [index / 10 for index in range(10)] + [1.0, 4.9]
    assert uniform_in_time(times, 5) == [5, 10, 10, 10, 10]


SPEC = ModelSpec("slowr50", ("a", "b"), frames=4, size=8, mean=(0.5,) * 3, std=(0.5,) * 3)


def test_strided_is_the_middle_of_the_clip() -> None:
    """DMVR's central window: max(0, (length - frames * stride) // 2) and on."""
    spec = dataclasses.replace(SPEC, sampling="strided", stride=3)
    assert positions(20, spec) == [4, 7, 10, 13]
    assert positions(12, spec) == [0, 3, 6, 9]
    assert positions(13, spec) == [0, 3, 6, 9]


def test_a_short_clip_at_a_stride_is_played_again() -> None:
    """CK+ at the paper's 25 frames and stride 2: of 18 frames none is more than twice as frequent as another."""
    spec = dataclasses.replace(SPEC, sampling="strided", stride=2, frames=25)
    drawn = positions(18, spec)
    assert drawn[:11] == [0, 2, 4, 6, 8, 10, 12, 14, 16, 0, 2]
    assert max(drawn.count(p) for p in drawn) == 3
    assert positions(1, spec) == [0] * 25


def test_pairs_are_neighbours_at_the_centres() -> None:
    """Former-DFER's test indices: tick = (length - 1) / segments, int(tick / 2 + tick * segment)."""
    spec = dataclasses.replace(SPEC, sampling="pairs", frames=16)
    drawn = positions(81, spec)
    assert drawn[::2] == [5, 15, 25, 35, 45, 55, 65, 75]
    assert drawn[1::2] == [p + 1 for p in drawn[::2]]
    assert positions(1, spec) == [0] * 16
    assert all(0 <= p < 5 for p in positions(5, spec))


def test_random_is_drawn_once_for_a_length() -> None:
    spec = dataclasses.replace(SPEC, sampling="random")
    drawn = positions(50, spec)
    assert drawn == positions(50, spec) == sorted(set(drawn))
    assert drawn != positions(51, spec)
    assert len(positions(2, spec)) == 4


def face(smile: float = 0.0, noise: int = 0) -> np.ndarray:
    """A crop [64, 64, 3] with a mouth that widens."""
    crop = np.full((64, 64, 3), 150, np.uint8)
    crop[20:26, 14:24] = crop[20:26, 40:50] = 40
    half = round(6 + 14 * smile)
    crop[46:50, 32 - half : 32 + half] = 30
    return np.clip(crop + np.random.default_rng(noise).integers(-3, 4, crop.shape), 0, 255).astype(np.uint8)


def clip_of(smiles: list[float]) -> list[np.ndarray]:
    return [look(face(smile, number)) for number, smile in enumerate(smiles)]


@pytest.mark.parametrize("apex", [11, 24, 35, 52, 92])
def test_half_a_second_is_read_wherever_it_is(apex: int) -> None:
    smiles = [0.0] * 100
    smiles[apex - 5 : apex + 6] = [0.3, 0.6, 1, 1, 1, 1, 1, 1, 1, 0.6, 0.3]
    base = uniform_indices(100, 8)
    chosen = towards_apex(base, clip_of(smiles))
    assert max(smiles[position] for position in chosen[1::2]) == 1.0
    assert chosen == sorted(set(chosen))
    assert chosen[::2] == base[::2], "every second one stays"


def test_what_lasts_wins_over_a_single_frame() -> None:
    smiles = [0.0] * 100
    smiles[20] = 1.0
    smiles[23:30] = [0.7] * 7
    chosen = towards_apex(uniform_indices(100, 8), clip_of(smiles))
    assert smiles[chosen[1]] == 0.7


def test_who_moves_all_the_time_has_no_apex() -> None:
    smiles = [abs(number % 12 - 6) / 6 for number in range(100)]
    smiles[40:46] = [1.0] * 6
    assert towards_apex(uniform_indices(100, 8), clip_of(smiles)) == uniform_indices(100, 8)


def test_frames_that_are_alike_stay_at_the_centres() -> None:
    same = [look(face())] * 50
    assert towards_apex(uniform_indices(50, 8), same) == uniform_indices(50, 8)
    assert towards_apex([0, 0, 0, 1, 1, 1], clip_of([0.0, 1.0])) == [0, 0, 0, 1, 1, 1]
    assert towards_apex([0] * 4, clip_of([0.5])) == [0] * 4


def test_a_look_is_of_shape_not_of_light() -> None:
    bright = np.clip(face().astype(int) + 40, 0, 255).astype(np.uint8)
    assert np.abs(look(face()) - look(bright)).mean() < 0.02 < np.abs(look(face()) - look(face(1.0))).mean()
    assert np.isfinite(look(np.zeros((8, 8, 3), np.uint8))).all()


def test_a_rule_that_there_is_not() -> None:
    with pytest.raises(InvalidInput, match="expected sampling out of uniform, apex, strided"):
        positions(5, dataclasses.replace(SPEC, sampling="every other"))
    with pytest.raises(CorruptArtifact, match="sampling is none of"):
        ModelSpec.from_json(dataclasses.replace(SPEC, sampling="every other").to_json())


def test_defaults_of_later_fields_are_not_written() -> None:
    """Hashes of weights hold the text: what was written before these fields stays valid."""
    text = SPEC.to_json()
    assert not {"face_box", "crop_share", "stride", "pixels"} & set(json.loads(text))
    changed = dataclasses.replace(SPEC, crop_share=0.875, stride=2, pixels="lbp", sampling="strided")
    assert ModelSpec.from_json(changed.to_json()) == changed
    assert ModelSpec.from_json(text) == SPEC
