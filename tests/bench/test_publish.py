"""What is published beside the suite's own files: parity, agreement of two runs, parts of an int8 file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.publish import __main__ as publish
from bench.publish import shipped, speed_page
from dfer_edge.bench.report.results import Row, read
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


def lines_of(path: Path, minutes: float, command: str) -> list[dict]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    found[0]["provenance"]["command"] = command
    found[-1]["minutes"] = minutes
    return found


def test_rows_measured_anew_take_the_places_of_the_old(tmp_path: Path) -> None:
    old = lines_of(write(tmp_path / "old.jsonl", some()), 9.0, "dfer-edge bench --out x")
    faster = some()[:2]
    faster[1].ratio_p50 = 0.125
    run = lines_of(write(tmp_path / "a.jsonl", faster), 1.0, "dfer-edge bench --only a --out away/x")
    other = lines_of(write(tmp_path / "b.jsonl", faster[:1]), 0.5, "dfer-edge bench --only b --out away/y")
    found = shipped.merged(old, [run, other])
    assert [line["id"] for line in found if line["kind"] == "row"] == [row.id for row in some()]
    assert next(line for line in found if line.get("id") == faster[1].id)["ratio_p50"] == 0.125
    assert found[0]["provenance"]["command"] == "dfer-edge bench --only a; dfer-edge bench --only b"
    assert (found[-1]["kind"], found[-1]["minutes"]) == ("end", 1.5)
    with pytest.raises(ValueError, match="one device"):
        shipped.publish([tmp_path / "a.jsonl"], tmp_path)


def test_bars_stand_beside_what_was_measured() -> None:
    def glass(case: str, beside: float, cost: float, **more: float) -> tuple[str, Row]:
        extra = {"beside_engine_ms": {"p99": beside}, "processor_ms_a_frame": cost, **more}
        return case, Row(f"glass/x/{case}", extra=extra)

    rows = [glass("openvino/bf16/f1", 5.5, 4), glass("openvino/int8/f1", 4, 4), glass("torch/fp32/f1", 40, 50)]
    rows += [glass("openvino/bf16/f6", 9, 12), glass("openvino/int8/f6", 9, 10)]
    rows += [glass("openvino/bf16/deadline50", 9, 12, kept=0.991)]
    one, deadline, six = speed_page.bars(dict(rows))
    assert one.endswith("| **openvino/bf16 5.5**, openvino/int8 4.0 |")
    assert deadline.endswith("| openvino/bf16/deadline50 99.10% |")
    assert six.endswith("| **openvino/bf16 3.00**, openvino/int8 2.50 |")
    assert speed_page.bars({}) == ["", "", ""]
