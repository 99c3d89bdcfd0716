"""Temperature, priors and risk: fitted, stored with weights, applied in one place, and "unknown"."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.studies.confidence import main as fit_from_files
from dfer_edge import CorruptArtifact, InvalidInput, Recognizer, confidence
from dfer_edge.cli.main import main
from dfer_edge.confidence import Confidence
from dfer_edge.evaluation.document import SCHEMA
from dfer_edge.export import onnx_file as export
from dfer_edge.flow.postprocess import softmax
from dfer_edge.models import create_model
from dfer_edge.weights import file as weights

TABLE = ((0.1, 0.9), (0.2, 0.6), (0.4, 0.3))


def drawn(temperature: float, factors: list[float], count: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """Truth that follows softmax(z / temperature) times factors, and the probabilities softmax(z) of a network."""
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 3, (count, len(factors)))
    own = np.exp(logits / temperature) * factors
    own /= own.sum(1, keepdims=True)
    truth = (own.cumsum(1) < rng.random((count, 1))).sum(1)
    return truth, softmax(logits)


def test_the_default_changes_no_bit(rng: np.random.Generator) -> None:
    logits = rng.normal(0, 3, (5, 7)).astype(np.float32)
    np.testing.assert_array_equal(Confidence().probabilities(logits), softmax(logits))
    assert Confidence.from_json("") == Confidence() == Confidence.of({"dfer_edge.spec": "x"})


def test_temperature_and_prior_by_hand() -> None:
    found = Confidence(2.0, (1.0, 3.0)).probabilities(np.array([[math.log(4.0), 0.0]]))
    # Square root of 4 to 1, and three times the second: 2 to 3.
    np.testing.assert_allclose(found, [[0.4, 0.6]])
    with pytest.raises(CorruptArtifact, match="expected priors of 3 classes, got 2"):
        Confidence(1.0, (1.0, 3.0)).probabilities(np.zeros((1, 3)))
    with pytest.raises(CorruptArtifact, match="finite logits"):
        Confidence(2.0).probabilities(np.array([[np.nan, 0.0]]))


def test_fitting_finds_what_data_were_drawn_with() -> None:
    truth, probabilities = drawn(2.5, [1, 1, 1, 1])
    assert confidence.fit(truth, probabilities).temperature == pytest.approx(2.5, rel=0.08)
    truth, probabilities = drawn(1.7, [0.5, 1, 1, 3])
    found = confidence.fit(truth, probabilities, prior=True)
    assert found.temperature == pytest.approx(1.7, rel=0.1)
    np.testing.assert_allclose(np.array(found.prior) / found.prior[1], [0.5, 1, 1, 3], rtol=0.2)


def test_the_table_keeps_what_it_states() -> None:
    truth, probabilities = drawn(2.0, [1, 1, 1])
    found = confidence.fit(truth, probabilities)
    calibrated = found.probabilities(np.log(probabilities))
    sure, wrong = calibrated.max(1), calibrated.argmax(1) != truth
    assert [risk for risk, _ in found.risk] == sorted(risk for risk, _ in found.risk)
    assert len(found.risk) > 3
    for risk, least in found.risk:
        taken = sure >= least
        assert taken.sum() >= 30
        assert wrong[taken].mean() <= risk
    # Thirty samples that are all right state the lowest risk, twenty-nine none.
    right = np.tile([0.9, 0.1], (30, 1))
    assert confidence.risk_table([0] * 30, right)[0] == (0.05, pytest.approx(0.9))
    assert confidence.risk_table([0] * 29, right[:29]) == ()


def test_least_confidence_for_a_risk() -> None:
    found = Confidence(risk=TABLE)
    assert [found.least(risk) for risk in (0.1, 0.15, 0.2, 0.39, 0.9)] == [0.9, 0.9, 0.6, 0.6, 0.3]
    with pytest.raises(InvalidInput, match=r"expected a risk of at least 0\.1"):
        found.least(0.05)
    with pytest.raises(InvalidInput, match="these do not"):
        Confidence().least(0.2)
    for odd in (0, 1, -0.1, math.nan, True, "0.1"):
        with pytest.raises(InvalidInput, match="expected a risk between 0 and 1"):
            found.least(odd)


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        "{}",
        '{"temperature": 0, "prior": [], "risk": []}',
        '{"temperature": 1, "prior": [0.0, 1], "risk": []}',
        '{"temperature": 1, "prior": [], "risk": [[0.2, 0.5], [0.1, 0.9]]}',
        '{"temperature": NaN, "prior": [], "risk": []}',
        '{"temperature": 1, "prior": [], "risk": [], "more": 1}',
        '{"temperature": 1, "prior": [], "risk": [[0.2, 1.5]]}',
    ],
)
def test_broken_metadata_says_so(text: str) -> None:
    with pytest.raises(CorruptArtifact, match="expected temperature, prior and risk"):
        Confidence.from_json(text)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network with a temperature of 4 and a table, stored in full and compact, and the same without."""
    folder = tmp_path_factory.mktemp("confidence")
    torch.manual_seed(3)
    module = create_model("slowr50_sa").eval()
    module.spec = dataclasses.replace(module.spec, frames=3, size=64)
    found = {}
    for name, compact in (("full", False), ("compact", True)):
        plain = weights.save(folder / f"{name}.safetensors", module, compact=compact, data="none")
        found[f"{name} plain"] = plain
        found[name] = confidence.annotate(plain, folder / f"{name}_t.safetensors", Confidence(4.0, (), TABLE))
    return found


