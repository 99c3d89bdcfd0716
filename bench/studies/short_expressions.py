"""Half a second of expression in four seconds of calm: is it named, and would the mean of the frames name it?

    python -m bench.studies.short_expressions REAL --model slowr50_sa --seconds 4 --shown 0.5 0.25 1 --out SHORT.json

Clips are made from the folders of frames of a set that begins at neutral and ends at the apex (CK+): the first frame is
held, the way to the apex and back lies somewhere in it. Judged are the network's own pooling of its clip, and the mean
of what it says of the clip's frames each for itself. "Whole" is the sequence as it was cut, for comparison.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.studies.real_people.faces import finders
from bench.studies.real_people.run import mean_of_frames
from bench.studies.real_people.samples import Sample, find
from dfer_edge.errors import DferError, InvalidInput, NoFaceFound
from dfer_edge.labels import DFEW
from dfer_edge.recognizer import Recognizer
from dfer_edge.sources.opening import open_source
from dfer_edge.system.provenance import versions
from dfer_edge.types import Image

RATE = 25.0
SET = "ckplus_seq640"
# Where the expression begins, as shares of what is left of the clip.
PLACES = (0.15, 0.5, 0.85)
_ONSET = 1 / 3


def excursion(images: Sequence[Image], seconds: float, shown: float, place: float) -> list[Image]:
    """A clip at 25 frames a second that rests on the first image, but for ``shown`` seconds.

    In these it goes to the last image in a third of the time, stays for a third and comes back.

    Raises
    ------
    InvalidInput
        If there are fewer than two images, or the expression is longer than the clip or shorter than three frames.
    """
    total, count = round(seconds * RATE), round(shown * RATE)
    if len(images) < 2 or not 3 <= count <= total:
        raise InvalidInput(f"expected two images and 3 to {total} frames of expression, got {len(images)} and {count}")
    start = round((total - count) * place)
    # 0 at rest, 1 at the apex.
    position = (np.arange(count) + 0.5) / count
    strength = np.clip(np.minimum(position, 1 - position) / _ONSET, 0, 1)
    chosen = np.zeros(total, int)
    chosen[start : start + count] = np.rint(strength * (len(images) - 1)).astype(int)
    return [images[int(index)] for index in chosen]


def measured(
    recognizer: Recognizer, samples: Sequence[Sample], seconds: float, shown: Sequence[float]
) -> dict[str, dict[str, float]]:
    """Share of right labels by length of the expression: of the clip, and of the mean over its frames."""
    right: dict[str, list[tuple[bool, bool]]] = {}
    for sample in samples:
        images = [frame.image for frame in open_source(sample.path)]
        clips = {"whole": [images]}
        for length in shown:
            clips[f"{length:g} s"] = [excursion(images, seconds, length, place) for place in PLACES]
        for name, made in clips.items():
            for clip in made:
                try:
                    own = recognizer.predict(clip).label == sample.label
                    mean = recognizer.spec.labels[int(np.argmax(mean_of_frames(recognizer, clip)))] == sample.label
                except NoFaceFound:
                    own = mean = False
                right.setdefault(name, []).append((own, mean))
    return {
        name: {"clip": float(np.mean(rows, 0)[0]), "mean_of_frames": float(np.mean(rows, 0)[1]), "clips": len(rows)}
        for name, rows in right.items()
    }


def main(words: list[str] | None = None) -> int:
    """Measure, write and print; 2 for what is asked wrongly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of sets of real people")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--shown", type=float, nargs="+", default=[0.25, 0.5, 1.0])
    parser.add_argument("--sets", nargs="*", default=[SET])
    parser.add_argument("--any-size", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(words)
    try:
        samples = [s for s in find(given.folder, DFEW, given.sets, given.any_size) if s.path.is_dir()]
        if not samples:
            raise InvalidInput(f"expected folders of frames in {', '.join(given.sets)}, found none in {given.folder}")
        detector, landmarks = finders(samples, given.detector, threads=given.threads)
        recognizer = Recognizer(
            given.model,
            given.weights,
            given.engine,
            given.precision,
            detector=detector,
            threads=given.threads,
            landmark_detector=landmarks,
        )
        found = measured(recognizer, samples, given.seconds, given.shown)
        info = {key: recognizer.info()[key] for key in ("model", "weights", "engine", "precision", "detector")}
        if given.out is not None:
            document = {"seconds": given.seconds, "right": found, "provenance": {**versions(), **info}}
            given.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        print("| expression of | clip right % | mean of its frames right % | clips |\n|---|---|---|---|")
        for name, row in found.items():
            print(f"| {name} | {100 * row['clip']:.1f} | {100 * row['mean_of_frames']:.1f} | {row['clips']} |")
    except DferError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
