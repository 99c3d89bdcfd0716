"""One step of a sliding window (push and logits) against the whole clip, in one process, two threads.

python -m bench.streaming --out bench/results/CPU/streaming.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import harness

harness.pin(2)

import numpy as np  # noqa: E402

from dfer_edge import engines, export  # noqa: E402
from dfer_edge.inference import PARTS, Streaming, record  # noqa: E402
from dfer_edge.models import registry  # noqa: E402
from dfer_edge.spec import ModelSpec  # noqa: E402
from dfer_edge.streaming import StreamingState  # noqa: E402

BARS = {"keypoint_tsa": 1 / 8, "smate": 1 / 7, "slowr50_sa": 0.75}
PRECISION = "fp32"


def load_parts(name: str, engine: str, folder: Path) -> list[engines.Engine]:
    """Whole network, features and head on the engine's best conv form, random weights."""
    form = engines.BEST_FORM[engine]
    paths = {part: folder / f"{name}-{form}-{part}.onnx" for part in PARTS}
    for part, path in paths.items():
        if not path.exists():
            export.export_onnx(name, path, weights="random", form=form, part=part)
    return [engines.load_engine(path, engine, PRECISION, threads=2) for path in paths.values()]


def inputs(spec: ModelSpec, frames: int) -> dict[str, Any]:
    """One window or step without a batch axis: noise, and landmarks around the centre."""
    rng = np.random.default_rng(0)
    clip = {"clip": rng.standard_normal((3, frames, spec.size, spec.size), np.float32)}
    points = rng.normal(spec.size / 2, spec.size / 6, (frames, spec.landmarks, 2)).astype(np.float32)
    return clip | ({"landmarks": points} if spec.landmarks else {})


def cases(whole: engines.Engine, features: engines.Engine, head: engines.Engine) -> dict[str, Callable[[], Any]]:
    """The whole clip, one step, and what the step consists of; checked against each other first."""
    state = StreamingState(features, head)
    step, clip = inputs(whole.spec, state.streaming.frames_per_step), inputs(whole.spec, whole.spec.frames)
    frames = state.streaming.steps * state.streaming.frames_per_step
    state.push(**{key: value[:, :frames] if key == "clip" else value[:frames] for key, value in clip.items()})
    feed = {key: value[None] for key, value in clip.items()}
    np.testing.assert_allclose(state.logits(), whole.infer(feed)["logits"][0], atol=1e-4)
    window = {"features": np.zeros((1, state.streaming.steps, *state.streaming.feature_shape), np.float32)}

    def one_step() -> None:
        state.push(**step)
        state.logits()

    return {
        "whole clip": lambda: whole.infer(feed),
        "step": one_step,
        "features part": lambda: features.infer({key: value[None] for key, value in step.items()}),
        "head part": lambda: head.infer(window),
    }


def measure(name: str, engine: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Times of one network on one engine, ratio to the whole clip and ratio of multiply-accumulates."""
    times = harness.interleaved(cases(*load_parts(name, engine, folder)), rounds)
    spec = registry.find(name).spec
    whole, step, head = (record(spec, "3d", part)[0].macs for part in PARTS)
    ratio = times["step"]["p50_ms"] / times["whole clip"]["p50_ms"]
    macs = {"whole": whole, "step": step + head, "ratio": (step + head) / whole}
    met = ratio <= BARS[name]
    steps = Streaming.of(spec).steps
    return {"ratio_p50": ratio, "bar": BARS[name], "bar_met": met, "macs": macs, "steps": steps, "times": times}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--models", nargs="+", default=list(BARS), choices=BARS)
    parser.add_argument("--engines", nargs="+", default=["openvino", "torch"], choices=engines.BEST_FORM)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = {
            f"{name} {engine}/{PRECISION}": measure(name, engine, Path(folder), arguments.rounds)
            for name in arguments.models
            for engine in arguments.engines
        }
    command = __doc__.split("\n")[2]
    result = {"provenance": harness.provenance(weights="random", batch=1, command=command), "streaming": table}
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
