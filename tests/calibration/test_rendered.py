from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dfer_edge.calibration import from_folder
from dfer_edge.calibration import rendered as rendered_module
from dfer_edge.calibration.rendered import SEED, render
from dfer_edge.errors import CalibrationError, InvalidInput, SourceNotFound
from dfer_edge.synthesis import SyntheticClips, write_clips
from dfer_edge.types import Box, Detection
from tests.calibration import tiny
from tests.synthesis import fake_model

# Another order than the renderer's, another word for one class, and one that cannot be rendered.
SPEC = dataclasses.replace(tiny.SPEC, labels=("sadness", "boredom", "happy"))


class Everywhere:
    """A detector that finds one face in the middle of every frame, but none in dark ones."""

    name = "everywhere"

    def __init__(self, least: float = 0.0) -> None:
        self._least = least

    def detect(self, image: np.ndarray) -> list[Detection]:
        side = len(image)
        box = Box(0.2 * side, 0.2 * side, 0.8 * side, 0.8 * side)
        return [Detection(box, 1.0)] if image.mean() >= self._least else []


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = fake_model.write(tmp_path / "fake.npz")
    monkeypatch.setenv("DFER_EDGE_FACE_MODEL", str(path))
    monkeypatch.setattr(rendered_module, "_FRAMES", 2)
    monkeypatch.setattr(rendered_module, "_SIZE", 32)
    return path


def test_a_rendered_set_gives_clips_with_their_classes(model: Path, tmp_path: Path) -> None:
    drawn = SyntheticClips(9, seed=3, frames=2, size=32, classes=("happy", "sad", "fear"), model=model)
    write_clips(drawn, tmp_path / "set")
    clips = from_folder(tmp_path / "set", SPEC, 5, Everywhere())
    names = [drawn[index].label_name for index in range(9)]
    expected = [{"sad": 0, "happy": 2}[name] for name in names if name != "fear"][:5]
    assert clips.truth == expected
    assert all("fear" in reason for reason in clips.skipped.values())
    assert clips.skipped
    used, held = clips.split(2)
    assert (used.truth, held.truth) == (expected[::2], expected[1::2])
    assert next(iter(clips))["clip"].shape == (1, *tiny.CLIP)


def test_without_a_face_there_is_no_clip(model: Path, tmp_path: Path) -> None:
    write_clips(SyntheticClips(3, frames=2, size=32, model=model), tmp_path / "set")
    with pytest.raises(CalibrationError, match="expected faces of sadness, boredom, happy"):
        from_folder(tmp_path / "set", SPEC, 3, Everywhere(256.0))


def test_rendering_for_calibration_is_always_the_same(model: Path) -> None:
    first, again = (render(SPEC, 4, Everywhere()) for _ in range(2))
    assert first.digests() == again.digests()
    assert set(first.truth or []) == {0, 2}
    drawn = SyntheticClips(4, SEED, 2, 32, classes=("happy", "sad"), model=model)
    assert first.truth == [{"sad": 0, "happy": 2}[drawn[index].label_name] for index in range(4)]


def test_what_cannot_be_rendered(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="network of expressions"):
        render(dataclasses.replace(SPEC, labels=("low", "high")), 4, Everywhere())
    monkeypatch.delenv("DFER_EDGE_FACE_MODEL")
    with pytest.raises(SourceNotFound):
        render(SPEC, 4, Everywhere())


def test_a_class_out_of_range_is_refused() -> None:
    from dfer_edge.calibration import ClipSet
    from dfer_edge.types import Clip

    clips, frames = ClipSet(tiny.SPEC), np.zeros((4, 12, 12, 3), np.uint8)
    with pytest.raises(InvalidInput, match="class from 0 to 2, got 3"):
        clips.add(Clip(frames, (), Box(0, 0, 12, 12)), 3)
    assert clips.add(Clip(frames, (), Box(0, 0, 12, 12)))
    assert clips.add(Clip(frames + 1, (), Box(0, 0, 12, 12)), 1)
    assert clips.truth is None, "one clip has no class"
