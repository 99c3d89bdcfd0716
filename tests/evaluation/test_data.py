"""Layouts of labelled data, spellings of labels, and what is left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dfer_edge import InvalidInput, SourceNotFound, labels
from dfer_edge.evaluation.data import read
from dfer_edge.evaluation.run import score, source_of
from dfer_edge.training.data.registry import LAYOUTS, Layout
from dfer_edge.training.data.samples import ClipSource
from tests.conftest import ROOT
from tests.evaluation.fakes import SPEC, FakeRecognizer, WholeDetector, write_image


def test_spellings() -> None:
    for group in (labels.DFEW, labels.AFEW, labels.MAFW, labels.CK_PLUS):
        assert len({labels.canonical(name) for name in group}) == len(group)
    assert labels.position("Surprised", labels.DFEW) == labels.DFEW.index("surprise")
    assert labels.position("happiness", labels.DFEW) == 0
    assert labels.position("angry", labels.MAFW) == 0
    assert labels.position("very-LOW", labels.DAISEE_ENGAGEMENT) == 0
    assert labels.position("contempt", labels.DFEW) is None
    assert labels.position("", labels.DFEW) is None


def test_label_before_the_underscore(tmp_path: Path) -> None:
    for name in ("surprised_1.jpg", "happy_t8_2.png", "fearful_3.jpg", "bored_4.jpg", "happy.jpg", ".happy_5.jpg"):
        write_image(tmp_path / name)
    (tmp_path / "happy_notes.txt").write_text("no sample")
    data = read(tmp_path, labels.DFEW)
    assert data.layout == "label before the underscore"
    assert [(s.name, labels.DFEW[s.truth], s.is_still) for s in data.samples] == [
        ("fearful_3.jpg", "fear", True),
        ("happy_t8_2.png", "happy", True),
        ("surprised_1.jpg", "surprise", True),
    ]
    assert data.left_out == {"bored": 1}
    assert data.per_class["happy"] == 1
    assert data.per_class["sad"] == 0


def test_classes_restrict_the_samples_only(tmp_path: Path) -> None:
    for name in ("surprised_1.jpg", "happy_2.jpg", "fearful_3.jpg"):
        write_image(tmp_path / name)
    data = read(tmp_path, labels.DFEW, ["Surprise", "happiness"])
    assert [s.name for s in data.samples] == ["happy_2.jpg", "surprised_1.jpg"]
    assert data.labels == labels.DFEW
    assert data.left_out == {"fearful": 1}
    with pytest.raises(InvalidInput, match=r"classes out of happy.*got contempt"):
        read(tmp_path, labels.DFEW, ["happy", "contempt"])
    with pytest.raises(InvalidInput, match=r"samples of disgust.*'surprised': 1"):
        read(tmp_path, labels.DFEW, ["disgusted"])


def test_folder_per_class_with_folders_of_frames(tmp_path: Path) -> None:
    write_image(tmp_path / "Happiness" / "clip1" / "0.jpg")
    write_image(tmp_path / "Happiness" / "1.jpg")
    write_image(tmp_path / "very low" / "2.jpg")
    (tmp_path / "Sad").mkdir()
    data = read(tmp_path, labels.DFEW)
    assert data.layout == "a folder per class"
    assert [(s.name, s.truth, s.is_still) for s in data.samples] == [
        ("Happiness/1.jpg", 0, True),
        ("Happiness/clip1", 0, False),
    ]
    assert data.left_out == {"very low": 1}


@pytest.mark.parametrize("names", [labels.DAISEE_ENGAGEMENT, labels.MAFW], ids=["DAiSEE", "MAFW"])
def test_label_sets_of_4_and_11(names: tuple[str, ...], tmp_path: Path) -> None:
    for index, name in enumerate(names):
        write_image(tmp_path / f"{name.replace(' ', '_')}_{index}.jpg")
    data = read(tmp_path, names)
    assert sorted((s.truth, s.name.rpartition("_")[2]) for s in data.samples) == [
        (index, f"{index}.jpg") for index in range(len(names))
    ]


@pytest.mark.parametrize("header", ["path,label\n", "label,path\n", "Path , Label\n", ""])
def test_csv(tmp_path: Path, header: str) -> None:
    write_image(tmp_path / "a" / "1.jpg")
    rows = ["a/1.jpg,Sad", "a/missing.mp4,anger", "a/3.jpg,contempt", "a/4.jpg,2", "", " , "]
    if header.startswith("label"):
        rows = [",".join(reversed(row.split(","))) for row in rows]
    (tmp_path / "list.csv").write_text("\ufeff" + header + "\n".join(rows))
    data = read(tmp_path / "list.csv", labels.DFEW)
    # A number is a position; a file that is missing is a sample, and is counted when it does not read.
    assert [(s.name, labels.DFEW[s.truth]) for s in data.samples] == [
        ("a/1.jpg", "sad"),
        ("a/4.jpg", "neutral"),
        ("a/missing.mp4", "angry"),
    ]
    assert data.left_out == {"contempt": 1}


@pytest.mark.parametrize("content", [b"only one column\n", b"\xff\xfe\x00\xd8", b""])
def test_csv_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(InvalidInput, match="expected"):
        read(tmp_path / "list.csv", labels.DFEW)


def test_unknown_layout_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"CSV.*looked for a folder named.*looked for images or videos named LABEL_"):
        read(tmp_path, labels.DFEW)
    with pytest.raises(InvalidInput, match=r"looked for a \.csv file"):
        read(write_image(tmp_path / "happy_1.jpg"), labels.DFEW)
    with pytest.raises(SourceNotFound, match="found nothing at"):
        read(tmp_path / "nowhere", labels.DFEW)


# -- data sets of training ----------------------------------------------------------------------------------------


class Clips:
    """Three clips of ten frames; the grey level of a frame is its position, the second clip is broken."""

    name = "fake:val"
    labels = ("anger", "contempt", "happiness")
    targets = np.array([0, 2, 1, 2])

    def describe(self, index: int) -> str:
        return f"clip {index}"

    def source(self, index: int) -> ClipSource:
        if index == 1:
            raise InvalidInput("expected a clip that decodes")
        return ClipSource([np.full((32, 32, 3), 25 + i, np.uint8) for i in range(10)], cropped=index == 3)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Path, int]]:
    """A layout of training that is not there; gives what it was asked for."""
    asked = []

    def open_fake(folder: Path, fold: int, cropper: None) -> tuple[None, Clips]:
        assert cropper is None
        asked.append((folder, fold))
        return None, Clips()

    monkeypatch.setitem(LAYOUTS, "fake", Layout(5, open_fake))
    return asked


def test_data_set_of_training(training: list[tuple[Path, int]], tmp_path: Path) -> None:
    data = read(f"fake:{tmp_path}", labels.DFEW, fold=3)
    assert training == [(tmp_path, 3)]
    assert [(s.name, labels.DFEW[s.truth]) for s in data.samples] == [
        ("clip 0", "angry"),
        ("clip 1", "happy"),
        ("clip 3", "happy"),
    ]
    assert data.left_out == {"contempt": 1}
    assert [frame[0, 0, 0] - 25 for frame in source_of(data.samples[0], SPEC, "auto").source] == list(range(10))
    detector = WholeDetector()
    recognizer = FakeRecognizer(detector)
    found = score(recognizer, detector, data)
    assert recognizer.faces == ["detect", "cropped"], "what the layout says"
    assert found.cropped == 1
    score(recognizer, detector, data, faces="detect")
    assert recognizer.faces[2:] == ["detect", "detect"]
    assert found.unreadable == {"clip 1": "expected a clip that decodes"}
    assert len(found.scored) == 2


@pytest.mark.parametrize(
    ("spec", "fold", "message"),
    [
        ("other:.", 1, "out of .*, fake; got 'other"),
        ("fake:.", 6, "1 to 5, got 6"),
        ("fake:nowhere", 1, "none at nowhere"),
    ],
)
def test_data_sets_that_training_does_not_know(training: list, spec: str, fold: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read(spec, labels.DFEW, fold=fold)


def test_data_sets_are_read_without_torch() -> None:
    """Evaluation runs where inference does."""
    code = "import sys, dfer_edge.evaluation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0