@pytest.mark.parametrize("name", ["full", "compact"])
def test_weights_carry_it_and_keep_their_hash(files: dict[str, Path], name: str) -> None:
    before, after = weights.load(files[f"{name} plain"]), weights.load(files[name])
    assert weights.identity(before) == weights.identity(after), "ranges for int8 stay valid"
    assert before.compact == after.compact
    assert after.notes["data"] == "none"
    assert Confidence.from_json(after.notes["confidence"]) == Confidence(4.0, (), TABLE)
    with pytest.raises(InvalidInput, match="expected priors of 7 classes, got 2"):
        confidence.annotate(files[name], files[name], Confidence(1.0, (1.0, 2.0)))


def test_through_the_flow(files: dict[str, Path], astronaut_frames: list[np.ndarray]) -> None:
    plain, soft, unsure = (
        Recognizer("slowr50_sa", file, "onnxruntime", "fp32", detector="haar", unknown_risk=risk)
        for file, risk in ((files["full plain"], None), (files["full"], None), (files["full"], 0.1))
    )
    frames = astronaut_frames[:8]
    sharp, flat, unknown = (one.predict(frames) for one in (plain, soft, unsure))
    expected = Confidence(4.0).probabilities(np.log(sharp.probabilities.astype(np.float64))[None])[0]
    np.testing.assert_allclose(flat.probabilities, expected, atol=1e-5)
    assert flat.label == sharp.label
    assert unknown.label == "unknown", "a random network is never sure at 0.9"
    assert unknown.confidence == pytest.approx(flat.confidence)
    np.testing.assert_array_equal(unknown.probabilities, flat.probabilities)
    assert unsure.timeline(frames).observations[0].prediction.label == "unknown"
    assert (soft.info()["temperature"], unsure.info()["unknown_below"]) == (4.0, 0.9)
    with pytest.raises(InvalidInput, match="expected weights that state risk"):
        Recognizer("slowr50_sa", files["full plain"], "onnxruntime", "fp32", detector="haar", unknown_risk=0.1)
    exported = export.metadata(weights.load(files["full"]), "3d")
    assert Confidence.of(exported) == Confidence(4.0, (), TABLE), "ONNX files carry it"


def test_the_command_line(files: dict[str, Path], astronaut: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(astronaut), "--weights", str(files["full"]), "--engine", "onnxruntime", "--json"]
    assert main([*words, "--precision", "fp32", "--detector", "haar", "--unknown-risk", "0.1"]) == 0
    assert json.loads(capsys.readouterr().out)["prediction"]["label"] == "unknown"


def test_fitting_from_evaluations(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, out = files["compact plain"], tmp_path / "out.safetensors"
    names = weights.load(plain).spec.labels
    truth, probabilities = drawn(2.0, [1.0] * 7, 800)
    rows = [
        {"label": names[t], "probabilities": {"a": p.round(6).tolist()}}
        for t, p in zip(truth, probabilities, strict=True)
    ]
    document = {"schema": SCHEMA, "weights": {"sha256": weights.load(plain).sha256}, "predictions": rows}
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(document))
    assert fit_from_files([str(plain), str(out), str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("temperature ")
    assert "risk 0.50: from confidence" in printed
    stored = Confidence.from_json(weights.load(out).notes["confidence"])
    assert stored.temperature == pytest.approx(2.0, rel=0.1)
    assert stored.risk
    assert fit_from_files([str(out), str(out), str(path)]) == 2
    assert "has one already" in capsys.readouterr().err
    path.write_text(json.dumps({**document, "weights": {"sha256": "0" * 64}}))
    assert fit_from_files([str(plain), str(out), str(path)]) == 2
    assert "expected evaluations of" in capsys.readouterr().err
