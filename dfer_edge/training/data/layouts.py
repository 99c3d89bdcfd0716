"""The official folder and CSV layouts of the field's data sets, each a function from a folder to its splits.

What a layout looks like is public fact: data set pages, and the loaders of public projects that read them (named in the
docstrings). The data themselves are for research only and none are here; the layouts are tested on fakes.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from dfer_edge import labels
from dfer_edge.errors import InvalidInput
from dfer_edge.sources.opening import FolderSource
from dfer_edge.training.data.faces import FaceCropper
from dfer_edge.training.data.listing import Entry, ListedClips

Pair = tuple[ListedClips, ListedClips]

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z")
FERV39K = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
AFEW_FOLDERS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
AFEW_PARTS = ((("Train_AFEW", "Train"), ""), (("Val_AFEW", "Val"), "_Val"))
FACES_EXPRESSIONS = {"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "n": "neutral", "s": "sadness"}
FACES_AGES = {"y": "young", "m": "middle-aged", "o": "old"}
OULU_FOLDERS = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
OULU_IMAGES = ("Anger", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise")


def first_existing(root: Path, candidates: Sequence[str], what: str) -> Path:
    """The first of ``candidates`` below ``root``; InvalidInput lists all that were looked for, and packed archives."""
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    packed = sorted(path.name for path in root.iterdir() if path.suffix.lower() in ARCHIVES)
    hint = f"unpack {', '.join(packed[:3])} first" if packed else ""
    raise InvalidInput(f"expected {what} in {root}, looked for {', '.join(candidates)} and found none", hint)


def dfew(root: Path, fold: int, cropper: FaceCropper | None) -> Pair:
    """DFEW (Jiang et al., ACM MM 2020): 16,372 clips, 12,059 with one label, 5 folds.

    ``EmoLabel_DataSplit/train(single-labeled)/set_1.csv`` with columns ``video_name,label`` (labels 1 to 7 in
    :data:`dfer_edge.labels.DFEW`'s order) and face crops in ``Clip/jpg_256/00001/*.jpg`` (github.com/sunlicai/MAE-DFER,
    preprocess/dfew.py) or in ``Clip/clip_224x224`` and ``Clip/clip_224x224_16f`` (others); or
    ``label/single_trainset_1.csv`` beside ``data/00001/`` (README of github.com/jiangxingxun/DFEW).
    """
    clips = first_existing(
        root,
        ("Clip/jpg_256", "Clip/clip_224x224", "Clip/clip_224x224_16f", "Clip/clip_224x16f", "data", "Clip/original"),
        "clips of DFEW",
    )
    pair = []
    for part in ("train", "test"):
        names = (
            f"EmoLabel_DataSplit/{part}(single-labeled)/set_{fold}.csv",
            f"EmoLabel_DataSplit/{part}/set_{fold}.csv",
            f"label/single_{part}set_{fold}.csv",
        )
        rows = _rows(first_existing(root, names, f"fold {fold} of DFEW"), columns=2)
        entries = [
            Entry(_clip_of(clips, _digits(name)), _numbered(labels.DFEW, label, first=1, file=root))
            for name, label in rows
            if name.strip().isdecimal()
        ]
        pair.append(ListedClips("dfew", labels.DFEW, entries, clips.name != "original", cropper))
    return pair[0], pair[1]


def ferv39k(root: Path, fold: int, cropper: FaceCropper | None) -> Pair:
    """FERV39k (Wang et al., CVPR 2022): 38,935 clips, one split; figures by its 22 scenes, which begin the paths.

    ``4_setups/All_scenes/train_All.csv`` with lines such as ``Action/Sad/0010 Sad``, and face crops in
    ``2_ClipsforFaceCrop/Action/Sad/0010/*.jpg`` (github.com/sunlicai/MAE-DFER, preprocess/ferv39k.py).
    """
    clips = first_existing(root, ("2_ClipsforFaceCrop", "2_ClipsforFaceCrop/2_ClipsforFaceCrop"), "clips of FERV39k")
    pair = []
    for part in ("train", "test"):
        table = first_existing(root, (f"4_setups/All_scenes/{part}_All.csv",), "the split of FERV39k")
        rows = _rows(table, columns=2, separator=" ")
        entries = [Entry(clips / path, label, part=path.split("/")[0]) for path, label in rows]
        pair.append(ListedClips("ferv39k", FERV39K, entries, cropped=True, cropper=cropper))
    return pair[0], pair[1]


def mafw(root: Path, fold: int, cropper: FaceCropper | None) -> Pair:
    """MAFW (Liu et al., ACM MM 2022): 10,045 clips, 9,172 with one of 11 labels, 5 folds.

    ``Train & Test Set/single/no_caption/set_1/train.txt`` with lines such as ``00001.mp4 anger``, whole frames in
    ``data/clips/00001.mp4``. ``data/frames/00001/*`` is taken for face crops where somebody has made them, as in
    github.com/sunlicai/MAE-DFER (preprocess/mafw.py, which calls the first folder ``split``).
    """
    clips = first_existing(root, ("data/frames", "data/clips", "clips"), "clips of MAFW")
    pair = []
    for part in ("train", "test"):
        folders = ("Train & Test Set", "split", "anno")
        names = [f"{folder}/single/no_caption/set_{fold}/{part}.txt" for folder in folders]
        rows = _rows(first_existing(root, names, f"fold {fold} of MAFW"), columns=2, separator=" ")
        # A folder of frames has the video's name without its suffix.
        entries = [Entry(_clip_of(clips, (Path(name).stem, name)), label.lower()) for name, label in rows]
        pair.append(ListedClips("mafw", labels.MAFW, entries, clips.name == "frames", cropper))
    return pair[0], pair[1]


def afew(root: Path, fold: int, cropper: FaceCropper | None) -> Pair:
    """AFEW of EmotiW (Dhall et al.): 773 clips to train, 383 to validate.

    ``Train_AFEW/Angry/*.avi``, and aligned faces in ``Train_AFEW/AlignedFaces_LBPTOP_Points/Faces/000046280/*.jpg``;
    the same below ``Val_AFEW`` with ``AlignedFaces_LBPTOP_Points_Val``. Aligned faces are taken where they are there.
    """
    parts = [afew_part(root, names, faces) for names, faces in AFEW_PARTS]
    train, val = (ListedClips("afew", AFEW_FOLDERS, entries, cropped, cropper) for entries, cropped in parts)
    return train, val


def afew_part(root: Path, names: Sequence[str], faces: str) -> tuple[list[Entry], bool]:
    """Clips of the part of AFEW in the first folder of ``names``, and whether they are aligned faces."""
    part = first_existing(root, names, "a part of AFEW")
    aligned = part / f"AlignedFaces_LBPTOP_Points{faces}" / "Faces"
    videos = [path for label in AFEW_FOLDERS for path in sorted((part / label).glob("*.avi"))]
    if not videos:
        raise InvalidInput(f"expected videos of AFEW, looked for {{{','.join(AFEW_FOLDERS)}}}/*.avi in {part}")
    cropped = aligned.is_dir()
    return [Entry(aligned / path.stem if cropped else path, path.parent.name) for path in videos], cropped


def ck_plus(root: Path, fold: int, cropper: FaceCropper | None) -> Pair:
    """CK+ (Lucey et al., CVPRW 2010): 327 labelled sequences of 118 people, from neutral to the apex.

    ``cohn-kanade-images/S005/001/*.png`` and ``Emotion/S005/001/*_emotion.txt``, which holds 1 to 7 in
    :data:`dfer_edge.labels.CK_PLUS`'s order. No official split: 5 folds by person, in order of their names.
    """
    images = first_existing(root, ("cohn-kanade-images", "extended-cohn-kanade-images/cohn-kanade-images"), "CK+")
    emotions = first_existing(root, ("Emotion", "Emotion_labels/Emotion"), "labels of CK+")
    entries = []
    for path in sorted(emotions.glob("*/*/*_emotion.txt")):
        code = _whole_number(path)
        person, take = path.parts[-3:-1]
        entries.append(Entry(images / person / take, _numbered(labels.CK_PLUS, code, first=1, file=path), person))
    if not entries:
        raise InvalidInput(f"expected labels of CK+, looked for */*/*_emotion.txt in {emotions}")
    return _by_person("ck+", labels.CK_PLUS, entries, fold, cropper)


def oulu_casia(root: Path, fold: int, cropper: FaceCropper | None) -> Pair:
    """OULU-CASIA (Zhao et al., IVC 2011): 480 sequences of 80 people in strong visible light, from neutral to the apex.

    ``OriginalImg/VL/Strong/P001/Anger/000.jpeg``. Six expressions; 5 folds by person, in order of their names.
    """
    entries = [Entry(path, path.name, path.parent.name) for path in _oulu_sequences(root)]
    return _by_person("oulu-casia", OULU_FOLDERS, entries, fold, cropper)


def oulu_casia_images(root: Path, fold: int, cropper: FaceCropper | None) -> Pair:
    """OULU-CASIA as paper 002 reads it: single images, the first three of each sequence neutral, the others not.

    Five folds at random over images, as printed: frames of one person fall on both sides, which flatters.
    """
    entries = []
    for folder in _oulu_sequences(root):
        for number, image in enumerate(FolderSource(folder).paths):
            entries.append(Entry(image, "Neutral" if number < 3 else folder.name, folder.parent.name))
    place = np.random.default_rng(0).permutation(len(entries)) % 5
    parts = [[e for e, p in zip(entries, place, strict=True) if (p == fold - 1) == held] for held in (False, True)]
    train, val = (ListedClips("oulu-casia-images", OULU_IMAGES, part, False, cropper) for part in parts)
    return train, val


def daisee(root: Path, fold: int, cropper: FaceCropper | None) -> Pair:
    """DAiSEE (Gupta et al., 2016): clips of 10 s with four levels of engagement, official train and validation parts.

    ``Labels/TrainLabels.csv`` with columns ``ClipID,Boredom,Engagement,Confusion,Frustration`` and videos in
    ``DataSet/Train/110001/1100011002/1100011002.avi``; the first six digits of a clip are the person. Some clips are
    listed but not there.
    """
    train, val = (
        ListedClips("daisee", labels.DAISEE_ENGAGEMENT, daisee_part(root, part), cropped=False, cropper=cropper)
        for part in ("Train", "Validation")
    )
    return train, val


def daisee_part(root: Path, part: str) -> list[Entry]:
    """Clips of a part of DAiSEE: Train, Validation or Test."""
    table = first_existing(root, (f"Labels/{part}Labels.csv",), "labels of DAiSEE")
    videos = first_existing(root, (f"DataSet/{part}/videos", f"DataSet/{part}", f"Dataset/{part}"), "clips of DAiSEE")
    header, *rows = _rows(table, columns=5)
    names = [name.strip().lower() for name in header]
    if "clipid" not in names or "engagement" not in names:
        raise InvalidInput(f"expected columns ClipID and Engagement in {table}, got {', '.join(header)}")
    entries = []
    for row in rows:
        clip, level = row[names.index("clipid")].strip(), row[names.index("engagement")]
        stem = Path(clip).stem
        label = _numbered(labels.DAISEE_ENGAGEMENT, level, first=0, file=table)
        entries.append(Entry(videos / stem[:6] / stem / clip, label, stem[:6]))
    return entries


def faces(root: Path, fold: int, cropper: FaceCropper | None) -> Pair:
    """FACES (Ebner et al., 2010): portraits of 171 people of three age groups, a test set; figures by age group.

    ``004_o_m_a_b.jpg``: person, age (y, m, o), sex, expression (a, d, f, h, n, s) and take, in one folder or below it.
    """
    entries = []
    for path in sorted(root.rglob("*.jpg")):
        found = re.fullmatch(r"(\d+)_([ymo])_[mf]_([adfhns])_[ab]", path.stem)
        if found:
            person, age, expression = found.groups()
            entries.append(Entry(path, FACES_EXPRESSIONS[expression], person, FACES_AGES[age]))
    if not entries:
        raise InvalidInput(f"expected portraits of FACES in {root}, looked for 004_o_m_a_b.jpg ... and found none")
    data = ListedClips("faces", tuple(FACES_EXPRESSIONS.values()), entries, cropped=False, cropper=cropper)
    return data, data


def class_folders(root: Path, fold: int, cropper: FaceCropper | None) -> Pair:
    """A folder of one's own: ``train/happy/clip.mp4``, ``val/happy/...``; videos, images or folders of frames."""
    pair = []
    for part in ("train", "val"):
        folder = first_existing(root, (part,), "a folder for each part")
        names = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
        entries = [Entry(path, name) for name in names for path in sorted((folder / name).iterdir())]
        pair.append((names, entries))
    names = pair[0][0]
    if not names:
        raise InvalidInput(f"expected a folder for each class, looked for {root / 'train'}/CLASS/CLIP and found none")
    train, val = (ListedClips(f"folder:{root.name}", names, part, False, cropper) for _, part in pair)
    return train, val


def _oulu_sequences(root: Path) -> list[Path]:
    names = ("OriginalImg/VL/Strong", "B_OriginalImg/OriginalImg/VL/Strong", "B_OriginalImg/VL/Strong", "VL/Strong")
    base = first_existing(root, names, "OULU-CASIA in strong visible light")
    found = [path for label in OULU_FOLDERS for path in sorted(base.glob(f"P*/{label}"))]
    if not found:
        raise InvalidInput(f"expected sequences of OULU-CASIA, looked for P*/{{{','.join(OULU_FOLDERS)}}} in {base}")
    return found


