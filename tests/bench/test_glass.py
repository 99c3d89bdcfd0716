"""Glass to label as a bench case: the pictures that it makes, and what a row of it says."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from dfer_edge.bench.cases import live_latency
from dfer_edge.bench.cases.context import Context
from dfer_edge.bench.cases.live_latency import SIZE, crowd
from dfer_edge.bench.plan import SHIPPED, Plan
from dfer_edge.bench.report.results import Row
from dfer_edge.bench.report.table import section
from dfer_edge.faces import make_detector
from dfer_edge.sources.opening import open_source


@pytest.mark.parametrize("faces", [1, 4, 6])
def test_a_crowd_has_so_many_faces_and_none_in_another_s_place(faces: int, astronaut: Path) -> None:
    taken = [frame.image for frame in itertools.islice(open_source(astronaut), 6)]
    pictures = crowd(taken, faces)
    assert {picture.shape for picture in pictures} == {(*SIZE, 3)}
    found = make_detector().detect(pictures[3])
    assert len(found) == faces
    assert {(int(d.box.centre[1] // 180), int(d.box.centre[0] // 213)) for d in found} == {
        divmod(place, 3) for place in range(faces)
    }


@pytest.mark.parametrize("what", ["f2", "deadline5000"])
def test_a_row_says_age_engine_processor_and_queue(what: str, astronaut: Path) -> None:
    rows: list[Row] = []
    plan = Plan(threads=1, quick=True, rate=4, video=astronaut)
    live_latency.run(Context(plan, rows.append), f"glass/{SHIPPED}/onnxruntime/fp32/{what}")
    (row,) = rows
    assert row.ok, row.reason
    faces = row.config["faces"]
    assert (faces, row.extra["people_a_frame"]) == ((2, 2.0) if what == "f2" else (1, 1.0))
    for name in ("beside_engine_ms", "engine_ms"):
        assert 0 < row.extra[name]["p50"] < row.latency_ms["p50"]
    assert row.extra["deepest_queue"] <= 1
    assert row.extra["processor_ms_a_frame"] > 0
    assert row.extra.get("kept") == (None if what == "f2" else 1.0)
    shown = section("glass", [row])
    assert f"| onnxruntime/fp32 | {faces} | 0 |" in shown
    assert "detect " in shown
    assert "the rest " in shown
