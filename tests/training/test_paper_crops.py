"""The crops that papers 001 and 002 print: levelled by an affine map, from brows to lower lip, without lost faces."""

from __future__ import annotations

import dataclasses

import numpy as np

from dfer_edge.faces.geometry import roll
from dfer_edge.inference import registry
from dfer_edge.inference.keypoint_graph import mean_shape
from dfer_edge.training.data.samples import Choose, LostFace, Sample, without_lost
from dfer_edge.training.data.shards import ArrayClips
from dfer_edge.training.loader import Reader
from dfer_edge.training.table import find_recipe
from dfer_edge.types import Box
from tests.training.tiny import tiny_clips


def test_crops_of_paper_002_reach_from_the_brows_to_the_lower_lip() -> None:
    """The square around a face laid by landmarks, in validation and in training, whatever the frame around it."""
    recipe = find_recipe("paper", "agfer")
    spec = recipe.crops(dataclasses.replace(registry.find("agfer").spec, size=100))
    points = (mean_shape() * 200 + (300, 150)).astype(np.float32)
    sample = Sample([np.zeros((500, 800, 3), np.uint8)], 0, points[None])
    reader = Reader(tiny_clips(), spec, recipe.stages[0])
    for arrays in (reader._fixed(sample), reader._augmented(sample, np.random.default_rng(0))):
        seen = arrays["landmarks"][0]
        brows, lip = float(seen[17:27, 1].min()), float(seen[57, 1])
        assert 3 < brows < 20
        assert 80 < lip < 97
        assert float(seen[17:68, 0].min()) > 0
        assert float(seen[17:68, 0].max()) < 100


def test_levelled_crops_of_paper_001_turn_in_training_as_in_validation() -> None:
    recipe = find_recipe("paper", "smate")
    spec = recipe.crops(dataclasses.replace(registry.find("smate").spec, size=96, frames=2))
    assert spec.level
    turn = np.deg2rad(25)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = ((mean_shape() - 0.5) @ matrix * 200 + 250).astype(np.float32)
    sample = Sample([np.zeros((500, 500, 3), np.uint8)] * 2, 0, np.stack([points] * 2))
    reader = Reader(tiny_clips(), spec, dataclasses.replace(recipe.stages[0], mixed=()))
    for arrays in (reader._fixed(sample), reader._augmented(sample, np.random.default_rng(0))):
        for seen in arrays["landmarks"]:
            assert abs(roll(seen)) < 0.01
    # A frame whose points are unknown stays upright.
    lost = dataclasses.replace(sample, landmarks=np.full((2, 68, 2), np.nan, np.float32), boxes=[Box(9, 9, 90, 90)] * 2)
    assert np.isfinite(reader._augmented(lost, np.random.default_rng(0))["clip"]).all()


def test_clips_without_a_face_leave_the_training_set() -> None:
    class Blind(ArrayClips):
        def read(self, index: int, choose: Choose) -> Sample:
            if index % 3 == 0:
                raise LostFace("expected a face")
            return super().read(index, choose)

    whole = tiny_clips()
    blind = Blind("blind", whole.labels, whole._parts)
    kept = without_lost(blind)
    assert [int(i) for i in kept.indices] == [i for i in range(24) if i % 3]
    assert len(kept.missing) == 8
    assert "expected a face" in kept.missing["blind[0]"]
