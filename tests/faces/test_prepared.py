"""Faces kept on disk: found once, verified, told apart by everything that they depend on."""

from __future__ import annotations

import dataclasses
import json
import logging
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfer_edge import DferError, Recognizer
from dfer_edge.calibration import from_folder
from dfer_edge.cli.main import main
from dfer_edge.errors import InvalidInput
from dfer_edge.evaluation.jitter import Jitter
from dfer_edge.evaluation.plan import Plan, evaluate
from dfer_edge.faces import FaceFinder, FaceFollower
from dfer_edge.faces.geometry import box_of
from dfer_edge.faces.prepared import FaceStore, FileFaces, prepare
from dfer_edge.inference import registry
from dfer_edge.sources.opening import open_source
from dfer_edge.training.data.faces import FaceCropper
from dfer_edge.training.data.listing import Entry, ListedClips
from dfer_edge.training.data.samples import LostFace
from dfer_edge.types import Box, Detection, Image, Points
from tests.faces.world import face_at, points_of

HIGH = 1.2  # the detector's boxes are this much higher than those that landmarks lay


class Bright:
    """Finds bright rectangles, and their points; counts."""

    name = "bright"

    def __init__(self, fingerprint: str = "1") -> None:
        self.fingerprint, self.searches = fingerprint, 0

    def detect(self, image: Image, box: Box | None = None) -> list[Detection] | Points | None:
        _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 250).astype(np.uint8))
        faces = [Box(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:].tolist()]
        if box is None:
            self.searches += 1
            return [Detection(Box(f.left, f.bottom - HIGH * f.height, f.right, f.bottom), 0.9) for f in faces]
        best = max(faces, key=box.iou, default=None)
        return None if best is None else points_of(best)


