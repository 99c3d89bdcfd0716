"""Frames a second of the renderer on two cores: whole clips with everything on, as ``dfer-edge synth`` renders them.

DFER_EDGE_FACE_MODEL=ict_face_light.npz python -m bench.studies.renderer --out bench/results/CPU/renderer.json

Two workers render while this process takes the clips from them, all three on the same two cores; nothing is written to
disk. Checked first: workers give the same bytes as a renderer in this process.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from dfer_edge.bench.measure.provenance import collect
from dfer_edge.bench.measure.timing import pin, summary
from dfer_edge.synthesis import SyntheticClips
from dfer_edge.system import settings

FRAMES, SIZE, WORKERS = 16, 112, 2
# Clips of a timed round: each of the seven classes equally often.
ROUND = 28


def check(clips: int) -> None:
    """SystemExit unless workers render what this process does."""
    ours, theirs = (SyntheticClips(clips, seed=1, frames=FRAMES, size=SIZE, workers=w) for w in (0, WORKERS))
    for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if not (np.array_equal(one.frames, other.frames) and np.array_equal(one.landmarks, other.landmarks)):
            raise SystemExit(f"clip {index} of a worker is not that of this process")


def measure(rounds: int) -> dict[str, Any]:
    """Time of ``rounds`` rounds of clips and frames a second, once workers and caches are warm."""
    # One round before to warm up, one after: with work still ahead, no worker idles in a timed round.
    clips = SyntheticClips((rounds + 2) * ROUND, frames=FRAMES, size=SIZE, workers=WORKERS)
    times_ms = []
    with contextlib.closing(clips.range(0, clips.count)) as source:
        for _ in range(rounds + 1):
            start = time.perf_counter()
            taken = sum(1 for _ in itertools.islice(source, ROUND))
            times_ms.append((time.perf_counter() - start) * 1e3)
            assert taken == ROUND
    times = summary(times_ms[1:])
    return {"round_ms": times, "frames_a_second": round(ROUND * FRAMES / times["p50"] * 1e3, 1)}


def main() -> None:
    """Check, time, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cores = pin(2)
    model = settings.face_model_path()
    check(ROUND // 4)
    result = {
        **collect(cores, f"python -m bench.studies.renderer --rounds {arguments.rounds}"),
        "face_model_sha256": hashlib.sha256(model.read_bytes()).hexdigest() if model and model.is_file() else "",
        "clip": {"frames": FRAMES, "size": SIZE, "clips_a_round": ROUND, "workers": WORKERS},
        **measure(arguments.rounds),
    }
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
