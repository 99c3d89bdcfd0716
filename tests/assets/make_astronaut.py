"""Make astronaut.mp4: a slow pan and zoom over a public-domain portrait (needs scikit-image, which ships the still).

python tests/assets/make_astronaut.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from skimage import data

from dfer_edge.sinks.video import VideoSink

FRAMES, SIDE, RATE = 50, 256, 25


def main() -> None:
    """Write the clip beside this file."""
    still = data.astronaut()[:, :, :3]
    with VideoSink(Path(__file__).with_name("astronaut.mp4"), RATE) as sink:
        for index in range(FRAMES):
            phase = 2 * np.pi * index / FRAMES
            zoom = SIDE / (300 + 30 * np.cos(phase))
            x, y = 224 + 14 * np.sin(phase), 178 + 6 * np.sin(2 * phase)
            turn = cv2.getRotationMatrix2D((x, y), 3 * np.sin(phase), zoom)
            turn[:, 2] += SIDE / 2 - x, SIDE / 2 - y
            frame = cv2.warpAffine(still, turn, (SIDE, SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
            light = 1 + 0.06 * np.sin(phase)
            sink.write(np.clip(frame * light, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
