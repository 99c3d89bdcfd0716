"""Tiny fakes of every layout that the papers use, with a face in every picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np

from tests.training import test_layouts as layouts


def _ferv39k(root: Path) -> None:
    layouts.ferv39k(root, takes=3)


def _mafw(root: Path) -> None:
    layouts.mafw(root, takes=3)


# Paper -> (layout, what makes its folders).
LAYOUTS: dict[str, dict[str, Callable[[Path], None]]] = {
    "000": {"dfew": layouts.dfew, "ferv39k": _ferv39k},
    "001": {"ck+": layouts.ck_plus, "afew": layouts.afew_of_ten},
    "002": {"oulu-casia-images": layouts.oulu},
    "003": {"dfew": layouts.dfew, "ferv39k": _ferv39k, "mafw": _mafw, "afew": layouts.afew_of_ten},
    "004": {"dfew": layouts.dfew, "afew-folds": layouts.afew_of_ten, "daisee-folds": layouts.daisee_of_fifteen},
}
# Whole frames; the others hold face crops.
_WHOLE = ("ck+", "oulu-casia-images", "daisee-folds")


def make(paper: str, root: Path, frames: list[np.ndarray]) -> list[str]:
    """The fakes of a paper's data below ``root``; the ``--data`` arguments.

    ``frames`` are whole ones with a face at (90..170, 30..120), as those of the tests' clip.
    """
    arguments = []
    for name, lay in LAYOUTS[paper].items():
        folder = root / name
        if not folder.is_dir():
            lay(folder)
            _put_faces(folder, frames, whole=name in _WHOLE)
        arguments += ["--data", f"{name}:{folder}"]
    return arguments


def _put_faces(folder: Path, frames: list[np.ndarray], whole: bool) -> None:
    rng = np.random.default_rng(0)
    for path in sorted(folder.rglob("*.*")):
        light = rng.uniform(0.6, 1.0)
        shown = [_face(frames[int(rng.integers(len(frames)))], light, whole) for _ in range(4)]
        if path.suffix in (".jpg", ".png", ".jpeg"):
            cv2.imwrite(str(path), shown[0][..., ::-1])
        if path.suffix == ".avi":
            _write(path, shown)


def _face(frame: np.ndarray, light: float, whole: bool) -> np.ndarray:
    picture = frame if whole else frame[30:120, 90:170]
    return np.asarray(picture * light, np.uint8)


def _write(path: Path, frames: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
