"""What is published beside the suite's own files: parity, agreement of two runs, parts of an int8 file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.publish import __main__ as publish
from bench.publish import speed_page
from dfer_edge.bench.report.results import read
from tests.bench.rows import some, write


def test_labels_that_are_all_one_agree_on_nothing() -> None:
    row = {"second": "openvino/bf16", "samples": 64, "max_abs": 1e-3, "top1_agreement": 1.0}
    exact = {**row, "second": "openvino/fp32", "max_abs": 1e-6, "labels_seen": 1}
    for seen, shown in ((1, "-"), (3, "100.0% of 64")):
        document = {"parity_against_torch_fp32": [exact, row | {"labels_seen": seen}]}
        assert speed_page._parity(document, "openvino/bf16") == ("1e-06", shown)


def test_two_runs_leave_evidence(tmp_path: Path) -> None:
    first = read(write(tmp_path / "a.jsonl", some()))
    slower = some()
    slower[2].ratio_p50 = 0.25 * 1.2
    second = read(write(tmp_path / "b.jsonl", slower[:3], cases=[row.id for row in slower]))
    found = publish.agreement(first, second)
    assert found["median_factor_by_kind"] == {"engine": pytest.approx(1.1)}
    assert found["largest_difference"]["id"] == slower[2].id
    assert found["largest_difference"]["factor"] == pytest.approx(1.2)
    assert found["minutes"] == [first.minutes, second.minutes]
    assert str(tmp_path) not in json.dumps(found), "no path of one machine"
    assert len(found["problems"]) == 1, "the video was to run"
    (tmp_path / "agreement.json").write_text(json.dumps(found))
    text = speed_page.agreement(tmp_path / "agreement.json")
    assert "median factor 1.100 over 2 cases" in text
    assert "1.20 times, of `engine/slowr50_sa/openvino/bf16/b1`. **1 problems.**" in text
    assert speed_page.agreement(tmp_path / "none.json") == ""


def test_parts_of_an_int8_file_keep_their_provenance() -> None:
    pytest.importorskip("torch")
    from bench.studies.int8 import merged

    first = merged({}, {"accuracy_against_fp32": 1}, {"command": "a"}, "accuracy")
    both = merged(first, {"int8_speed": 2}, {"command": "b"}, "speed")
    assert both["provenance_of"] == {"accuracy": {"command": "a"}, "speed": {"command": "b"}}
    assert (both["accuracy_against_fp32"], both["provenance"]) == (1, {"command": "b"})
    assert set(merged({}, {}, {"command": "c"}, "all")["provenance_of"]) == {"accuracy", "speed"}
