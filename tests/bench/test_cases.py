"""What the cases rest on: kernel cases, costs, boards, the paced source, per-frame pipelines, claims."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.publish.boards import FOLDER, pages
from dfer_edge.bench.cases import cuda_kernels, kernels
from dfer_edge.bench.cases import per_frame_peers as perframe
from dfer_edge.bench.cases.context import Context
from dfer_edge.bench.cases.glass_to_label import read_stamp, stamp
from dfer_edge.bench.cases.kernel_cases import Bar, within
from dfer_edge.bench.cases.systems import SPEED_ONLY
from dfer_edge.bench.cases.video import PacedSource
from dfer_edge.bench.claims import verdict as claim
from dfer_edge.bench.claims.verdict import NOT_REPRODUCIBLE, REFUTED, REPRODUCED
from dfer_edge.bench.measure import cost, peaks
from dfer_edge.bench.plan import Plan
from dfer_edge.bench.report import boards, table
from dfer_edge.bench.report.results import Row
from dfer_edge.cli.main import main
from dfer_edge.errors import EngineUnavailable, InvalidInput
from dfer_edge.inference import registry
from dfer_edge.kernels import dispatch
from tests.bench.rows import some, system, write
from tests.bench.test_scenarios import Simulated
from tests.conftest import ROOT

# -- kernels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", dispatch.OPERATIONS)
def test_a_kernel_case_is_right_and_its_bars_name_rivals(op: str) -> None:
    if op not in ("lbp", "clip_to_tensor"):
        pytest.importorskip("torch")
    case = kernels.case_module(op)
    case.check()
    names = set(case.cases())
    assert "ours" in names
    assert set(case.BARS) <= names - {"ours"}
    assert case.MOVED_BYTES > 0


def test_a_rival_that_is_not_installed_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    rows = {row.id: row for row in kernels.measure(kernels.case_module("lbp"), "kernel/lbp", {}, quick=True)}
    assert rows["kernel/lbp/scikit-image"].reason == "scikit-image is not installed"
    assert rows["kernel/lbp/ours"].ratio_p50 == 1.0
    assert rows["kernel/lbp/numpy"].extra["bar"]["at_least"] == 20
    ours, floor = rows["kernel/lbp/ours"], rows["kernel/lbp/floor"]
    assert ours.extra["share_of_floor"] == floor.ratio_p50 == floor.latency_ms["p50"] / ours.latency_ms["p50"]


def test_a_rival_that_fails_is_a_row() -> None:
    def broken() -> None:
        raise RuntimeError("broken")

    case = types.SimpleNamespace(
        cases=lambda: {"ours": lambda: None, "rival": broken}, BARS={"rival": Bar(2)}, MOVED_BYTES=64
    )
    rows = {row.id: row for row in kernels.measure(case, "kernel/x", {}, quick=True)}  # type: ignore[arg-type]
    assert (rows["kernel/x/rival"].status, rows["kernel/x/rival"].reason) == ("failed", "RuntimeError: broken")
    assert rows["kernel/x/floor"].ratio_p50 is not None


def test_what_fails_on_a_gpu_leaves_the_other_implementations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Built, not yet run on hardware: device events and the copy's bandwidth are made up."""

    def broken() -> None:
        raise RuntimeError("no kernel image")

    case = types.SimpleNamespace(
        GPU_TITLE="x", GPU_SHARE_OF_FLOOR=0.5, GPU_MOVED_BYTES=10**6, GPU_BARS={"rival": Bar(2), "other": Bar(3)},
        gpu_check=lambda: None,
        gpu_cases=lambda: {"ours": lambda: None, "rival": broken, "other": lambda: None},
    )  # fmt: skip
    rows: list[Row] = []
    monkeypatch.setattr(cuda_kernels, "require_device", lambda: {"gpu": "x"})
    monkeypatch.setattr(cuda_kernels, "case_module", lambda op: case)
    monkeypatch.setattr(cuda_kernels, "copy_bandwidth", lambda samples: 1e9)
    monkeypatch.setattr(cuda_kernels, "events", lambda call, samples: [call() or 2.0] * 3)
    monkeypatch.setattr(cuda_kernels.kernels, "backends", lambda op: {"cuda": "", "triton": "not here"})
    monkeypatch.setattr(cuda_kernels.kernels, "use_backend", lambda name: contextlib.nullcontext())
    cuda_kernels.run(Context(Plan(1), rows.append), "lbp")
    found = {row.id.rpartition("/")[2]: row for row in rows}
    assert (found["rival"].status, found["rival"].reason) == ("failed", "RuntimeError: no kernel image")
    assert found["cuda"].extra["rivals"] == {"other": {"at_least": 3, "ratio": 1.0, "met": False}}
    page = table.section("kernel-cuda", rows)
    assert "on the GPU" in page
    estimated = r"H200 [01]\.\d\d, RTX 4090 [01]\.\d\d, AGX Orin [01]\.\d\d, Orin Nano [01]\.\d\d"
    assert re.search(rf"\| `lbp` \| cuda \| 2 \| 0\.5 \| floor 0\.5: met, other 3: NOT MET \| {estimated} \|", page), (
        page
    )
    assert table.section("kernel", rows) == "", "not among those of one core"


