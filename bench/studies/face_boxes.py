"""How the squares of the Haar cascade and of dlib relate to YuNet's box: the constants in dfer_edge/faces.

python -m bench.studies.face_boxes FOLDER_OF_STILLS YUNET.onnx [--detector dlib]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfer_edge.faces import make_detector
from dfer_edge.faces.detectors import YuNetDetector
from dfer_edge.sources.opening import open_source

_BORDER = 40


def main() -> None:
    """Print medians and spreads over stills on which both find exactly one face."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stills", type=Path)
    parser.add_argument("yunet", type=Path)
    parser.add_argument("--detector", default="haar", choices=("haar", "dlib"))
    arguments = parser.parse_args()
    of_squares: Any = make_detector(arguments.detector)
    yunet = YuNetDetector(arguments.yunet)
    # The raw square, before the convention is applied.
    of_squares._WIDTH, of_squares._HEIGHT, of_squares._DOWN = 1.0, 1.0, 0.0
    rows = []
    for path in sorted(path for path in arguments.stills.rglob("*") if path.suffix in (".jpg", ".png")):
        image = next(iter(open_source(path))).image
        image = np.asarray(cv2.copyMakeBorder(image, *[_BORDER] * 4, cv2.BORDER_REPLICATE), np.uint8)
        a, b = of_squares.detect(image), yunet.detect(image)
        if len(a) == len(b) == 1:
            square, box = a[0].box, b[0].box
            down = ((box.top + box.bottom) - (square.top + square.bottom)) / 2
            rows.append((box.width / square.width, box.height / square.width, down / square.width))
    names = ("width", "height", "down")
    for name, median, spread in zip(names, np.median(rows, 0), np.std(rows, 0), strict=True):
        print(f"{name:7} {median:.3f} of the square's side (standard deviation {spread:.3f}, {len(rows)} stills)")


if __name__ == "__main__":
    main()
