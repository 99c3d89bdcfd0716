"""Make overlay.webp: what `dfer-edge live` draws over tests/assets/astronaut.mp4 (NASA, public domain). Needs Pillow.

python docs/images/make_overlay.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image as Picture

import dfer_edge
from dfer_edge.sinks.drawing import Figure, draw
from dfer_edge.types import NO_FACE

ROOT = Path(__file__).parents[2]
WIDTH = 640


def main() -> None:
    """Write the moving picture beside this file."""
    recognizer = dfer_edge.Recognizer("slowr50_sa", engine="onnxruntime", precision="fp32")
    options = {"window": 0.6, "hop": 0, "frames": True, "smoothing": "exponential"}
    pictures = []
    with recognizer.stream(ROOT / "tests/assets/astronaut.mp4", **options) as stream:
        for seen in stream:
            assert seen.frame is not None  # noqa: S101 - asked for
            there = [Figure(seen.track_id, seen.box, seen.prediction)] if seen.prediction.label != NO_FACE else []
            drawn = Picture.fromarray(draw(seen.frame, there, seen.time_s))
            height = round(drawn.height * WIDTH / drawn.width)
            pictures.append(drawn.resize((WIDTH, height), Picture.Resampling.LANCZOS))
    target = Path(__file__).with_name("overlay.webp")
    pictures[0].save(target, save_all=True, append_images=pictures[1:], duration=40, loop=0, quality=72, method=6)
    print(f"{target.name}: {len(pictures)} frames, {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
