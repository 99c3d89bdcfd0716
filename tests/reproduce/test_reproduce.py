"""The tables of the papers: rows as data, both choices of the epoch, resuming, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dfer_edge.cli.main import main
from dfer_edge.errors import InvalidInput, SourceNotFound
from dfer_edge.inference import registry
from dfer_edge.models import list_models
from dfer_edge.reproduce import PAPERS, Job, find_paper, report, run, runs
from dfer_edge.reproduce.data import fold_count, open_fold
from dfer_edge.reproduce.fold import choices
from dfer_edge.reproduce.papers import chosen_rows
from dfer_edge.training.data import LAYOUTS
from dfer_edge.weights import file as weights
from tests.training import test_layouts as fakes


def job(tmp_path: Path, paper: str = "001", **options: object) -> Job:
    return Job(find_paper(paper), {"*": "shards:nowhere"}, tmp_path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", PAPERS)
def test_rows_are_of_networks_and_layouts_that_exist(number: str, tmp_path: Path) -> None:
    for row in PAPERS[number].rows:
        assert row.model in list_models()
        assert row.data in LAYOUTS
        # Small inputs see the same share of the face.
        shares = []
        for small in (False, True):
            work = job(tmp_path, number, small=small)
            shares.append(runs.recipe_of(work, row).crops(work.spec(row)).crop_share)
        assert shares[1] == pytest.approx(shares[0], abs=0.02)
    names = [(r.name, r.data) for r in PAPERS[number].rows]
    assert len(names) == len(set(names))


def test_weights_of_ours_bring_their_crop_and_pixels(tmp_path: Path) -> None:
    """Pixels in another scale than the weights learnt, and every clip looks the same: paper 000 stayed at chance."""
    row = find_paper("000").rows[1]
    shipped, printed = weights.resolve("slowr50_sa", "default").spec, registry.find("slowr50_sa").spec
    spec = job(tmp_path, "000", init="default").spec(row)
    assert (spec.mean, spec.std, spec.face_box) == (shipped.mean, shipped.std, shipped.face_box)
    assert spec.std != printed.std, "nothing was shown"
    # The network stays the printed one: its input, and the mean where the weights pool otherwise.
    assert (spec.frames, spec.size, dict(spec.options)) == (printed.frames, printed.size, dict(printed.options))
    assert job(tmp_path, "000").spec(row) == printed
    # Strides that the weights know are theirs; a small input is the job's.
    small = job(tmp_path, "003", init="default", small=True).spec(find_paper("003").rows[0])
    assert small.options["last_strides"] == (2, 1)
    assert small.size == 64
    own = job(tmp_path, "003", size=80, frames=4)
    assert (own.is_small, own.spec(find_paper("003").rows[0]).size) == (True, 80)
    assert "The number of frames of the inputs is 4." in report.warnings(own, [])


def test_weights_of_another_network_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    fakes.dfew(tmp_path / "data")
    data, wrong = {"dfew": f"dfew:{tmp_path / 'data'}"}, weights.shipped("r2plus1d_sta")
    with pytest.raises(InvalidInput, match="expected weights of slowr50, got weights of r2plus1d_sta"):
        run(Job(find_paper("000"), data, tmp_path / "out", init=str(wrong)))
    assert not (tmp_path / "out" / "runs").exists()


def test_a_field_of_every_recipe(tmp_path: Path) -> None:
    row, changed = find_paper("000").rows[0], (("stages.optimiser.lr", "2e-05"),)
    found = job(tmp_path, "000", changes=changed)
    assert [stage.optimiser.lr for stage in runs.recipe_of(found, row).stages] == [2e-05, 2e-05]
    assert runs._identity(found, row) != runs._identity(job(tmp_path, "000"), row)
    assert "Of every recipe stages.optimiser.lr is 2e-05, not the paper's." in report.warnings(found, [])


def test_a_variant_that_there_is_not_names_the_closest() -> None:
    with pytest.raises(InvalidInput, match="variants of paper 000, got 'slowr50-as'") as caught:
        chosen_rows(find_paper("000"), ["slowr50-as"])
    assert "slowr50-sa" in caught.value.hint
    assert {row.data for row in chosen_rows(find_paper("000"), ["slowr50-sa"])} == {"dfew", "ferv39k"}


def test_data_that_the_paper_does_not_use(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected data of paper 000 out of dfew, ferv39k; got mafw"):
        run(Job(find_paper("000"), {"mafw": "mafw:x"}, tmp_path))
    with pytest.raises(InvalidInput, match="got none"):
        run(Job(find_paper("000"), {}, tmp_path))


def test_an_archive_that_is_still_packed(tmp_path: Path) -> None:
    (tmp_path / "DFEW.zip").write_bytes(b"PK")
    with pytest.raises(SourceNotFound, match="got the archive"):
        fold_count(f"dfew:{tmp_path / 'DFEW.zip'}")


def test_inner_people_are_trained_on_by_nobody(tmp_path: Path) -> None:
    fakes.oulu(tmp_path)
    fold = open_fold(f"oulu-casia:{tmp_path}", 2, 0, None)
    names = [{part.describe(i) for i in range(len(part.targets))} for part in (fold.train, fold.inner, fold.test)]
    assert not names[0] & names[1]
    assert not (names[0] | names[1]) & names[2]
    assert sum(map(len, names)) == 60


def test_both_choices_of_the_epoch_by_hand() -> None:
    rows = [
        {"stage": 1, "epoch": e + 1, "val_war": v, "val_uar": v / 2, "inner_war": i, "val_confusion": [[e]]}
        for e, (v, i) in enumerate([(0.3, 0.9), (0.6, 0.5), (0.4, 0.8)])
    ]
    found = choices(rows, "war")
    assert (found["on_test"]["epoch"], found["on_test"]["war"]) == (2, 0.6)
    assert (found["on_inner"]["epoch"], found["on_inner"]["war"], found["on_inner"]["uar"]) == (1, 0.3, 0.15)


def fake_result(war: float) -> dict[str, object]:
    choice = {"epoch": 1, "war": war, "uar": war, "train_war": 1.0, "confusion": [[3, 1], [0, 4]]}
    return {"on_test": choice, "on_inner": choice | {"war": war - 0.1}, "labels": ["a", "b"], "start": "noise"}


def test_tables_by_hand(tmp_path: Path) -> None:
    paper = find_paper("000")
    results = [
        {"row": dataclasses.asdict(paper.rows[0]), "runs": [fake_result(0.5), fake_result(0.7)], "missing": ""},
        {"row": dataclasses.asdict(paper.rows[2]), "runs": [], "missing": "no data: --data ferv39k:FOLDER"},
    ]
    made = report.write(Job(paper, {"dfew": "dfew:x"}, tmp_path, quick=True), results)
    content = json.loads(made[0].read_text())
    # Mean of 50 and 70, deviation of two numbers 20 apart.
    assert content["rows"][0]["ours"]["on_test_war"] == pytest.approx({"mean": 60.0, "sd": 200**0.5})
    assert content["rows"][0]["ours"]["on_inner_war"]["mean"] == pytest.approx(50.0)
    assert content["rows"][0]["ours"]["confusion"] == [[6, 2], [0, 8]]
    assert content["rows"][0]["ours"]["train_minus_test_war"] == pytest.approx(40.0)
    text = made[1].read_text()
    assert "| Table 2 | slowr50 | dfew | 69.40 | 60.00 ± 14.14 | 50.00 ± 14.14 | 56.78 |" in text
    assert "| a | 6 (75 %) | 2 (25 %) |" in text
    assert "no data: --data ferv39k:FOLDER" in text
    assert "**QUICK" in text
    page = made[2].read_text()
    assert "60.00 ± 14.14" in page
    # Bars, and a confusion matrix with counts: figures that are inside.
    assert page.count("data:image/png;base64,") == 2
    assert "SLOW_8x8_R50.pyth" in text


def test_what_is_done_stays_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a kill between two runs; a result that does not read, or is of other settings, is made anew."""
    fakes.dfew(tmp_path / "data")
    trained: list[tuple[str, int]] = []

    def train(job: Job, row: object, fold: int, recipe: object, folder: Path) -> dict[str, object]:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append((row.name, fold))  # type: ignore[attr-defined]
        return fake_result(0.5)

    monkeypatch.setattr("dfer_edge.reproduce.fold.train_fold", train)
    work = Job(
        find_paper("000"),
        {"dfew": f"dfew:{tmp_path / 'data'}"},
        tmp_path / "out",
        variants=["slowr50", "slowr50-sa"],
        most_folds=2,
    )
    with pytest.raises(KeyboardInterrupt):
        run(work)
    assert len(trained) == 3
    trained.clear()
    results = run(work)
    assert trained == [("slowr50-sa", 2)]
    assert [len(result["runs"]) for result in results] == [2, 2, 0]
    trained.clear()
    (tmp_path / "out/runs/slowr50/dfew/fold-1/result.json").write_text("{")
    run(work)
    assert trained == [("slowr50", 1)]
    trained.clear()
    run(dataclasses.replace(work, seed=1, variants=["slowr50"]))
    assert trained == [("slowr50", 1), ("slowr50", 2)]


@pytest.mark.slow
def test_quick_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole run on a fake of DFEW, and again from its result."""
    fakes.dfew(tmp_path / "data")
    arguments = ["reproduce", "000", "--data", f"dfew:{tmp_path / 'data'}", "--out", str(tmp_path / "out")]
    arguments += ["--quick", "--folds", "1", "--variant", "slowr50", "--threads", "1", "--json"]
    rows = []
    for _ in range(2):
        assert main(arguments) == 0
        rows.append(json.loads(capsys.readouterr().out)["rows"])
    assert rows[0] == rows[1]
    (row,) = rows[0]
    assert row["runs"][0]["start"] == "noise"
    assert sum(map(sum, row["ours"]["confusion"])) == 7  # one a class
    assert {path.suffix for path in (tmp_path / "out").glob("reproduction.*")} == {".json", ".md", ".html"}
