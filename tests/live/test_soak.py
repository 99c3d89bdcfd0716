"""Streams leave nothing behind: the soak, shortened. The hour is `python -m bench.studies.soak`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bench.studies.soak import Held, growth, is_flat, soak
from dfer_edge import Recognizer

HELD = [Held(60.0 * k, 100_000_000, 80_000_000, 9, 20) for k in range(1, 13)]


def test_growth_is_told_from_noise_and_from_warm_up() -> None:
    assert is_flat(growth(HELD))
    warming = [
        dataclasses.replace(HELD[0], resident=10_000_000, anonymous=9_000_000, threads=1, descriptors=3),
        *HELD[1:],
    ]
    assert is_flat(growth(warming)), "the first sixth does not count"
    for name, slope in (("resident", 300_000), ("anonymous", 300_000), ("threads", 1), ("descriptors", 1)):
        leaking = [dataclasses.replace(h, **{name: getattr(h, name) + k * slope}) for k, h in enumerate(HELD)]
        assert not is_flat(growth(leaking)), name


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_minutes_of_streams_hold_no_more_than_the_first(astronaut: Path) -> None:
    recognizer = Recognizer("slowr50_sa", engine="onnxruntime", precision="fp32", threads=1)
    grown = growth(soak(recognizer, astronaut, 18, share=0.1))
    assert is_flat(grown), grown