def _by_person(
    name: str, names: tuple[str, ...], entries: Sequence[Entry], fold: int, cropper: FaceCropper | None
) -> Pair:
    people = sorted({entry.person for entry in entries})
    held_out = set(people[fold - 1 :: 5])
    parts: list[list[Entry]] = [[], []]
    for entry in entries:
        parts[entry.person in held_out].append(entry)
    train, val = (ListedClips(name, names, part, cropped=False, cropper=cropper) for part in parts)
    return train, val


def _rows(table: Path, columns: int, separator: str = ",") -> list[list[str]]:
    """Rows of a CSV file that have as many columns; InvalidInput if there are none."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [row[:columns] for row in csv.reader(file, delimiter=separator) if len(row) >= columns]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"expected a CSV file of UTF-8 text, got {table}: {error}") from error
    if not rows:
        raise InvalidInput(f"expected rows of {columns} columns parted by {separator!r} in {table}, got none")
    return rows


def _whole_number(path: Path) -> str:
    """The number in a file of CK+, which writes 3 as ``3.0000000e+00``."""
    text = path.read_bytes().decode(errors="replace").strip()
    try:
        return str(round(float(text)))
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"expected a number in {path}, got {text[:40]!r}") from error


def _digits(name: str) -> tuple[str, ...]:
    number = int(name)
    return f"{number:05d}", str(number), f"{number:05d}.mp4", f"{number:05d}.avi", f"{number}.mp4"


def _clip_of(folder: Path, names: Iterable[str]) -> Path:
    """The first of ``names`` that exists; the first if none does, which is then listed as missing."""
    paths = [folder / name for name in names]
    return next((path for path in paths if path.exists()), paths[0])


def _numbered(names: tuple[str, ...], code: str, first: int, file: Path) -> str:
    if not re.fullmatch(r"\s*\d+\s*", code) or not first <= int(code) < first + len(names):
        raise InvalidInput(f"expected a label from {first} to {first + len(names) - 1} in {file}, got {code!r}")
    return names[int(code) - first]


Opener = Callable[[Path, int, FaceCropper | None], Pair]
