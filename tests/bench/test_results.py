"""The results file: complete, interrupted, killed, foreign; comparison and its exit codes; page and figures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge.bench.report import plots, results, table
from dfer_edge.bench.report.compare import compare
from dfer_edge.bench.report.results import UNAVAILABLE, Row, Writer, read
from dfer_edge.cli.main import main
from dfer_edge.errors import CorruptArtifact, InvalidInput, SourceNotFound
from tests.bench.rows import PROVENANCE, some, system, write


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = some()
    found = read(write(tmp_path / "a.jsonl", rows))
    assert list(found.rows.values()) == rows
    assert (found.complete, found.reason) == (True, "")
    assert found.provenance == PROVENANCE
    assert found.peaks["flops"]["bf16"] == 8e11


def test_each_line_is_complete_in_itself(tmp_path: Path) -> None:
    for line in write(tmp_path / "a.jsonl", some()).read_text().splitlines():
        entry = json.loads(line)
        assert entry["schema"] == results.SCHEMA
        assert entry["kind"] == "end" or entry["provenance"] == PROVENANCE
        assert entry["kind"] != "row" or entry["command"] == f"dfer-edge bench --only {entry['id']}"


@pytest.mark.parametrize(
    ("error", "reason"), [(KeyboardInterrupt(), "interrupted"), (MemoryError("x"), "MemoryError: x")]
)
def test_an_interrupted_run_keeps_its_rows_and_says_so(tmp_path: Path, error: BaseException, reason: str) -> None:
    path = tmp_path / "a.jsonl"

    def run() -> None:
        with Writer(path, PROVENANCE, {}) as writer:
            writer.row(some()[0])
            raise error

    with pytest.raises(type(error)):
        run()
    found = read(path)
    assert (len(found.rows), found.complete, found.reason) == (1, False, reason)
    assert f"**Partial: {reason}.**" in table.markdown(found)


@pytest.mark.parametrize("cut", [1, 40])
def test_a_killed_run_is_partial(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "a.jsonl", some())
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]) + (lines[-2][:cut] if cut > 1 else ""))
    found = read(path)
    assert not found.complete
    assert "killed" in found.reason
    assert len(found.rows) == len(some()) - 1


@pytest.mark.parametrize("schema", ["dfer_edge.bench/2", None])
def test_another_schema_is_refused(tmp_path: Path, schema: str | None) -> None:
    path = write(tmp_path / "a.jsonl", some())
    lines = [json.loads(line) | {"schema": schema} for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(CorruptArtifact, match=f"expected schema dfer_edge.bench/1, got {schema!r}"):
        read(path)


@pytest.mark.parametrize("content", ["", "not json\n", "[1]\n", "\x00\xff"])
def test_no_results_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(CorruptArtifact):
        read(tmp_path / "a.jsonl")
    with pytest.raises(SourceNotFound):
        read(tmp_path / "none.jsonl")
    with pytest.raises(InvalidInput, match="folder"):
        Writer(tmp_path / "no" / "a.jsonl", {}, {})


def test_a_row_with_unknown_fields_of_a_newer_release_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", some())
    path.write_text(path.read_text().replace('"kind": "row"', '"kind": "row", "later": 1'))
    assert len(read(path).rows) == 4


# -- comparison -------------------------------------------------------------------------------------------------


def test_equal_runs_pass_whatever_the_machine_s_speed(tmp_path: Path) -> None:
    """Ratios are compared: twice the milliseconds everywhere is a slower machine, not slower code."""
    slow = some()
    for row in slow[:3]:
        row.latency_ms["p50"] *= 2
    first, second = read(write(tmp_path / "a", some())), read(write(tmp_path / "b", slow))
    found = compare(first, second)
    assert (found.problems, found.median) == ([], 1.0)
    assert {change.by for change in found.changes} == {"ratio", "p50"}
    assert len(found.changes) == 3, "the reference is not compared with itself"


def test_a_kernel_that_loses_ground_to_its_rival_is_slower(tmp_path: Path) -> None:
    def rival(ratio: float) -> Row:
        summary = {"min": ratio, "p50": ratio, "samples": 9}
        return Row("kernel/lbp/numpy", reference="kernel/lbp/ours", ratio_p50=ratio, latency_ms=summary)

    fast, slow = read(write(tmp_path / "a", [rival(30.0)])), read(write(tmp_path / "b", [rival(15.0)]))
    assert compare(fast, slow).median == pytest.approx(2)
    assert "takes 2.00 times as long" in compare(fast, slow).problems[1]
    assert compare(slow, fast).changes[0].factor == pytest.approx(0.5)


def test_another_form_of_ours_is_no_rival(tmp_path: Path) -> None:
    def form(ratio: float) -> Row:
        summary = {"min": ratio, "p50": ratio, "samples": 9}
        return Row("kernel/pool/ours, gated", reference="kernel/pool/ours", ratio_p50=ratio, latency_ms=summary)

    before, after = read(write(tmp_path / "a", [form(1.0)])), read(write(tmp_path / "b", [form(3.0)]))
    assert compare(before, after).changes[0].factor == pytest.approx(3), "slower, not faster"


def scenario(name: str, ms: float, samples_per_s: float, p99: float | None = None) -> Row:
    row = Row(f"scenario/agfer/{name}", scenario=name, samples_per_s=samples_per_s)
    row.latency_ms = {"min": ms, "p50": ms, "samples": 200} | ({"p99": p99} if p99 else {})
    return row


@pytest.mark.parametrize("name", ["Offline", "Server"])
def test_rates_are_compared_where_they_are_the_metric(tmp_path: Path, name: str) -> None:
    """Offline's median depends on how many samples were asked for, Server's on the rate that was found."""
    first = read(write(tmp_path / "a", [scenario(name, 500, 40)]))
    second = read(write(tmp_path / "b", [scenario(name, 50, 10)]))
    (change,) = compare(first, second).changes
    assert (change.factor, change.by) == (pytest.approx(4), "ms_per_sample")
    none = read(write(tmp_path / "c", [scenario(name, 50, 0)]))
    assert compare(first, none).problems == [f"scenario/agfer/{name} ran before: it serves no rate within the bound"]


def test_multi_stream_is_compared_by_p99(tmp_path: Path) -> None:
    first = read(write(tmp_path / "a", [scenario("MultiStream", 50, 8, p99=60)]))
    second = read(write(tmp_path / "b", [scenario("MultiStream", 50, 8, p99=90)]))
    few = read(write(tmp_path / "c", [scenario("MultiStream", 55, 8)]))
    assert compare(first, second).changes[0].factor == pytest.approx(1.5)
    assert compare(first, few).changes[0].by == "p50"


def test_what_was_to_run_and_is_missing_fails(tmp_path: Path) -> None:
    rows = some()
    first = read(write(tmp_path / "a", rows))
    cases = [row.id for row in rows]
    second = read(write(tmp_path / "b", rows[:2], cases=cases))
    assert [problem.split(" ran before")[0] for problem in compare(first, second).problems] == cases[2:]
    assert compare(first, read(write(tmp_path / "c", rows[:2], cases=cases[:2]))).problems == [], "not asked for"
    nothing = compare(first, read(write(tmp_path / "d", [], cases=cases)))
    assert (nothing.median, len(nothing.problems)) == (None, 4)


def test_a_case_that_fails_as_a_whole_is_lost_in_all_its_parts(tmp_path: Path) -> None:
    parts = [Row(f"kernel/lbp/{name}", latency_ms={"min": 1, "p50": 1, "samples": 9}) for name in ("ours", "numpy")]
    first = read(write(tmp_path / "a", parts))
    broken = read(write(tmp_path / "b", [Row("kernel/lbp", "failed", "boom")], cases=["kernel/lbp"]))
    assert list(compare(first, broken).lost.values()) == ["failed: boom"] * 2


def test_slower_engines_fail(tmp_path: Path) -> None:
    first, second = read(write(tmp_path / "a", some())), read(write(tmp_path / "b", some(1.3)))
    found = compare(first, second)
    assert found.median == pytest.approx(1.3)
    assert found.problems == ["the median factor is 1.300, allowed is 1.1 either way"]
    assert compare(first, second, tolerance=0.35).problems == []
    assert len(compare(first, second, 0.35, row_tolerance=0.2).problems) == 2


def test_what_stopped_working_fails(tmp_path: Path) -> None:
    after = some()
    after[2] = Row(after[2].id, UNAVAILABLE, "openvino is not installed")
    found = compare(read(write(tmp_path / "a", some())), read(write(tmp_path / "b", after)))
    assert found.problems == ["engine/slowr50_sa/openvino/bf16/b1 ran before: unavailable: openvino is not installed"]


def test_files_without_a_case_in_common(tmp_path: Path) -> None:
    other = [system("openvino", "fp32", 1, 1, network="smate")]
    with pytest.raises(InvalidInput, match="in common"):
        compare(read(write(tmp_path / "a", some())), read(write(tmp_path / "b", other)))


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = str(write(tmp_path / "a", some())), str(write(tmp_path / "b", some(1.3)))
    assert main(["bench", "compare", a, a]) == 0
    assert main(["bench", "compare", a, b]) == 1
    assert "PROBLEM: the median factor is 1.300" in capsys.readouterr().out
    assert main(["bench", "compare", a, b, "--json", "--tolerance", "0.5"]) == 0
    assert json.loads(capsys.readouterr().out)["median"] == pytest.approx(1.3)
    assert main(["bench", "compare", a, str(tmp_path / "none")]) == 1
    assert "found nothing at" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["bench", "compare", a])
    assert stop.value.code == 2


# -- page and figures -------------------------------------------------------------------------------------------


def test_accuracy_from_elsewhere_is_said_to_be(tmp_path: Path) -> None:
    row = system("openvino", "bf16", 25.0, 1.0, war=0.76)
    for source, says in (("evaluated in this run", "76.0% of 46 |"), ("stills.json, x", "76.0% of 46 (shipped) |")):
        row.accuracy["source"] = source
        found = read(write(tmp_path / source[:4], [row]))
        assert says in table.markdown(found)
        figure = plots.accuracy(found)
        assert figure is not None
        assert ("not measured here" in figure.get_suptitle()) == ("shipped" in says)


def test_the_page_shows_what_ran_and_what_did_not(tmp_path: Path) -> None:
    rows = [*some(), Row("engine/smate/tensorrt/fp16/b1", UNAVAILABLE, "tensorrt is not installed")]
    page = table.markdown(read(write(tmp_path / "a", rows)))
    assert "| `slowr50_sa` | openvino/bf16 | 1 | 25 |" in page
    assert "76.0% of 46 |" in page
    assert "- tensorrt is not installed: `engine/smate/tensorrt/fp16/b1`" in page
    assert "| fp32 | 200 GFLOP/s | onnxruntime fp32 1024 | 1.05: met |" in page
    assert "| copy | 30.0 GB/s | numpy | 1.5: NOT MET |" in page
    assert "Took 0 minutes." in page


def test_what_was_not_evaluated_says_so_in_the_table(tmp_path: Path) -> None:
    row = system("openvino", "int8", 10, 0.1)
    row.accuracy = {"not_evaluated": "no ranges", "same_label_as_fp32": 1.0}
    assert "| not evaluated: no ranges |" in table.markdown(read(write(tmp_path / "a", [row])))


def test_a_run_says_how_long_it_took(tmp_path: Path) -> None:
    path = write(tmp_path / "a", some())
    assert read(path).minutes == pytest.approx(0, abs=1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    del lines[-1]["minutes"]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert (read(path).complete, read(path).minutes) == (True, None), "of an earlier release"
    assert "Took" not in table.markdown(read(path))


def test_figures(tmp_path: Path) -> None:
    written = plots.write(read(write(tmp_path / "a", some())), tmp_path / "plots")
    assert [path.name for path in written] == ["latency.png", "accuracy.png", "roofline.png", "stages.png"]
    for path in written:
        image = cv2.imread(str(path))
        assert min(image.shape[:2]) > 150
        # Coloured marks on a white ground, not an empty sheet.
        colourful = np.ptp(image.astype(int), axis=2) > 60
        assert colourful.mean() > 5e-4, path


def test_figures_need_something_to_show(tmp_path: Path) -> None:
    assert plots.write(read(write(tmp_path / "a", [], peaks=False)), tmp_path / "plots") == []


def test_figures_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    plots.write(read(write(tmp_path / "a", some())), folder)
    plots.write(read(write(tmp_path / "b", some()[:3], peaks=False)), folder)
    assert sorted(path.name for path in folder.glob("*.png")) == ["accuracy.png", "latency.png"]


def test_report_writes_them_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "bench.jsonl", some())
    assert main(["bench", "report", str(path)]) == 0
    assert (tmp_path / "bench.md").read_text() in capsys.readouterr().out
    assert (tmp_path / "roofline.png").is_file()
