"""Parity and speed of one network on this CPU, every engine and precision, two threads, checked before it is timed.

python -m bench.cpu_network slowr50_sa --media FOLDER --out bench/results/CPU/slowr50_sa.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

from bench import harness

harness.pin(2)

import numpy as np  # noqa: E402
import torch  # noqa: E402

import dfer_edge  # noqa: E402
from bench.clips import varied_clips  # noqa: E402
from dfer_edge import engines, export  # noqa: E402
from dfer_edge.engines.parity import parity  # noqa: E402
from dfer_edge.models import create_model, registry  # noqa: E402
from dfer_edge.sources import open_source  # noqa: E402
from dfer_edge.spec import ModelSpec  # noqa: E402

WEIGHTS = "random"
BASE = "torch eager fp32, printed network"
# Overhead of `predict` is measured on the first network that users meet.
PREDICTED = "slowr50_sa"


def as_feed(clip: Any, spec: ModelSpec) -> dict[str, Any]:
    """Engine inputs of one normalised clip [3, T, S, S]; landmarks, where the network takes them, on a fixed grid."""
    if spec.input == "image":
        return {"image": np.ascontiguousarray(clip.transpose(1, 0, 2, 3))}
    if not spec.landmarks:
        return {"clip": clip[None]}
    grid = np.stack(np.meshgrid(np.linspace(0.2, 0.8, 17), np.linspace(0.3, 0.8, 4)), -1).reshape(-1, 2) * spec.size
    points = np.broadcast_to(grid.astype(np.float32), (1, spec.frames, *grid.shape))
    return {"clip": clip[None], "landmarks": np.ascontiguousarray(points)}


def load_all(name: str, folder: Path) -> dict[str, engines.Engine]:
    """Every engine and precision that this machine has, each on its best conv form."""
    loaded = {}
    for engine, form in engines.BEST_FORM.items():
        path = folder / f"{form}.onnx"
        if not path.exists():
            export.export_onnx(name, path, weights=WEIGHTS, form=form)
        for precision, reason in engines.precision_reasons(engine).items():
            if not reason:
                loaded[f"{engine}/{precision}"] = engines.load_engine(path, engine, precision, threads=2)
    return loaded


def parity_table(loaded: dict[str, engines.Engine], clips: list[Any]) -> list[dict[str, Any]]:
    """Each engine against torch fp32."""
    reference = loaded["torch/fp32"]
    feeds = [as_feed(clip, reference.spec) for clip in clips]
    return [
        dataclasses.asdict(parity(reference, engine, feeds))
        for key, engine in loaded.items()
        if engine is not reference
    ]


def speed_table(name: str, loaded: dict[str, engines.Engine], rounds: int) -> dict[str, Any]:
    """Batch 1, against torch eager fp32 of the unsimplified 3-D training form."""
    spec = registry.find(name).spec
    feed = as_feed(np.random.default_rng(0).standard_normal((3, spec.frames, spec.size, spec.size), np.float32), spec)
    feed = {key: value[:1] for key, value in feed.items()}
    module, tensors = create_model(name).eval(), [torch.from_numpy(value) for value in feed.values()]
    torch.set_num_threads(2)

    def eager() -> None:
        with torch.inference_mode():
            module(*tensors)

    cases = {BASE: eager}
    cases |= {key: lambda engine=engine: engine.infer(feed) for key, engine in loaded.items()}
    times = harness.interleaved(cases, rounds)
    base = times[BASE]["p50_ms"]
    return {key: {**values, "ratio_p50": values["p50_ms"] / base} for key, values in times.items()}


def predict_overhead(name: str, media: Path, rounds: int) -> dict[str, Any]:
    """`predict` on 8 given 640x360 frames, detection included, against the engine alone."""
    frames = [frame.image for frame in open_source(media / "video" / "single_face.mp4")][4::9]
    yunet = media / "onnx" / "face_detection_yunet_2026may.onnx"
    return {Path(detector).stem: _overhead(name, detector, frames, rounds) for detector in ("haar", str(yunet))}


def _overhead(name: str, detector: str, frames: list[Any], rounds: int) -> dict[str, Any]:
    recognizer = dfer_edge.Recognizer(name, weights=WEIGHTS, detector=detector, threads=2)
    feed = {"clip": np.random.default_rng(0).standard_normal((1, *recognizer.spec.input_shape), np.float32)}
    cases = {"predict": lambda: recognizer.predict(frames), "engine": lambda: recognizer._engine.infer(feed)}
    times = harness.interleaved(cases, rounds)
    ratio = times["predict"]["p50_ms"] / times["engine"]["p50_ms"]
    info = recognizer.info()
    return {"engine": f"{info['engine']}/{info['precision']}", "ratio_p50": ratio, **times}


def main() -> None:
    """Check, time, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_all(arguments.name, Path(folder))
        clips = varied_clips(arguments.media, registry.find(arguments.name).spec, arguments.clips)
        table = parity_table(loaded, clips)
        speed = speed_table(arguments.name, loaded, arguments.rounds)
    result = {
        "provenance": harness.provenance(
            model=arguments.name, weights=WEIGHTS, batch=1, command=__doc__.split("\n")[2]
        ),
        "parity_against_torch_fp32": table,
        "speed": speed,
    }
    if arguments.name == PREDICTED:
        result["predict_on_8_frames"] = predict_overhead(arguments.name, arguments.media, arguments.rounds)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
