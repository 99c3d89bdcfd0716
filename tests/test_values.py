"""Results as values: short repr, equality and hash that do not raise, tables, HTML."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

import numpy as np
import pytest

from dfer_edge import EngineUnavailable, _values
from dfer_edge.types import Box, Clip, FaceTrack, Frame, Observation, Prediction, Signals, Timeline, TrackedFace

BOX = Box(1, 2, 3, 4)
LABELS = ("angry", "<happy>", "sad")


def prediction(happy: float = 0.9, signals: Signals | None = None) -> Prediction:
    p = np.asarray([(1 - happy) / 4, happy, (1 - happy) * 3 / 4], np.float32)
    weights = {"name": "default", "sha256": "0" * 64}
    return Prediction(
        "<happy>", happy, LABELS, p, tuple(range(200)), Box(1, 2, 3, 4), {"total": 12.3}, weights, signals
    )


def timeline(signals: Signals | None = None) -> Timeline:
    windows = tuple(
        Observation(
            second + 1.0, 25 * second, 0, Box(1, 2, 3, 4), prediction(0.5 + second / 100, signals), float(second)
        )
        for second in range(30)
    )
    track = FaceTrack(0, np.arange(750, dtype=np.int32), np.zeros((750, 4), np.float32))
    return Timeline(prediction(), 0, windows, (track,), 750, 30.0)


def test_repr_is_one_short_line_with_what_one_looks_for() -> None:
    assert repr(prediction()) == "Prediction(<happy> 0.90, sad 0.08, angry 0.03; weights default)"
    assert repr(dataclasses.replace(prediction(), label="unknown")).startswith("Prediction(unknown; <happy> 0.90")
    assert repr(timeline()) == "Timeline(30.0 s, 750 frames, 30 windows; person 0 of 1: <happy> 0.90)"
    nobody = dataclasses.replace(timeline().observations[0], track_id=-1, event="lost")
    assert repr(timeline().observations[3]) == "Observation(4.00 s, person 0: <happy> 0.53)"
    assert repr(nobody) == "Observation(1.00 s, no face, lost)"
    frame = Frame(np.zeros((360, 640, 3), np.uint8), 3, 0.12)
    assert repr(frame) == "Frame(image=uint8[360, 640, 3], index=3, time_s=0.12)"


def test_equal_by_content_and_hashable() -> None:
    for make in (prediction, timeline):
        assert make() == make()
        assert hash(make()) == hash(make())
        assert len({make(), make()}) == 1
    assert prediction(0.9) != prediction(0.8)
    assert prediction() != "happy"
    other = dataclasses.replace(prediction(), timings_ms=MappingProxyType({"total": 12.3}))
    assert other == prediction()
    points = np.full((68, 2), np.nan, np.float32)
    assert TrackedFace(0, Box(0, 0, 1, 1), points) == TrackedFace(0, Box(0, 0, 1, 1), points.copy())
    assert TrackedFace(0, Box(0, 0, 1, 1), points) != TrackedFace(0, Box(0, 0, 1, 1))
    crops = np.zeros((2, 4, 4, 3), np.uint8)
    assert Clip(crops, (0, 1), Box(0, 0, 1, 1)) != Clip(crops.astype(np.float32), (0, 1), Box(0, 0, 1, 1))
    assert Signals({"AU1": 0.5}, 0.5, 0, 0, 3) == Signals({"AU1": 0.5}, 0.5, 0, 0, 3)
    hash(Signals({"AU1": 0.5}, 0.5, 0, 0, 3))


def test_minus_zero_is_zero_in_the_hash_too() -> None:
    a, b = (TrackedFace(0, Box(0, 0, 1, 1), np.full((68, 2), zero, np.float32)) for zero in (0.0, -0.0))
    assert a == b
    assert hash(a) == hash(b)


def test_table_has_a_row_a_window() -> None:
    columns, rows = timeline().table()
    assert columns == [
        *["start_s", "end_s", "track_id", "label", "confidence", "left", "top", "right", "bottom", "weights"],
        *LABELS,
    ]
    assert len(rows) == 30
    assert rows[2][:5] == [2.0, 3.0, 0, "<happy>", 0.52]
    assert rows[2][-3:] == pytest.approx([0.12, 0.52, 0.36])


def test_table_has_signals_where_there_are_some() -> None:
    signals = Signals({"AU1": 0.25, "AU12": 1.0}, 0.5, -0.5, 0.75, 3)
    seen = timeline(signals)
    bare = dataclasses.replace(seen.observations[1], prediction=prediction())
    columns, rows = dataclasses.replace(seen, observations=(seen.observations[0], bare)).table()
    assert columns[-5:] == ["intensity", "valence", "arousal", "AU1", "AU12"]
    assert rows[0][-5:] == [0.5, -0.5, 0.75, 0.25, 1.0]
    assert rows[1][-5:] == [None] * 5


def test_pandas() -> None:
    pytest.importorskip("pandas")
    frame = timeline().to_pandas()
    assert frame.shape == (30, 13)
    assert frame["<happy>"].iloc[29] == pytest.approx(0.79)
    one = prediction().to_pandas()
    assert one.loc[0, "label"] == "<happy>"
    assert one[list(LABELS)].to_numpy().sum() == pytest.approx(1)


def test_without_pandas_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(EngineUnavailable, match="pandas") as raised:
        timeline().to_pandas()
    assert "dfer-edge[pandas]" in raised.value.hint


def test_html_is_escaped_and_bounded() -> None:
    html = timeline()._repr_html_()
    assert "<happy>" not in html
    assert html.count("&lt;happy&gt;") == 1 + _values._MOST_ROWS
    assert "and 10 more" in html
    assert "<happy>" not in prediction()._repr_html_()
    assert "width:9.00em" in prediction()._repr_html_()
