"""Each data set's official layout, on tiny fakes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge import labels
from dfer_edge.errors import InvalidInput
from dfer_edge.training.data import LAYOUTS, open_split
from dfer_edge.training.data.listing import Entry, ListedClips, read_frames
from dfer_edge.training.data.opening import joined, open_named
from dfer_edge.training.data.samples import UnreadableClip, parts_of, target_shapes
from dfer_edge.training.data.shards import ArrayClips
from tests.training.tiny import tiny_clips
from tests.videos import write_video


def frames(folder: Path, count: int = 3, suffix: str = "jpg", level: int = 10) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number + 1}.{suffix}"), np.full((20, 24, 3), level + 40 * number, np.uint8))


def text(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def dfew(root: Path) -> None:
    for fold in range(1, 6):
        for part, first in (("train", 1), ("test", 15)):
            rows = [f"{first + n},{n % 7 + 1}" for n in range(14 if part == "train" else 7)]
            text(root / f"EmoLabel_DataSplit/{part}(single-labeled)/set_{fold}.csv", ["video_name,label", *rows])
    for number in range(1, 22):
        frames(root / f"Clip/clip_224x224/{number:05d}")


def ferv39k(root: Path, takes: int = 1) -> None:
    names = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
    for part in ("train", "test"):
        paths = [f"Action/{name}/{part}{take}" for name in names for take in range(1, takes + 1)]
        text(root / f"4_setups/All_scenes/{part}_All.csv", [f"{p} {p.split('/')[1]}" for p in paths])
        for path in paths:
            frames(root / "2_ClipsforFaceCrop" / path)


def mafw(root: Path, takes: int = 1) -> None:
    starts = [22 * take for take in range(takes)]
    for fold in range(1, 6):
        for part, first in (("train", 1), ("test", 12)):
            rows = [f"{start + first + n:05d}.mp4 {name}" for start in starts for n, name in enumerate(labels.MAFW)]
            text(root / f"Train & Test Set/single/no_caption/set_{fold}/{part}.txt", rows)
    for number in range(1, 22 * takes + 1):
        frames(root / f"data/frames/{number:05d}", suffix="png")


def afew(root: Path, takes: int = 1) -> None:
    for part, faces in (("Train_AFEW", ""), ("Val_AFEW", "_Val")):
        for number, name in enumerate(("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")):
            (root / part / name).mkdir(parents=True)
            for take in range(takes):
                clip = f"{take}0{number}"
                (root / part / name / f"{clip}.avi").write_bytes(b"not looked at")
                frames(root / part / f"AlignedFaces_LBPTOP_Points{faces}/Faces/{clip}", count=1)


def afew_of_ten(root: Path) -> None:
    afew(root, takes=5)


def ck_plus(root: Path) -> None:
    for person in range(1, 11):
        for take, code in enumerate(range(1, 8)):
            folder = f"S{person:03d}/{take:03d}"
            frames(root / "cohn-kanade-images" / folder, suffix="png")
            text(
                root / "Emotion" / folder / f"S{person:03d}_{take:03d}_00000003_emotion.txt", [f"   {code}.0000000e+00"]
            )


def oulu(root: Path) -> None:
    for person in range(1, 11):
        for name in ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise"):
            frames(root / f"OriginalImg/VL/Strong/P{person:03d}/{name}", count=5, suffix="jpeg")


def daisee(root: Path, people: int = 1) -> None:
    for part, first in (("Train", 110001), ("Validation", 400018), ("Test", 500039)):
        clips = [f"{first + person}{n:04d}" for person in range(people) for n in range(8)]
        rows = [f"{clip}.avi,0,{int(clip[-4:]) % 4},1,0" for clip in clips]
        text(root / f"Labels/{part}Labels.csv", ["ClipID,Boredom,Engagement,Confusion,Frustration ", *rows])
        for clip in clips:
            path = root / f"DataSet/{part}/{clip[:6]}/{clip}/{clip}.avi"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"not looked at")


def daisee_of_fifteen(root: Path) -> None:
    daisee(root, people=5)


def faces(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for person, age in enumerate("ymoymoymoymo"):
        for code in "adfhns":
            cv2.imwrite(str(root / f"{person:03d}_{age}_f_{code}_a.jpg"), np.full((20, 24, 3), 90, np.uint8))


def folder(root: Path) -> None:
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            frames(root / part / name / "clip1")


# Layout -> (its fake, clips to train, clips to validate, class names).
FAKES: dict[str, tuple[Callable[[Path], None], int, int, tuple[str, ...]]] = {
    "dfew": (dfew, 14, 7, labels.DFEW),
    "ferv39k": (ferv39k, 7, 7, ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")),
    "mafw": (mafw, 11, 11, labels.MAFW),
    "afew": (afew, 7, 7, ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")),
    "ck+": (ck_plus, 56, 14, labels.CK_PLUS),
    "oulu-casia": (oulu, 48, 12, ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")),
    "oulu-casia-images": (oulu, 240, 60, ("Anger", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise")),
    "daisee": (daisee, 8, 8, labels.DAISEE_ENGAGEMENT),
    "afew-folds": (afew_of_ten, 56, 14, ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")),
    "daisee-test": (daisee, 8, 8, labels.DAISEE_ENGAGEMENT),
    "daisee-folds": (daisee_of_fifteen, 96, 24, labels.DAISEE_ENGAGEMENT),
    "faces": (faces, 66, 6, ("anger", "disgust", "fear", "happiness", "neutral", "sadness")),
    "folder": (folder, 2, 2, ("cat", "dog")),
}


def test_every_layout_has_a_fake() -> None:
    assert set(FAKES) == set(LAYOUTS) - {"shards"}


@pytest.mark.parametrize("name", FAKES)
def test_layout(tmp_path: Path, name: str) -> None:
    make, train, val, names = FAKES[name]
    make(tmp_path)
    for fold in range(1, LAYOUTS[name].folds + 1):
        split = open_split([f"{name}:{tmp_path}"], fold=fold)
        assert (len(split.train.targets), len(split.val.targets), split.labels) == (train, val, names)
        described = [{s.describe(i) for i in range(len(s.targets))} for s in (split.train, split.val)]
        assert not described[0] & described[1]
        assert set(split.train.targets) == set(range(len(names)))


@pytest.mark.parametrize("name", FAKES)
def test_the_label_is_that_of_the_path(tmp_path: Path, name: str) -> None:
    make, _, _, names = FAKES[name]
    make(tmp_path)
    split = open_split([f"{name}:{tmp_path}"])
    for index in range(0, len(split.train.targets), 5):
        path, label = split.train.describe(index), names[split.train.targets[index]]
        if name in ("ferv39k", "oulu-casia", "folder"):
            assert f"/{label}" in path
        if name == "oulu-casia-images":
            first = int(Path(path).stem) <= 3
            assert label == ("Neutral" if first else Path(path).parent.name)
        if name == "ck+":
            assert label == names[int(Path(path).name)]
        if name.startswith("daisee"):
            assert label == names[int(Path(path).stem[-4:]) % 4]
        if name.startswith("afew"):
            assert label == names[int(Path(path).name[1:])]
        if name == "faces":
            assert label == names["adfhns".index(Path(path).stem[-3])]
        if name in ("dfew", "mafw"):
            assert label == names[(int(Path(path).name) - 1) % len(names)]


@pytest.mark.parametrize("name", ["afew-folds", "daisee-folds"])
def test_folds_are_exclusive_and_hold_every_class(tmp_path: Path, name: str) -> None:
    FAKES[name][0](tmp_path)
    seen: list[str] = []
    for fold in range(1, 6):
        split = open_split([f"{name}:{tmp_path}"], fold=fold)
        seen += [split.val.describe(i) for i in range(len(split.val.targets))]
        assert set(split.val.targets) == set(range(len(split.labels)))
        people = [set(s.groups) - {-1} for s in (split.train, split.val)]
        assert name == "afew-folds" or len(people[1]) == 3
    assert len(seen) == len(set(seen)) == len(split.train.targets) + len(split.val.targets)


def test_parts_are_scenes_and_age_groups(tmp_path: Path) -> None:
    ferv39k(tmp_path / "ferv")
    assert set(parts_of(open_split([f"ferv39k:{tmp_path / 'ferv'}"]).val)) == {"Action"}
    faces(tmp_path / "faces")
    _, data = open_named(f"faces:{tmp_path / 'faces'}", 1)
    parts = parts_of(data)
    assert {parts[i] for i in range(len(parts)) if "_o_" in data.describe(i)} == {"old"}
    assert sorted(set(parts)) == ["middle-aged", "old", "young"]


@pytest.mark.parametrize("name", ["ck+", "oulu-casia"])
def test_no_person_on_both_sides_and_all_are_held_out_once(tmp_path: Path, name: str) -> None:
    FAKES[name][0](tmp_path)
    held = []
    for fold in range(1, 6):
        split = open_split([f"{name}:{tmp_path}"], fold=fold)
        people = [{Path(s.describe(i)).parent.name for i in range(len(s.targets))} for s in (split.train, split.val)]
        assert not people[0] & people[1]
        held += sorted(people[1])
    assert len(held) == len(set(held)) == 10


@pytest.mark.parametrize("name", FAKES)
def test_an_unknown_layout_says_what_was_looked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"looked for .+ and found none"):
        open_split([f"{name}:{tmp_path}"])


def test_a_class_without_a_sample_is_named(tmp_path: Path) -> None:
    dfew(tmp_path)
    table = tmp_path / "EmoLabel_DataSplit/train(single-labeled)/set_2.csv"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if not line.endswith((",6", ",3"))))
    with pytest.raises(InvalidInput, match="found none of neutral, disgust"):
        open_split([f"dfew:{tmp_path}"], fold=2)
    split = open_split([f"dfew:{tmp_path}"], fold=2, class_names=("sad", "happiness", "Anger"))
    assert split.labels == ("sad", "happiness", "Anger")
    assert np.bincount(split.train.targets).tolist() == [2, 2, 2]


def test_data_sets_join_by_class_name(tmp_path: Path) -> None:
    dfew(tmp_path / "a")
    ferv39k(tmp_path / "b")
    split = open_split([f"dfew:{tmp_path / 'a'}", f"ferv39k:{tmp_path / 'b'}"])
    assert split.labels == labels.DFEW
    assert np.bincount(split.train.targets).tolist() == [3] * 7
    assert split.train.describe(20).endswith("Fear/train1")
    sample = split.train.read(20, lambda length: range(length))
    assert sample.label == 6
    assert len(sample.frames) == 3


def test_joined_sets_keep_the_targets_that_all_have() -> None:
    """Renders with units and landmarks, and clips with other units: only what is alike is a target of both."""
    full = tiny_clips(6, targets=True)
    part = {"frames": np.zeros((3, 6, 20, 20, 3), np.uint8), "labels": np.arange(3)}
    part |= {"landmarks": np.ones((3, 6, 68, 2), np.float32), "units": np.ones((3, 6, 7), np.float32)}
    other = ArrayClips("other", full.labels, [part | {"intensity": np.ones((3, 6), np.float32)}])
    both = joined([full, other], full.labels)
    assert target_shapes(both) == {"landmarks": (68, 2)}
    for index in (0, 7):
        sample = both.read(index, lambda _: [0, 2])
        assert sample.landmarks is not None
        assert sample.landmarks.shape == (2, 68, 2)
        assert sample.units is None
        assert sample.intensity is None
    none = joined([full, tiny_clips(3)], full.labels)
    assert target_shapes(none) == {}
    assert none.read(0, lambda _: [0]).landmarks is None


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    dfew(tmp_path)
    table = tmp_path / "EmoLabel_DataSplit/train(single-labeled)/set_1.csv"
    table.write_bytes(b"video_name,label\n1,\xff\xfe\n")
    with pytest.raises(InvalidInput, match=r"expected a CSV file of UTF-8 text, got .*set_1\.csv"):
        open_split([f"dfew:{tmp_path}"])


@pytest.mark.parametrize("content", [b"happy", b"", b"\xff\xfe", b"nan", b"inf"])
def test_a_label_of_ck_plus_that_is_no_number(tmp_path: Path, content: bytes) -> None:
    ck_plus(tmp_path)
    (tmp_path / "Emotion/S001/000/S001_000_00000003_emotion.txt").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"expected a number in .*S001_000_00000003_emotion\.txt"):
        open_split([f"ck+:{tmp_path}"])


def test_a_listed_clip_that_is_not_there_is_left_out_and_told(tmp_path: Path) -> None:
    frames(tmp_path / "a")
    data = ListedClips("x", ("h",), [Entry(tmp_path / "a", "h"), Entry(tmp_path / "b", "h")])
    assert len(data) == 1
    assert data.missing == {str(tmp_path / "b"): "listed, but not there"}
    with pytest.raises(InvalidInput, match="none of the 1 listed ones exist"):
        ListedClips("x", ("h",), [Entry(tmp_path / "b", "h")])
    with pytest.raises(InvalidInput, match="labels out of h in x, got sulky"):
        ListedClips("x", ("h",), [Entry(tmp_path / "a", "sulky")])


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_corrupt_video_is_unreadable_not_fatal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    data = ListedClips("x", ("h",), [Entry(path, "h")])
    with pytest.raises(UnreadableClip):
        data.read(0, lambda length: [0])


def index_of(frame: np.ndarray) -> int:
    """Of a marked frame: its grey level tells it."""
    return round((float(frame[-20:, -20:].mean()) - 40) / 4)


def test_frames_of_a_video_are_those_chosen(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", [40 * n for n in range(9)])
    lengths = []

    def choose(length: int) -> list[int]:
        lengths.append(length)
        return [1, 4, 4, 8]

    assert [index_of(frame) for frame in read_frames(path, choose)] == [1, 4, 4, 8]
    assert lengths == [9]


@pytest.mark.parametrize("hint", [50, None])
def test_a_header_that_declares_no_or_too_many_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hint: int | None
) -> None:
    from dfer_edge.sources.video import VideoSource

    path = write_video(tmp_path / "clip.mp4", [40 * n for n in range(5)])
    original = VideoSource.__init__

    def lying(self: VideoSource, *args: object, **kwargs: object) -> None:
        original(self, *args, **kwargs)  # type: ignore[arg-type]
        self.length_hint = hint

    monkeypatch.setattr(VideoSource, "__init__", lying)
    assert [index_of(frame) for frame in read_frames(path, lambda length: [0, length - 1])] == [0, 4]


def test_images_of_several_sizes(tmp_path: Path) -> None:
    frames(tmp_path / "a", count=2)
    cv2.imwrite(str(tmp_path / "a" / "2.jpg"), np.zeros((30, 30, 3), np.uint8))
    with pytest.raises(InvalidInput, match="images of one size"):
        read_frames(tmp_path / "a", lambda length: range(length))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dfew", "expected NAME:PATH with a name out of"),
        ("imagenet:/tmp", "expected NAME:PATH with a name out of"),
        ("dfew:/nowhere/at/all", "expected a folder that holds the data set .dfew., found none"),
    ],
)
def test_bad_names(spec: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        open_split([spec])


@pytest.mark.parametrize("fold", [0, 6])
def test_bad_folds(tmp_path: Path, fold: int) -> None:
    with pytest.raises(InvalidInput, match="fold of dfew from 1 to 5"):
        open_split([f"dfew:{tmp_path}"], fold=fold)


@pytest.mark.parametrize("label", ["8", "0", "joy"])
def test_a_label_out_of_range(tmp_path: Path, label: str) -> None:
    dfew(tmp_path)
    text(tmp_path / "EmoLabel_DataSplit/train(single-labeled)/set_1.csv", ["video_name,label", f"1,{label}"])
    with pytest.raises(InvalidInput, match="expected a label from 1 to 7"):
        open_split([f"dfew:{tmp_path}"])
