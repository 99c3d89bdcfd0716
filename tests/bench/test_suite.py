"""Runs: the catalogue, gates, what is missing, what breaks on the way, and the command that repeats a row."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shlex
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfer_edge import engines
from dfer_edge.bench import suite
from dfer_edge.bench.cases import correctness as gate
from dfer_edge.bench.cases import networks, overhead
from dfer_edge.bench.cases.accuracy import Accuracy
from dfer_edge.bench.cases.systems import Network, Subject
from dfer_edge.bench.plan import SHIPPED, Plan, catalogue
from dfer_edge.bench.report.results import FAILED, OK, UNAVAILABLE, WRONG, Results, Row, read
from dfer_edge.cli.main import main, parser
from dfer_edge.engines import ENGINES
from dfer_edge.errors import CorruptArtifact, InvalidInput, PrecisionUnavailable
from dfer_edge.models import list_models
from dfer_edge.sources.opening import open_source
from dfer_edge.weights import file as weights

TINY = {"threads": 1, "quick": True, "samples": 3, "budget_s": 0.1}


def run(tmp_path: Path, *only: str, **options: Any) -> Results:
    plan = Plan(only=only, **{**TINY, **options})
    return suite.run(plan, tmp_path / "bench.jsonl", "dfer-edge bench")


def shipped_accuracy() -> float:
    """Of the default weights on the stills, counted anew from the probabilities in their evaluation."""
    file = files("dfer_edge") / "assets" / "weights" / "slowr50_sa.evaluation-stills.json"
    document = json.loads(file.read_text())
    guesses = [document["labels"][np.argmax(p["probabilities"]["openvino/fp32"])] for p in document["predictions"]]
    return float(np.mean([guess == p["label"] for guess, p in zip(guesses, document["predictions"], strict=True)]))


# -- the catalogue ----------------------------------------------------------------------------------------------


def test_every_network_engine_and_operation_has_a_case() -> None:
    names = catalogue(Plan(threads=1))
    assert len(names) == len(set(names))
    for model in list_models():
        for engine in ENGINES:
            assert any(name.startswith(f"engine/{model}/{engine}/") for name in names)
    assert {name.split("/")[0] for name in names} == {
        "overhead", "kernel", "kernel-cuda", "network", "engine", "scenario", "step", "video", "live", "glass"
    }  # fmt: skip
    assert set(Plan(1, quick=True).selected()) < set(Plan(1).selected()) < set(names)


def test_batches_are_cases_of_every_engine() -> None:
    names = catalogue(Plan(threads=1, batches=(1, 3)))
    assert "engine/smate/openvino/bf16/b3" in names
    assert not [name for name in names if name.endswith("/b8")]


def test_a_batch_that_is_asked_for_is_quick_too() -> None:
    names = Plan(1, quick=True, batches=(8,)).selected()
    assert f"engine/{SHIPPED}/onnxruntime/fp32/b8" in names
    assert not [name for name in Plan(1, quick=True).selected() if name.endswith("/b8")]


def test_an_unknown_case_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidInput, match="expected the name of a case"):
        Plan(threads=1, only=("engine/slowr51/*",))
    assert main(["bench", "--only", "kernel/lpb"]) == 2
    assert "did you mean kernel/lbp" in capsys.readouterr().err


def test_the_command_of_a_row_selects_that_row() -> None:
    plan = Plan(2, video=Path("/one/machine/a b.mp4"), calibration=Path("r.json"), bound_ms=50, batches=(1, 2))
    plan = dataclasses.replace(plan, rate=30, seconds=20, loadgen=True)
    witnessed = ("engine/smate/openvino/bf16/b1", f"scenario/{SHIPPED}/MultiStream")
    others = ("engine/smate/openvino/bf16/b2", f"scenario/{SHIPPED}/Server", f"live/{SHIPPED}/auto", "kernel/lbp")
    others += (f"glass/{SHIPPED}/openvino/bf16/f3",)
    for case in (*witnessed, *others):
        words = shlex.split(plan.command(case))
        arguments = parser().parse_args(words[1:])
        again = Plan(arguments.threads, only=tuple(arguments.only), batches=tuple(arguments.batches))
        assert again.selected() == [case]
        assert (arguments.video == Path("a b.mp4")) == case.startswith(("live", "glass")), "no path of one machine"
        assert (arguments.calibration == plan.calibration) == case.startswith("engine")
        assert (arguments.bound_ms == 50) == case.endswith("Server")
        assert (arguments.rate == 30) == case.startswith(("live", "glass"))
        assert (arguments.seconds == 20) == case.startswith("glass")
        assert arguments.loadgen == (case in witnessed)


@pytest.mark.parametrize("words", [["--rate", "0"], ["--bound-ms", "nan"], ["--batches", "0"], ["--threads", "x"]])
def test_numbers_that_mean_nothing_are_wrong_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["bench", *words])
    assert stop.value.code == 2


def test_list_runs_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--list", "--only", "kernel/*"]) == 0
    assert capsys.readouterr().out.split()[0] == "kernel/lbp"
    assert not list(tmp_path.iterdir())


# -- runs -------------------------------------------------------------------------------------------------------


def test_engines_here_are_measured_and_others_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = engines.reasons
    monkeypatch.setattr(engines, "reasons", lambda name: "no tensorrt here" if name == "tensorrt" else reasons(name))
    names = [f"engine/{SHIPPED}/{system}/b1" for system in ("onnxruntime/fp32", "tensorrt/fp16")]
    found = run(tmp_path, *names)
    row, missing = (found.rows[name] for name in names)
    assert (row.status, row.config["weights"], row.config["size"]) == (OK, "default", 112)
    assert (row.gate["passed"], row.gate["difference"], row.gate["same_label"]) == (True, 0.0, 1.0)
    assert row.latency_ms["samples"] == 3
    assert 0 < row.latency_ms["min"] <= row.latency_ms["p50"]
    assert row.accuracy["war"] == pytest.approx(shipped_accuracy()), "from the evaluation that ships with the weights"
    assert row.cost["macs"] < 35.67e9 / 3, "at 112 pixels, not at 196"
    assert missing.status == UNAVAILABLE
    assert "no tensorrt here" in missing.reason
    assert found.complete


def test_an_engine_that_computes_something_else_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = networks.load

    def wrong(network: Network, case: str) -> tuple[Subject, int]:
        subject, batch = load(network, case)
        right = subject.run
        subject.run = lambda feed: right(feed) * 1.1
        return subject, batch

    monkeypatch.setattr(networks, "load", wrong)
    name = f"engine/{SHIPPED}/onnxruntime/fp32/b1"
    row = run(tmp_path, name).rows[name]
    assert (row.status, row.latency_ms) == (WRONG, {})
    assert "of their spread (allowed 0.001)" in row.reason


@pytest.fixture
def fails_above_one(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """ONNX Runtime as it is, but for queries of more than one sample; the cases of what was closed."""
    closed: list[str] = []
    engine = Network.engine

    def broken(self: Network, case: str, name: str, precision: str) -> Subject:
        subject = engine(self, case, name, precision)
        right, close = subject.run, subject.close

        def run(feed: Any) -> Any:
            if len(next(iter(feed.values()))) > 2:
                raise MemoryError("no more")
            logits = right(feed)
            return logits[::-1] if len(logits) == 2 else logits

        subject.run, subject.close = run, lambda: (closed.append(case), close())[0]
        return subject

    monkeypatch.setattr(Network, "engine", broken)
    return closed


def test_a_batch_passes_the_gate_or_fails_alone(tmp_path: Path, fails_above_one: list[str]) -> None:
    names = [f"engine/{SHIPPED}/onnxruntime/fp32/b{batch}" for batch in (1, 2, 3)]
    found = run(tmp_path, *names, batches=(1, 2, 3))
    one, two, three = (found.rows[name] for name in names)
    assert (one.status, two.status, two.latency_ms) == (OK, WRONG, {}), "samples of a batch in the wrong order"
    assert (three.status, three.reason) == (FAILED, "MemoryError: no more")
    assert sorted(fails_above_one) == ["", *names], "what failed is closed too"


def test_a_scenario_that_fails_at_its_batch_fails_alone(tmp_path: Path, fails_above_one: list[str]) -> None:
    names = [f"scenario/{SHIPPED}/{name}" for name in ("Offline", "Server")]
    found = run(tmp_path, *names, bound_ms=0.001)
    offline, server = (found.rows[name] for name in names)
    assert (offline.status, server.status) == (FAILED, OK)
    assert fails_above_one == ["", names[0]]


def test_a_system_that_fails_while_it_is_timed_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"engine/{SHIPPED}/{engine}/fp32/b1" for engine in ("openvino", "onnxruntime")]
    load = networks.load

    def tired(network: Network, case: str) -> tuple[Subject, int]:
        subject, batch = load(network, case)
        right, left = subject.run, iter(range(4))

        def run(feed: Any) -> Any:
            if "openvino" in case and next(left, None) is None:
                raise RuntimeError("tired")
            return right(feed)

        subject.run = run
        return subject, batch

    monkeypatch.setattr(networks, "load", tired)
    pytest.importorskip("openvino")
    found = run(tmp_path, *names)
    assert (found.rows[names[0]].status, found.rows[names[0]].reason) == (FAILED, "RuntimeError: tired")
    assert found.rows[names[1]].latency_ms["samples"] == 3
    assert found.rows[names[1]].reference == names[1], "the base is one that was measured"


def test_torch_bf16_is_not_emulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a CUDA device torch has bf16, but not on a processor without its products."""
    pytest.importorskip("torch")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: not including_emulation)
    monkeypatch.setattr("dfer_edge.system.cpu.has_bf16", lambda: False)
    network = Network(SHIPPED, tmp_path, 1)
    with pytest.raises(PrecisionUnavailable, match="measured on the CPU, and this processor has no bf16"):
        network.engine("x", "torch", "bf16")