def test_bars_and_bounds() -> None:
    assert Bar(4).met(4.0)
    assert not Bar(4).met(3.9)
    within(1e-6, 1e-5)
    for bad in (2e-5, float("nan")):
        with pytest.raises(AssertionError, match="is off by"):
            within(bad, 1e-5)


# -- costs, peaks and boards ------------------------------------------------------------------------------------

# MB of weights and of layers' inputs and outputs in fp16, as counted by hand for the printed networks.
TRAFFIC = {
    "slowr50": (63.2, 279.3),
    "agfer": (885.2, 46.1),
    "keypoint_tsa": (35.6, 75.9),
    "r2plus1d_sta": (15.9, 258.9),
}


@pytest.mark.parametrize("name", list(TRAFFIC))
def test_traffic_is_that_counted_by_hand(name: str) -> None:
    found, (weights, activations) = cost.of(registry.find(name).spec), TRAFFIC[name]
    # The inference form is a little smaller: folded norms and attention.
    assert 2 * found.weights / 1e6 == pytest.approx(weights, rel=0.015)
    assert 2 * found.activations / 1e6 == pytest.approx(activations, rel=0.01)


def test_a_bound_is_arithmetic_or_traffic() -> None:
    found = cost.Cost(macs=500, weights=100, activations=50)
    assert found.bytes("int8") == 150
    assert found.bytes("fp32", batch=3) == 4 * 250
    assert found.seconds("int8", flops=1000, bandwidth=1e9) == pytest.approx(1.0)
    assert found.seconds("int8", flops=1e9, bandwidth=150) == pytest.approx(1.0)
    assert found.seconds("int8", flops=1000, bandwidth=1e9, batch=2) == pytest.approx(2.0)


def test_bounds_of_boards() -> None:
    """SlowR50 in int8, from the boards' data sheets: 71.3 GFLOP by 85 and 33.5 TOPS."""
    devices = {device.name: device for page in boards.PAGES for device in page.devices}
    assert devices["AGX Orin 64 GB"].bound_ms("slowr50", "int8") == pytest.approx(0.84, abs=0.01)
    assert devices["Orin Nano Super 8 GB"].bound_ms("slowr50", "int8") == pytest.approx(2.13, abs=0.01)
    vgg = devices["AGX Orin 64 GB"].bound_ms("agfer", "fp16")
    assert vgg == pytest.approx((885.8 + 46.1) / 205, rel=1e-3), "its weights take longer to read than to multiply"


def test_pages_of_boards_are_what_the_script_writes() -> None:
    assert {path.name for path in FOLDER.glob("*.md")} == set(pages())
    for name, content in pages().items():
        assert (FOLDER / name).read_text() == content, "python -m bench.publish.boards"
        assert "dfer-edge doctor --self-test tensorrt" in content
    for page in boards.PAGES:
        assert "not yet run on hardware" in boards.markdown(page), "without results"


