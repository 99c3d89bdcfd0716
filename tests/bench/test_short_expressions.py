"""Clips of calm with a short expression: where it lies, how strong it gets, what is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.studies.real_people.samples import Sample
from bench.studies.short_expressions import PLACES, excursion, main, measured
from dfer_edge.errors import InvalidInput, NoFaceFound
from dfer_edge.labels import DFEW
from tests.evaluation.fakes import write_image


def levels(clip: list[Any]) -> list[int]:
    return [int(image[0, 0, 0]) for image in clip]


def images(count: int) -> list[Any]:
    return [np.full((4, 4, 3), 10 * number, np.uint8) for number in range(count)]


@pytest.mark.parametrize("place", PLACES)
def test_the_expression_lies_where_it_is_put_and_ends(place: float) -> None:
    seen = levels(excursion(images(6), 4.0, 0.5, place))
    assert len(seen) == 100
    shown = np.flatnonzero(seen)
    start = round(88 * place)
    assert start <= shown[0] < shown[-1] < start + 12
    assert len(shown) >= 10
    assert seen.count(50) == 4  # the apex, for a third of twelve frames
    inside = seen[start : start + 12]
    assert inside == inside[::-1], "back as it came"
    assert inside[:6] == sorted(inside[:6])


def test_what_cannot_be_laid_is_refused() -> None:
    for count, shown in ((1, 0.5), (5, 0.05), (5, 5.0)):
        with pytest.raises(InvalidInput, match="frames of expression"):
            excursion(images(count), 4.0, shown, 0.5)


class ByBrightness:
    """Names the expression if any frame is bright; no face in clips of darkness alone."""

    def __init__(self) -> None:
        self.spec = type("Spec", (), {"labels": DFEW})

    def clip(self, clip: list[Any]) -> Any:
        return type("Clip", (), {"frame_indices": tuple(range(2, len(clip), 5))})

    def predict(self, clip: list[Any]) -> Any:
        brightest = max(levels(clip))
        if brightest == 0 and len(clip) > 1:
            raise NoFaceFound("dark")
        scores = np.eye(len(DFEW))[DFEW.index("happy" if brightest > 15 else "neutral")]
        return type("P", (), {"label": DFEW[int(scores.argmax())], "probabilities": scores})


def test_clips_and_the_mean_of_their_frames_are_counted_by_length(tmp_path: Path) -> None:
    folder = tmp_path / "ckplus_seq640" / "happy" / "one"
    folder.mkdir(parents=True)
    for number in range(4):
        write_image(folder / f"{number}.png", 20 * number)
    samples = [Sample("g", "ckplus_seq640", "happy", folder)]
    found = measured(ByBrightness(), samples, 4.0, (0.5,))  # type: ignore[arg-type]
    assert found["0.5 s"] == {"clip": 1.0, "mean_of_frames": 0.0, "clips": 3}
    assert found["whole"] == {"clip": 1.0, "mean_of_frames": 1.0, "clips": 1}


def test_a_folder_without_sequences_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--any-size", "--precision", "fp32"]) == 2
    assert "error: expected" in capsys.readouterr().err