def test_no_opinion_of_the_load_generator_costs_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_log(*arguments: Any) -> dict[str, Any]:
        raise CorruptArtifact("expected latencies, found none")

    monkeypatch.setattr("dfer_edge.bench.measure.loadgen.unavailable", lambda: "")
    monkeypatch.setattr("dfer_edge.bench.measure.loadgen.ask", no_log)
    name = f"engine/{SHIPPED}/onnxruntime/fp32/b1"
    row = run(tmp_path, name, loadgen=True).rows[name]
    assert (row.ok, row.witness) == (True, {"reason": "expected latencies, found none"})


def test_a_crash_after_a_part_is_a_row_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(context: Any, op: str) -> None:
        context.emit(Row(f"kernel/{op}/ours"))
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("dfer_edge.bench.cases.kernels.run", crash)
    found = run(tmp_path, "kernel/lbp")
    assert (found.rows["kernel/lbp/ours"].ok, found.rows["kernel/lbp"].reason) == (True, "ZeroDivisionError: boom")


def test_data_that_are_none_stop_the_run_before_it_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, out = f"engine/{SHIPPED}/onnxruntime/fp32/b1", tmp_path / "o"
    words = ["bench", "--quick", "--only", name, "--out", str(out)]
    assert main([*words, "--data", str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err
    assert not (out / "bench.jsonl").exists()


def test_accuracy_is_of_the_data_that_were_given() -> None:
    """Torch eager is not evaluated: the shipped figures are of other data."""
    config = {"engine": "torch-eager", "precision": "fp32"}
    sha256 = weights.resolve("slowr50_sa", "default").sha256
    assert Accuracy(None, 1).of(SHIPPED, config, sha256)["war"] == pytest.approx(shipped_accuracy())
    assert Accuracy("given", 1).of(SHIPPED, config, sha256) == {}


def test_quick_overhead_says_how_many_queries(tmp_path: Path) -> None:
    assert run(tmp_path, "overhead/harness").rows["overhead/harness"].config["queries"] == 2000


def test_a_crash_in_one_case_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(queries: int) -> dict[str, float]:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(overhead, "measure", crash)
    found = run(tmp_path, "overhead/harness", "kernel/lbp")
    assert (found.rows["overhead/harness"].status, found.complete) == (FAILED, True)
    assert found.rows["overhead/harness"].reason == "ZeroDivisionError: boom"
    assert found.rows["kernel/lbp/ours"].ok


def test_an_interrupted_run_leaves_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(queries: int) -> dict[str, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr("dfer_edge.bench.plan.catalogue", lambda plan: ["kernel/lbp", "overhead/harness"])
    monkeypatch.setattr(overhead, "measure", interrupt)
    code = main(
        ["bench", "--quick", "--threads", "1", "--only", "kernel/lbp", "overhead/*", "--out", str(tmp_path / "o")]
    )
    assert code == 130
    assert "kept and marked as partial" in capsys.readouterr().err
    found = read(tmp_path / "o" / "bench.jsonl")
    assert (found.complete, found.reason) == (False, "interrupted")
    assert found.rows["kernel/lbp/ours"].ok
    assert "**Partial: interrupted.**" in (tmp_path / "o" / "bench.md").read_text()


@pytest.mark.parametrize(
    ("words", "folder"),
    [(["--quick"], "bench-here-quick"), (["--only", "kernel/lbp"], "bench-here-only"), ([], "bench-here")],
)
def test_a_part_does_not_overwrite_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], folder: str
) -> None:
    """The command of a row, as it is printed, names no folder."""

    def stop(plan: Plan, path: Path, *rest: Any) -> None:
        assert path == Path(folder) / "bench.jsonl"
        raise InvalidInput("enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dfer_edge.bench.measure.provenance.device_name", lambda: "here")
    monkeypatch.setattr(suite, "run", stop)
    assert main(["bench", *words]) == 1


def test_kernels_give_the_threads_of_libraries_back(tmp_path: Path) -> None:
    """A case on one core sets one thread, for the process: a video after it would be read by one."""
    cv2 = pytest.importorskip("cv2")
    run(tmp_path, "kernel/clip_to_tensor", threads=2)
    assert cv2.getNumThreads() == 2


def test_a_live_stream_holds_no_more_of_a_video_than_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: Path
) -> None:
    from dfer_edge.bench.cases import video

    taken = 0

    def endless(path: Path) -> Iterator[Any]:
        nonlocal taken
        for frame in itertools.cycle(list(open_source(path))):
            taken += 1
            assert taken <= 12
            yield frame

    monkeypatch.setattr(video, "open_source", endless)
    row = run(tmp_path, f"live/{SHIPPED}/onnxruntime", video=astronaut, rate=3).rows[f"live/{SHIPPED}/onnxruntime"]
    assert (row.ok, taken) == (True, 12), row.reason
    assert row.config["cv2_threads"] == 1