def test_a_measured_cell_is_filled(tmp_path: Path) -> None:
    from dfer_edge.bench.report.results import read

    path = write(tmp_path / "a", [system("tensorrt", "int8", 1.7, 0.1)])
    path.write_text(path.read_text().replace("test-device", "nvidia-jetson-agx-orin-developer-kit"))
    page = next(page for page in boards.PAGES if page.file == "agx-orin")
    filled, empty = boards.markdown(page, [read(path)]), boards.markdown(page)
    assert "| `slowr50_sa` | 1.68 |   | 0.84 | 1.7 |" in filled
    assert "| `slowr50_sa` | 1.68 |   | 0.84 |   |" in empty
    assert "not yet run on hardware" not in filled


def test_the_best_of_each_peak_counts_and_witnesses_are_apart() -> None:
    rates = {"onnxruntime fp32 1024": 3.0, "openvino fp32 1024": 4.0, "torch fp32 1024": 9.0, "numpy fp32 1024": 5.0}
    rates |= {"numpy bytes_per_s x": 7.0, "memcpy bytes_per_s x": 6.0, "torch bytes_per_s x": 8.0}
    ours = {label: rate for label, rate in rates.items() if not peaks._is_witness(label)}
    assert peaks._best(ours) == {"fp32": ("openvino fp32 1024", 4.0), "bytes_per_s": ("torch bytes_per_s x", 8.0)}


