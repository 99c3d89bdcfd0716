"""What a data set, a backbone, a disk or a name can have wrong: each said before hours of work, with the way out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dfer_edge.cli.main import main
from dfer_edge.errors import DferError, InvalidInput, SourceNotFound
from dfer_edge.reproduce import Job, find_paper, run
from dfer_edge.reproduce.data import open_fold
from tests.training import test_layouts as fakes


def reproduce(*arguments: str, out: Path) -> int:
    return main(["reproduce", "000", "--quick", "--threads", "1", "--out", str(out), *arguments])


def test_a_layout_without_one_of_its_folds(tmp_path: Path) -> None:
    fakes.dfew(tmp_path / "data")
    (tmp_path / "data/EmoLabel_DataSplit/train(single-labeled)/set_2.csv").unlink()
    with pytest.raises(InvalidInput, match=r"expected fold 2 of DFEW in .*looked for"):
        open_fold(f"dfew:{tmp_path / 'data'}", 2, 0, None)
    job = Job(find_paper("000"), {"dfew": f"dfew:{tmp_path / 'data'}"}, tmp_path / "out", ["slowr50"])
    with pytest.raises(InvalidInput, match="fold 2 of DFEW"):  # at once, not after the first fold has been trained
        run(job)
    assert not list((tmp_path / "out").rglob("checkpoint.safetensors"))


def test_a_clip_that_is_listed_twice(tmp_path: Path) -> None:
    fakes.dfew(tmp_path / "data")
    own = tmp_path / "data/EmoLabel_DataSplit/train(single-labeled)/set_1.csv"
    own.write_text((before := own.read_text()) + before.splitlines()[-1] + "\n")
    with pytest.raises(InvalidInput, match=r"every clip of dfew once, 1 are listed twice: .*000"):
        open_fold(f"dfew:{tmp_path / 'data'}", 1, 0, None)
    own.write_text(before)
    table = tmp_path / "data/EmoLabel_DataSplit/test(single-labeled)/set_1.csv"
    table.write_text(table.read_text() + "3,2\n")  # a clip of the training part
    with pytest.raises(
        InvalidInput, match=r"expected clips of one part alone, 1 of dfew are in training and test, e.g. .*00003"
    ):
        open_fold(f"dfew:{tmp_path / 'data'}", 1, 0, None)


def test_labels_in_another_order(tmp_path: Path) -> None:
    """DFEW counts from 1; a list from 0 to 6 is of somebody else."""
    fakes.dfew(tmp_path / "data")
    for table in (tmp_path / "data/EmoLabel_DataSplit").rglob("set_1.csv"):
        rows = [line.split(",") for line in table.read_text().splitlines()]
        table.write_text("\n".join([",".join(rows[0]), *(f"{n},{int(label) - 1}" for n, label in rows[1:])]))
    with pytest.raises(InvalidInput, match="expected a label from 1 to 7"):
        open_fold(f"dfew:{tmp_path / 'data'}", 1, 0, None)


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "7z"])
def test_archives_that_are_still_packed(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"DFEW.{suffix}"
    path.write_bytes(b"PK")
    with pytest.raises(SourceNotFound, match="got the archive"):
        run(Job(find_paper("000"), {"dfew": f"dfew:{path}"}, tmp_path / "out"))


def test_an_archive_inside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "Clip.zip").write_bytes(b"PK")
    with pytest.raises(InvalidInput, match="clips of DFEW") as caught:
        open_fold(f"dfew:{tmp_path / 'data'}", 1, 0, None)
    assert "Clip.zip" in f"{caught.value.message} {caught.value.hint}"


def test_a_backbone_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.dfew(tmp_path / "data")
    arguments = ("--data", f"dfew:{tmp_path / 'data'}", "--variant", "slowr50", "--init", str(tmp_path / "no.pyth"))
    assert reproduce(*arguments, out=tmp_path / "out") != 0
    assert "found nothing at" in capsys.readouterr().err


def test_a_variant_that_there_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce("--rendered", "--variant", "slowr50-as", out=tmp_path / "out") != 0
    assert "slowr50-sa" in capsys.readouterr().err
    assert not (tmp_path / "out" / "renders").exists()


def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In what is prepared, as where a run is written."""
    from dfer_edge.faces import FaceFinder
    from dfer_edge.faces.prepared import FaceStore
    from tests.reproduce.test_killed import Nobody

    class Blind(Nobody):
        def detect(self, image: object) -> list[object]:  # type: ignore[override]
            return []

    fakes.oulu(tmp_path / "data")
    image = next((tmp_path / "data").rglob("*.jpeg"))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DferError, match="No space left on device"):
        FaceStore(tmp_path / "store", FaceFinder(Blind())).obtain(image)
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_the_noise_is_named_with_the_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.dfew(tmp_path / "data")
    shutil.rmtree(tmp_path / "data/Clip/clip_224x224/00001")
    table = tmp_path / "data/EmoLabel_DataSplit/train(single-labeled)/set_1.csv"
    table.unlink()
    arguments = ("--data", f"dfew:{tmp_path / 'data'}", "--variant", "slowr50")
    assert reproduce(*arguments, out=tmp_path / "out") != 0
    assert "starts from noise, the paper from Kinetics-400 slow_r50" in capsys.readouterr().err