def write(folder: Path, count: int = 6) -> Path:
    """Pictures: a large face in the first four, a small one in all but the second."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    textures = [cv2.resize(rng.integers(60, 190, (6, 6, 3), np.uint8), (600, 400)) for _ in range(3)]
    for index in range(count):
        image = textures[0].copy()
        faces = [(1, face_at(160, 200, 120))] * (index < 4) + [(2, face_at(440 + index, 200, 80))] * (index != 1)
        for person, box in faces:
            left, top, right, bottom = box.rounded()
            size = (right - left, bottom - top)
            image[top:bottom, left:right] = cv2.resize(textures[person], size)
            # The mark that the detector looks for.
            image[top:bottom, left:right, 2] = 255
        cv2.imwrite(str(folder / f"{index}.png"), image)
    return folder


def same(a: FileFaces, b: FileFaces) -> bool:
    pairs = zip(a.tracks, b.tracks, strict=True)
    return a.length == b.length and all(
        np.array_equal(getattr(x, field.name), getattr(y, field.name), equal_nan=field.name == "landmarks")
        for x, y in pairs
        for field in dataclasses.fields(x)
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write(tmp_path / "clip")


def test_faces_are_found_once(pictures: Path, tmp_path: Path) -> None:
    detector = Bright()
    store = FaceStore(tmp_path / "faces", FaceFinder(detector, detector))
    assert store.get(pictures) is None
    found = store.obtain(pictures)
    calls = detector.searches
    assert calls > 0
    assert found.length == 6
    assert [track.frame_indices.tolist() for track in found.tracks] == [[0, 2, 3, 4, 5], [0, 1, 2, 3]]
    fresh = FaceStore(tmp_path / "faces", FaceFinder(Bright(), Bright()))
    assert same(fresh.obtain(pictures), found)
    assert same(store.obtain(pictures), found)
    assert detector.searches == calls
    assert same(pickle.loads(pickle.dumps(store)).get(pictures), found), "for workers"


def test_boxes_are_laid_as_the_network_wants_them(pictures: Path, tmp_path: Path) -> None:
    detector = Bright()
    for aligns in (True, False):
        store = FaceStore(tmp_path / "faces", FaceFinder(detector, detector, aligns))
        (track,) = [track for track in store.obtain(pictures).tracks if len(track) == 4]
        box, points = track.at(2)
        height = 120 * 1.4 * (1 if aligns else HIGH)
        assert box.height == pytest.approx(height, abs=1)
        np.testing.assert_allclose(box_of(points), face_at(160, 200, 120), atol=0.1)
        assert track.at(5) == (Box(*track.boxes[-1].tolist()), pytest.approx(track.landmarks[-1]))
    assert len(list((tmp_path / "faces").rglob("*.faces"))) == 1, "one file serves both"


def test_what_it_depends_on_tells_it_apart(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def store(detector: str = "1", landmarks: str = "1") -> FaceStore:
        return FaceStore(tmp_path / "faces", FaceFinder(Bright(detector), Bright(landmarks)))

    store().obtain(pictures)
    assert store().get(pictures) is not None
    assert store(detector="2").get(pictures) is None
    assert store(landmarks="2").get(pictures) is None
    monkeypatch.setattr("dfer_edge.faces.prepared.RULE", "next")
    assert store().get(pictures) is None
    monkeypatch.undo()
    (pictures / "0.png").write_bytes((pictures / "1.png").read_bytes())
    assert store().get(pictures) is None


@pytest.mark.parametrize("damage", ["cut", "bit in the numbers", "bit in the header", "empty", "another's"])
def test_a_damaged_file_is_made_again(
    pictures: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = FaceStore(tmp_path / "faces", FaceFinder(Bright(), Bright()))
    found = store.obtain(pictures)
    (file,) = (tmp_path / "faces").rglob("*.faces")
    content = bytearray(file.read_bytes())
    if damage == "another's":
        store.obtain(write(tmp_path / "other", 3))
        (other,) = set((tmp_path / "faces").rglob("*.faces")) - {file}
        content = bytearray(other.read_bytes())
    elif damage.startswith("bit"):
        content[-9 if "numbers" in damage else 20] ^= 1
    file.write_bytes({"cut": content[:-5], "empty": b""}.get(damage, content))
    with caplog.at_level(logging.WARNING):
        assert store.get(pictures) is None
    assert "are not used" in caplog.text
    assert same(store.obtain(pictures), found)
    assert same(store.get(pictures), found)


def test_a_full_disk_is_an_error_and_leaves_nothing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FaceStore(tmp_path / "faces", FaceFinder(Bright(), Bright()))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for call in (lambda: store.obtain(pictures), lambda: prepare([pictures], store)):
        with pytest.raises(DferError, match="cannot write prepared faces"):
            call()
    assert not [path for path in (tmp_path / "faces").rglob("*") if path.is_file()]


def test_preparing_many_says_what_was_skipped(pictures: Path, tmp_path: Path) -> None:
    store = FaceStore(tmp_path / "faces", FaceFinder(Bright(), Bright()))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    empty = write(tmp_path / "empty", 0)
    done: list[int] = []
    report = prepare([pictures, broken, empty, pictures], store, done.append)
    assert (report.found, report.reused, set(report.skipped)) == (1, 1, {str(broken), str(empty)})
    assert done == [1, 2, 3, 4]
    dark = tmp_path / "dark"
    dark.mkdir()
    cv2.imwrite(str(dark / "0.png"), np.zeros((60, 60, 3), np.uint8))
    assert store.obtain(dark) == store.get(dark) == FileFaces(1, ())


def test_training_reads_the_person_seen_longest_from_the_store(pictures: Path, tmp_path: Path) -> None:
    detector = Bright()
    finder = FaceFinder(detector, detector)
    cropper = FaceCropper(registry.find("slowr50_sa").spec, finder, None, FaceStore(tmp_path / "faces", finder))
    clips = ListedClips("set", ("happy",), [Entry(pictures, "happy")], False, cropper)
    sample = clips.read(0, lambda length: [0, 1, length - 1])
    assert sample.boxes is not None
    assert [box.centre[0] for box in sample.boxes] == pytest.approx([440, 440, 445], abs=1), "0 and 2 are as near to 1"
    calls = detector.searches
    for _ in range(3):
        clips.read(0, lambda length: range(length))
    assert detector.searches == calls, "found once, whatever is read"
    without = FaceCropper(registry.find("slowr50_sa").spec, finder)
    own = ListedClips("set", ("happy",), [Entry(pictures, "happy")], False, without)
    assert own.read(0, lambda length: [0, 1, length - 1]).boxes == sample.boxes, "the same person without a store"


def test_frames_in_memory_give_the_person_seen_in_most_of_them(pictures: Path) -> None:
    detector = Bright()
    cropper = FaceCropper(registry.find("slowr50_sa").spec, FaceFinder(detector, detector))
    frames = [frame.image for frame in open_source(pictures)]
    found = cropper.find(frames, cropped=False)
    assert found.boxes is not None
    assert {round(box.centre[0]) // 10 for box in found.boxes} == {44}, "the small face, seen once more often"
    with pytest.raises(LostFace):
        cropper.find([np.zeros_like(frames[0])], cropped=False)


def test_the_kept_tracker_gives_what_following_gives(pictures: Path, tmp_path: Path) -> None:
    detector = Bright()
    finder = FaceFinder(detector, detector)
    store = FaceStore(tmp_path / "faces", finder)
    followed = list(FaceFollower(finder).track(open_source(pictures)))
    kept = list(store.tracker(open_source(pictures)).track(open_source(pictures)))
    calls = detector.searches
    again = list(store.tracker(open_source(pictures)).track(open_source(pictures)))
    assert detector.searches == calls, "found once"
    for (_, own), (_, first), (_, second) in zip(followed, kept, again, strict=True):
        assert [face.track_id for face in own] == [face.track_id for face in first] == [f.track_id for f in second]
        for a, b in zip(own, first, strict=True):
            np.testing.assert_allclose(a.box, b.box, atol=1e-3)
            np.testing.assert_allclose(a.landmarks, b.landmarks, atol=1e-3)
    assert isinstance(store.tracker(open_source([np.zeros((40, 40, 3), np.uint8)])), FaceFollower), "no file to keep"


def test_predictions_and_calibration_take_kept_faces(
    astronaut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "a.mp4").symlink_to(astronaut)
    given = ("slowr50_sa", "random", "onnxruntime", "fp32")
    own = Recognizer(*given, detector="haar").predict(folder / "a.mp4")
    recognizer = Recognizer(*given, detector="haar", prepared=tmp_path / "faces")
    first = recognizer.predict(folder / "a.mp4")
    np.testing.assert_allclose(first.probabilities, own.probabilities, atol=1e-5)
    monkeypatch.setattr(FaceFollower, "update", None)
    np.testing.assert_array_equal(recognizer.predict(folder / "a.mp4").probabilities, first.probabilities)
    clips = from_folder(folder, recognizer.spec, 1, "haar", prepared=tmp_path / "faces")
    assert len(clips) == 1
    with pytest.raises(InvalidInput, match="moved boxes"):
        evaluate(Plan("slowr50_sa", folder, jitter=Jitter(1), prepared=tmp_path))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = Path(__file__).parents[1] / "assets" / "astronaut.mp4"
    for part in ("train", "val"):
        folder = tmp_path / "data" / part / "happy"
        folder.mkdir(parents=True)
        (folder / "a.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "data" / "train" / "happy" / "b.mp4").write_bytes(b"no video")
    command = ["prepare", "--data", f"folder:{tmp_path / 'data'}", "--out", str(tmp_path / "faces"), "--json"]
    for expected in ((1, 1), (0, 2)):
        assert main([*command, "--detector", "haar"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["found"], result["reused"], len(result["skipped"])) == (*expected, 1)
    assert main(["prepare", "--data", "nothing:here", "--out", str(tmp_path)]) == 1