@pytest.mark.parametrize("tool", ["onnxruntime", "openvino", "torch"])
def test_products_of_the_peaks_are_products(tool: str) -> None:
    if tool != "onnxruntime":
        pytest.importorskip(tool)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((64, 64), np.float32) for _ in range(2))
    make = {"onnxruntime": peaks._onnxruntime, "openvino": peaks._openvino, "torch": peaks._torch}[tool]
    arguments = (a, b, 1) if tool == "onnxruntime" else (a, b, "fp32", 1)
    found = make(*arguments)()
    np.testing.assert_allclose(np.asarray(found[0] if tool != "torch" else found), a @ b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("able", [True, False])
def test_peaks_ask_for_no_product_that_would_be_emulated(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(peaks.cpu, "has_bf16", lambda: able)
    monkeypatch.setattr(peaks, "_torch", lambda a, b, precision, threads: made.append(("torch", precision)))
    monkeypatch.setattr(peaks, "_onnxruntime", lambda a, b, threads: made.append(("onnxruntime", "fp32")))
    monkeypatch.setattr(peaks, "_openvino", lambda a, b, precision, threads: made.append(("openvino", precision)))
    openvino_engine = pytest.importorskip("dfer_edge.engines.openvino_engine")
    pytest.importorskip("torch")
    missing = {"fp32": "", "bf16": "" if able else "no", "int8": "" if able else "no"}
    monkeypatch.setattr(openvino_engine, "precisions", lambda: missing)
    peaks._products(16, 1)
    exact = [("onnxruntime", "fp32"), ("openvino", "fp32"), ("torch", "fp32")]
    rest = [("openvino", "bf16"), ("openvino", "int8"), ("torch", "bf16")]
    assert sorted(made) == sorted(exact + rest if able else exact)


# -- video and pipelines ----------------------------------------------------------------------------------------


def test_a_paced_source_is_a_camera() -> None:
    clock, frames = Simulated(), [np.full((16, 16, 3), value, np.uint8) for value in range(3)]
    source, taken = PacedSource(frames, rate=10, seconds=0.7, clock=clock), []
    for frame in source:
        taken.append((round(clock.now(), 6), frame.index, int(frame.image[0, 0, 0])))
        clock.time_s += 0.25 if frame.index == 1 else 0.05
    assert [entry[1:] for entry in taken] == [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1), (5, 2), (6, 0)]
    # Frame 1 took 250 ms: frames 2 and 3 are late, then the camera is waited for again.
    assert [entry[0] for entry in taken] == pytest.approx([0, 0.1, 0.35, 0.4, 0.45, 0.5, 0.6])


def test_a_time_in_the_pixels_is_read_back(rng: np.random.Generator) -> None:
    for shape in ((64, 64, 3), (21, 70, 3), (360, 640, 3)):
        image = rng.integers(0, 256, shape, np.uint8)
        for at_s in (0.0, 1234.56789, 1.7e9 + 1e-6):
            assert read_stamp(stamp(image, at_s)) == at_s
    with pytest.raises(InvalidInput, match="room for 64 squares"):
        stamp(np.zeros((16, 16, 3), np.uint8), 1.0)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A pipeline that a user could have: two labels by brightness, no face in dark frames."""
    module = types.ModuleType("stand_in")

    def factory() -> Any:
        def pipeline(frame: np.ndarray) -> dict[str, float] | None:
            assert frame.dtype == np.uint8
            assert frame.shape[2] == 3
            bright = float(frame.mean()) / 255
            return {"happy": bright, "sad": 1 - bright} if bright > 0.1 else None

        return pipeline

    module.factory, module.number = factory, lambda: 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stand_in", module)
    return module


def test_a_pipeline_of_the_user_s_is_run_over_the_video(
    stand_in: types.ModuleType, astronaut: Path, tmp_path: Path
) -> None:
    from tests.bench.test_suite import run

    row = run(tmp_path, "pipeline/*", pipelines=("stand_in:factory",), video=astronaut).rows[
        "pipeline/stand_in:factory"
    ]
    assert (row.ok, row.gate["frames"], row.gate["frames_with_a_face"]) == (True, 50, 50)
    assert sum(row.extra["mean_scores"].values()) == pytest.approx(1)
    assert row.samples_per_s == pytest.approx(1e3 / row.latency_ms["p50"])


def test_a_pipeline_gets_the_first_frames_of_a_long_video(
    stand_in: types.ModuleType, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Row] = []
    monkeypatch.setattr(perframe, "_FRAMES", 7)
    plan = Plan(1, quick=True, pipelines=("stand_in:factory",), video=astronaut, samples=3)
    perframe.run(Context(plan, rows.append), "pipeline/stand_in:factory")
    assert rows[0].gate["frames"] == 7


def test_pipelines_that_are_none(stand_in: types.ModuleType) -> None:
    assert callable(perframe.load("stand_in:factory"))
    with pytest.raises(InvalidInput, match=r"package\.module:factory"):
        perframe.load("stand_in")
    with pytest.raises(EngineUnavailable, match="cannot be imported"):
        perframe.load("not_installed_at_all:make")
    with pytest.raises(InvalidInput, match="expected missing in stand_in"):
        perframe.load("stand_in:missing")
    with pytest.raises(InvalidInput, match="callable of one frame, got int"):
        perframe.load("stand_in:number")


def test_answers_are_averaged_over_frames_with_a_face() -> None:
    answers = [{"happy": 0.8, "sad": 0.2}, None, {"happy": 0.4, "sad": 0.6}]
    mean, count = perframe.summarise(answers)
    assert (mean, count) == ({"happy": pytest.approx(0.6), "sad": pytest.approx(0.4)}, 2)
    assert perframe.summarise([None]) == ({}, 0)
    with pytest.raises(InvalidInput, match="mapping of label to score"):
        perframe.summarise(["happy"])


# -- claims -----------------------------------------------------------------------------------------------------

COUNTS = {"A": 5, "B": 3, "C": 6, "D": 4, "E": 3}
IDS = [f"{paper}{number}" for paper, count in COUNTS.items() for number in range(1, count + 1)]
NOT_HERE = {"A4", "B3", "C4", "C5", "C6", "D2", "D3"}
# What counting must give, from the documentation's table.
COMPUTED = {
    "A1": "49,472,583 / 31,648,839",
    "A2": "17,823,744",
    "B1": "171,450,631; 213.25",
    "B2": "12.51 / 46.16 / 142.20 / 300.72",
    "C1": "442,570,567",
    "C2": "+0.078 % at R = 2, +0.0099 % at R = 16; with pool5 +0.129 %",
    "C3": "= 80; 41 + 3 x 17 = 92",
    "C5": "80.0 images/s / 68.5",
    "D1": "17,824,762",
    "E1": "38.183 inference, 38.595",
    "E2": "76.37",
    # torchvision prints 40.70 G for r3d_18.
    "E3": "-0.4 G to C3D's 38.5, -2.5 G to 3D ResNet-18's 40.7",
}


def test_claims(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    rows = [*some(), system("torch-eager", "fp32", 80, 1, "slowr50"), system("openvino", "bf16", 20, 0.25, "slowr50")]
    path = write(tmp_path / "bench.jsonl", rows)
    assert main(["bench", "claims", "--results", str(path), "--out", str(tmp_path / "out"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    found = {claim["id"]: claim for claim in document["claims"]}
    assert list(found) == IDS
    for name, text in COMPUTED.items():
        assert text in found[name]["computed"], name
    verdicts = {name: claim["verdict"] for name, claim in found.items()}
    assert {name for name, verdict in verdicts.items() if verdict == REFUTED} == {"C1", "D1", "E1", "E2", "E3"}
    assert {name for name, verdict in verdicts.items() if verdict == NOT_REPRODUCIBLE} == NOT_HERE
    assert found["A2"]["measured"] == "time of slowr50_sa to slowr50: torch eager 1.25, openvino/bf16 1.25"
    assert found["D2"]["measured"] == "-"
    figures = {row["network"]: row for row in document["figures"]}
    assert figures["slowr50_sa"]["macs"] == 35_684_333_056
    assert figures["smate"]["macs_simplified"] == 195_847_358_208
    assert figures["r2plus1d_sta"]["parameters_simplified"] < figures["r2plus1d_sta"]["parameters"]
    assert (figures["slowr50_sa"]["printed_per_s"], figures["slowr50_sa"]["best_system"]) == (10, "openvino/bf16")
    assert json.loads((tmp_path / "out" / "claims.json").read_text()) == document
    committed = list((ROOT / "bench" / "results").glob("*/claims.json"))
    assert committed
    for path in committed:
        counted = [[claim[key] for key in ("id", "printed", "computed", "verdict")] for claim in _claims(path)]
        assert counted == [[claim[key] for key in ("id", "printed", "computed", "verdict")] for claim in found.values()]
    assert "| C1 | base: parameters, layers | 138 M, 41 |" in (tmp_path / "out" / "claims.md").read_text()


def _claims(path: Path) -> list[dict[str, str]]:
    claims_of_file: list[dict[str, str]] = json.loads(path.read_text())["claims"]
    return claims_of_file


def test_int8_with_ranges_from_noise_is_no_best_system() -> None:
    """It would win by far, and only one of two networks has it: their ratio would be that of precisions."""
    from dfer_edge.bench.claims.table import _time_ratio

    rows = [system("openvino", "bf16", 20, 0.2), system("openvino", "int8", 5, 0.05)]
    rows += [system("openvino", "bf16", 10, 0.1, "slowr50"), system("onnxruntime", "fp32", 1, 0.01, "slowr50")]
    by_case = {row.id: row for row in rows}
    ratio = _time_ratio("slowr50_sa", "slowr50")
    assert ratio(by_case) == "time of slowr50_sa to slowr50: openvino/bf16 2.00", "one system on both sides"
    assert claim.best_row(by_case, "slowr50_sa") is rows[1], "with ranges from clips it counts"
    rows[1].config["ranges"] = SPEED_ONLY
    assert claim.best_row(by_case, "slowr50_sa") is rows[0]


def test_near() -> None:
    assert claim.near([100.0], [100.9]) == REPRODUCED
    assert claim.near([100.0, 50.0], [100.0, 51.0]) == REFUTED
