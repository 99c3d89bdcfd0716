"""Who answers what: readers of videos and pictures on odd but valid files, and on damaged ones.

``python -m bench.studies.odd_media [--out bench/results/odd_media.md]``. Inputs are made here; each reader runs in a
process of its own, as users of supervision (OpenCV's reader), fer and DeepFace (OpenCV's pictures) meet them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults import media
from tests.videos import marked, write_container, write_video

Frames = list[Any]
Check = Callable[[Frames], bool]
_LIMIT_S = 30.0
_ONE = 1 << 16


def ours(path: str) -> Frames:
    """The reader of this project."""
    from dfer_edge.sources.opening import open_source

    return [frame.image for frame in open_source(path)]


def opencv(path: str) -> Frames:
    """OpenCV's readers of pictures and videos."""
    import cv2

    if (picture := cv2.imread(path)) is not None:
        return [picture[:, :, ::-1]]
    capture, frames = cv2.VideoCapture(path), []
    while True:
        decoded, image = capture.read()
        if not decoded:
            break
        frames.append(image[:, :, ::-1])
    if not frames:
        raise ValueError("no frames")
    return frames


def pyav(path: str) -> Frames:
    """PyAV as its first page shows it."""
    import av

    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def pillow(path: str) -> Frames:
    """Pillow."""
    from PIL import Image

    with Image.open(path) as picture:
        return [np.asarray(picture.convert("RGB"))]


def imageio(path: str) -> Frames:
    """imageio over PyAV."""
    import imageio.v3 as reader

    return [np.asarray(frame) for frame in reader.imiter(path, plugin="pyav")]


READERS = {"dfer_edge": ours, "OpenCV": opencv, "PyAV": pyav, "imageio (pyav)": imageio, "Pillow": pillow}


def _like(expected: list[np.ndarray]) -> Check:
    def check(frames: Frames) -> bool:
        return len(frames) == len(expected) and all(
            f.shape == e.shape and np.abs(f.astype(int) - e.astype(int)).mean() < 8
            for f, e in zip(frames, expected, strict=True)
        )

    return check


def cases(folder: Path) -> dict[str, tuple[Path, Check | None]]:
    """Input and what is right; None where only a refusal is."""
    from PIL import Image

    frames = [marked(k, 128, 192) for k in range(6)]
    plain = write_video(folder / "plain.mp4", [0, 40])
    matrix = (-_ONE, 0, 0, 0, _ONE, 0, 0, 0, 1 << 30)
    damaged = media.write_h264(folder / "damaged.mp4", media.moving(50), key_every=10)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2 : len(content) * 6 // 10] = bytes(len(content) * 6 // 10 - len(content) // 2)
    damaged.write_bytes(content)
    pipe = write_container(folder / "pipe.avi")
    pipe.write_bytes(pipe.read_bytes()[:4] + b"\xff" * 4 + pipe.read_bytes()[8:])
    odd_name = plain.with_name(os.fsdecode(b"caf\xe9.mp4"))
    odd_name.write_bytes(plain.read_bytes())
    exif = Image.Exif()
    exif[274] = 6
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(folder / "turned.jfif", "JPEG", exif=exif, quality=95)
    pictures[0].save(folder / "moves.webp", save_all=True, append_images=pictures[1:], lossless=True)
    pictures[0].save(folder / "pages.tif", save_all=True, append_images=pictures[1:])
    for k, picture in enumerate(pictures):
        picture.save(folder / f"{k}.jpg", quality=95)
    (folder / "row.mjpeg").write_bytes(b"".join((folder / f"{k}.jpg").read_bytes() for k in range(6)))
    high = (frames[0].astype(np.float64) / 255) ** 2.4 * 0.0203
    power = high ** (2610 / 16384)
    level = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
    grey = np.repeat(frames[0][:, :, 1:2], 3, 2)
    levels = np.repeat(np.round(level[:, :, 1:2] * 65535).astype(np.uint16), 3, 2)
    media.write_frames(folder / "hdr.mkv", [levels], "libx265", "yuv444p10le", **tags)
    return {
        "interlaced H.264": (
            media.write_h264(folder / "i.mp4", frames, interlaced=True),
            _like(frames),
        ),
        "pixels of 64:45": (
            media.write_h264(folder / "p.mp4", [marked(0, 576, 720)], Fraction(64, 45)),
            lambda found: found[0].shape == (576, 1024, 3),
        ),
        "mirrored by its matrix": (
            media.set_matrix(plain, folder / "m.mp4", matrix),
            _like([marked(k)[:, ::-1] for k in range(2)]),
        ),
        "second of two streams is the default": (
            media.write_two_streams(folder / "two.mkv", 1),
            lambda found: found[0].shape == (48, 64, 3),
        ),
        "an AVI from a pipe": (pipe, _like([marked(k) for k in range(20)])),
        "a name that is not UTF-8": (odd_name, _like([marked(0), marked(1)])),
        "HDR (PQ)": (folder / "hdr.mkv", _like([grey])),
        "JPEG frames in a row": (folder / "row.mjpeg", _like(frames)),
        "EXIF turn, named .jfif": (folder / "turned.jfif", _like([np.rot90(frames[0], -1)])),
        "animated WebP": (folder / "moves.webp", _like(frames)),
        "pages of a TIFF": (folder / "pages.tif", _like(frames)),
        "damage in the middle": (damaged, lambda found: 30 <= len(found) < 50),
        "sound alone": (media.write_sound(folder / "talk.wav"), None),
        "a header of 60000x60000": (media.png_header(folder / "huge.png", 60000, 60000), None),
    }


def _work(sender: Any, reader: Callable[[str], Frames], path: Path, check: Check | None) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        found = reader(str(path))
    except BaseException as error:
        ours_says = type(error).__module__.startswith("dfer_edge")
        sender.send("refused" if check is None or ours_says else f"refuses ({type(error).__name__})")
        return
    if check is None:
        sender.send(f"wrong: {len(found)} frames")
    else:
        shape = "x".join(map(str, found[0].shape[1::-1])) if found else "none"
        sender.send("right" if found and check(found) else f"wrong: {len(found)} of {shape}")


def ask(reader: Callable[[str], Frames], path: Path, check: Check | None) -> str:
    """What a reader makes of a file, in a process of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(sender, reader, path, check))
    child.start()
    sender.close()
    try:
        said = str(receiver.recv()) if receiver.poll(_LIMIT_S) else f"no answer in {_LIMIT_S:.0f} s"
    except EOFError:
        said = "crash"
    child.kill()
    child.join()
    return said


def table(folder: Path) -> str:
    """The answers in Markdown."""
    found = cases(folder)
    lines = [f"| input | {' | '.join(READERS)} |", "|---" * (len(READERS) + 1) + "|"]
    for name, (path, check) in found.items():
        lines.append(f"| {name} | " + " | ".join(ask(reader, path, check) for reader in READERS.values()) + " |")
    return "\n".join(lines) + "\n"


def _versions() -> str:
    words = [f"Python {platform.python_version()}"]
    words += [_named(package) for package in ("opencv-python-headless", "av", "imageio", "pillow")]
    return ", ".join(words)


def _named(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = table(Path(folder))
    text = f"""# Odd media: who answers what

Made by `python -m bench.studies.odd_media`; {_versions()}. "right": the frames that players show. "refused": an error,
where that is right; "refuses": one where frames could be read. Of damaged files the whole frames are right, and only
dfer_edge says how many are missing. supervision reads videos by OpenCV, and fer and DeepFace pictures by OpenCV: they
answer as OpenCV does. They were not installed (TensorFlow).

{found}"""
    if arguments.out:
        arguments.out.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
