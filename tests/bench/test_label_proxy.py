"""The proxy loop on batches whose class is a colour: it learns, it judges by sample, it ranks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.studies import label_proxy
from bench.studies.label_proxy import CHOICES, judged, main, table, train
from bench.studies.real_people.crops import Crops
from bench.studies.real_people.samples import Sample
from dfer_edge.labels import DFEW


def coloured(classes: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """uint8 [B, 3, 112, 112]: noise whose red and blue tell class 0 from class 1."""
    pixels = torch.from_numpy(random.integers(0, 120, (len(classes), 3, 112, 112), np.uint8))
    pixels[classes == 0, 0] += 120
    pixels[classes == 1, 2] += 120
    return pixels


def batches(folders: Any, seed: int, batch: int, **_: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    random = np.random.default_rng(seed)
    while True:
        classes = torch.from_numpy(random.integers(0, 2, batch))
        yield coloured(classes, random), classes


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("random-convolutions", "mixstyle")]


@pytest.mark.parametrize("name", ["base", *SLOW, "fourier"])
def test_a_small_network_learns_from_the_batches_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_proxy.data, "batches", batches)
    monkeypatch.setattr(label_proxy, "_WARM", 2)
    monkeypatch.setattr(label_proxy, "_BATCH", 12)
    truth = torch.tensor([0, 1, 1, 0, 1, 0])
    shown = coloured(truth, np.random.default_rng(9))
    logits = train(CHOICES[name], None, [], 0, 60, shown)  # type: ignore[arg-type]
    assert logits.argmax(1).tolist() == truth.tolist()


def test_the_teachers_opinion_is_asked_only_where_a_choice_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_proxy.data, "batches", batches)
    asked = []

    def teacher(pixels: torch.Tensor) -> Any:
        asked.append(len(pixels))
        return type("Seen", (), {"logits": torch.zeros(len(pixels), len(DFEW))})

    shown = coloured(torch.tensor([0]), np.random.default_rng(1))
    train(CHOICES["base"], teacher, [], 0, 2, shown)  # type: ignore[arg-type]
    assert asked == []
    train(CHOICES["teacher-third"], teacher, [], 0, 2, shown)  # type: ignore[arg-type]
    assert asked == [64, 64]


def test_frames_of_a_sample_are_one_answer_and_a_lost_sample_is_wrong() -> None:
    samples = [
        Sample("g", "s", label, Path(f"{number}.jpg")) for number, label in enumerate((DFEW[0], DFEW[1], DFEW[1]))
    ]
    # Sample 0: one frame is sure of class 0, another leans to class 1. Sample 2 has no face.
    logits = torch.zeros(3, len(DFEW))
    logits[0, 0], logits[1, 1], logits[2, 1] = 6.0, 1.0, 3.0
    seen = Crops(
        np.zeros((3, 1, 1, 3), np.uint8),
        np.array([0, 0, 1]),
        np.array([0, 1, 0]),
        np.zeros((3, 68, 2), np.float32),
        (2,),
    )
    found = judged("x", logits, seen, samples)["g"]
    assert found["recall"] == {DFEW[0]: 1.0, DFEW[1]: 0.5}
    assert found["uar"] == pytest.approx(0.75)
    means = torch.log_softmax(logits, 1)[:2].mean(0).exp()
    own = [float(means[0] / means.sum()), float(torch.softmax(logits[2], 0)[1]), 1 / len(DFEW)]
    assert found["log_loss"] == pytest.approx(-np.log(own).mean(), abs=1e-6)


def test_the_best_choice_stands_first_with_the_spread_of_its_seeds() -> None:
    def runs(*values: float) -> list[dict[str, Any]]:
        return [{"g": {"uar": value, "log_loss": 2 - value}} for value in values]

    lines = table({"worse": runs(0.30, 0.32), "better": runs(0.5, 0.6)}, "g").splitlines()
    assert lines[2:] == ["| better | 55.0 (10.0) | 1.450 (0.100) |", "| worse | 31.0 (2.0) | 1.690 (0.020) |"]


def test_bad_words_and_half_cut_folders_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--renders", str(tmp_path), "--teacher", str(tmp_path)]
    assert main([str(tmp_path), *common, "--choices", "bas"]) == 2
    assert "bas" in capsys.readouterr().err
    assert main([str(tmp_path / "none"), *common]) == 2
    half = tmp_path / "half" / "jaffe256" / "happy"
    half.mkdir(parents=True)
    (half / "a.png").write_bytes(b"")
    assert main([str(tmp_path / "half"), *common]) == 2
    assert "half cut" in capsys.readouterr().err


def test_swapped_amplitudes_move_light_and_leave_an_image_among_itself_alone() -> None:
    torch.manual_seed(0)
    dark, bright = torch.full((1, 3, 32, 32), 40), torch.full((1, 3, 32, 32), 200)
    pair = torch.cat([dark, bright]).to(torch.uint8)
    same = label_proxy._swapped(torch.cat([dark, dark]).to(torch.uint8), 1.0)
    assert int((same.int() - 40).abs().max()) <= 1
    means = {round(float(value)) for _ in range(8) for value in label_proxy._swapped(pair, 1.0).float().mean((1, 2, 3))}
    assert all(39 <= value <= 200 for value in means)
    assert any(45 < value < 195 for value in means), "light of another image"


def test_a_run_that_ended_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def trained(choice: Any, teacher: Any, renders: Any, seed: int, steps: int, shown: Any) -> str:
        asked.append((next(name for name, known in CHOICES.items() if known is choice), seed))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return "logits"

    seen = type("Seen", (), {"pixels": np.zeros((1, 2, 2, 3), np.uint8), "lost": ()})
    monkeypatch.setattr(label_proxy, "find", lambda *_, **__: [Sample("g", "s", "happy", Path("a.jpg"))])
    monkeypatch.setattr(label_proxy, "finders", lambda *_, **__: (None, None))
    monkeypatch.setattr(label_proxy, "crops", lambda *_: seen)
    monkeypatch.setattr(label_proxy, "read_weights", lambda _: None)
    monkeypatch.setattr(label_proxy, "Teacher", lambda _: torch.nn.Identity())
    monkeypatch.setattr(label_proxy, "train", trained)
    monkeypatch.setattr(label_proxy, "judged", lambda *_: {"g": {"uar": 0.5, "log_loss": 1.0}})
    out = tmp_path / "proxy.json"
    words = [str(tmp_path), "--renders", str(tmp_path), "--teacher", str(tmp_path), "--out", str(out), "--steps", "7"]
    words += ["--choices", "base", "grey"]
    with pytest.raises(KeyboardInterrupt):
        main(words)
    assert main(words) == 0
    assert asked == [("base", 0), ("base", 1), ("grey", 0), ("grey", 0), ("grey", 1)]
    assert main([*words, "--steps", "8"]) == 2, "another length is another table"