def test_a_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["bench", "--only", "overhead/harness", "--quick", "--threads", "1", "--out", str(tmp_path / "o")])
    assert code == 0
    printed = capsys.readouterr()
    assert "# Bench of" in printed.out
    assert "$ dfer-edge bench --only overhead/harness --threads 1 --quick" in printed.err
    assert (tmp_path / "o" / "bench.md").is_file()


def test_end_to_end_needs_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfer_edge.bench.cases.video._CHECKOUT_CLIP", tmp_path / "none.mp4")
    row = run(tmp_path, f"video/{SHIPPED}/onnxruntime").rows[f"video/{SHIPPED}/onnxruntime"]
    assert (row.status, "--video FILE" in row.reason) == (UNAVAILABLE, True)


# -- gates ------------------------------------------------------------------------------------------------------


@pytest.fixture
def logits(rng: np.random.Generator) -> Iterator[np.ndarray]:
    return rng.standard_normal((4, 7)).astype(np.float32)


def test_the_gate_passes_rounding_and_nothing_more(logits: np.ndarray) -> None:
    assert gate.check(logits, logits * np.float32(1 + 1e-6), "fp32")["passed"]
    assert not gate.check(logits, logits + np.float32(0.01) * logits[::-1], "fp32")["passed"]
    assert gate.check(logits, logits * np.float32(1.01), "bf16")["passed"]
    assert not gate.check(logits, logits[:, ::-1], "int8")["passed"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_gate_stops_what_is_not_finite(logits: np.ndarray, bad: float) -> None:
    broken = logits.copy()
    broken[2, 3] = bad
    found = gate.check(logits, broken, "int8")
    assert not found["passed"]
    assert "not finite" in gate.reason(found)
    assert not gate.check(logits, logits[:3], "int8")["passed"]


def test_small_logits_do_not_hide_an_error(logits: np.ndarray) -> None:
    """All probabilities near 1/7: their difference is tiny though the labels are all wrong."""
    found = gate.check(logits * 1e-3, logits[:, ::-1] * 1e-3, "bf16")
    assert found["difference"] < found["tolerance"]
    assert not found["passed"]
