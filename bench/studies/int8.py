"""Accuracy, speed and size of one network in int8 on this CPU, two threads, against its fp32, bf16 and torch eager.

python -m bench.studies.int8 slowr50_sa --media FOLDER --out bench/results/CPU/int8_slowr50_sa.json

NNCF, where it is installed, quantises the same network with the same clips as a peer. It is no dependency.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from dfer_edge.bench.measure import timing

CORES = timing.pin(2)

import torch  # noqa: E402

from bench.studies.clips import varied_clip_set  # noqa: E402
from dfer_edge import engines  # noqa: E402
from dfer_edge.bench.measure.provenance import collect  # noqa: E402
from dfer_edge.calibration import ClipSet, calibrate, correct_bias, quantize  # noqa: E402
from dfer_edge.calibration.graph import GraphIndex, read  # noqa: E402
from dfer_edge.calibration.placement import plan  # noqa: E402
from dfer_edge.calibration.qdq import SCHEMES  # noqa: E402
from dfer_edge.calibration.report import compare, probabilities  # noqa: E402
from dfer_edge.export import onnx_file as export  # noqa: E402
from dfer_edge.inference import registry  # noqa: E402
from dfer_edge.models import create_model  # noqa: E402

WEIGHTS = "random"
BASE = "torch eager fp32, printed network"
PEER_CLIPS = 32


def timed(action: Any) -> tuple[Any, dict[str, float]]:
    """A result, seconds and the highest resident memory of the process up to then, in GB."""
    begin = time.perf_counter()
    result = action()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return result, {"seconds": time.perf_counter() - begin, "peak_process_gb": peak}


def peer(path: Path, clips: ClipSet, threads: int) -> Any:
    """A callable that runs NNCF's quantisation of the same file, or why there is none."""
    if importlib.util.find_spec("nncf") is None:
        return "nncf is not installed"
    import nncf

    from dfer_edge.engines.openvino_engine import core

    feeds = list(clips.pick(range(min(PEER_CLIPS, len(clips)))))
    model = nncf.quantize(core().read_model(path), nncf.Dataset(feeds), subset_size=len(feeds))
    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    try:
        request = core().compile_model(model, "CPU", config).create_infer_request()
    except RuntimeError as error:
        return f"OpenVINO does not compile what NNCF made: {' '.join(str(error).split())[-120:]}"
    return lambda feed: request.infer(feed, share_inputs=True)


def accuracy(reference: engines.Engine, others: dict[str, engines.Engine], clips: ClipSet) -> dict[str, Any]:
    """Each engine against fp32 of the same engine."""
    exact = probabilities(reference, clips)
    return {
        name: dataclasses.asdict(compare(exact, probabilities(engine, clips), reference.spec.labels))
        for name, engine in others.items()
    }


def speed(name: str, loaded: dict[str, engines.Engine], rival: Any, clips: ClipSet, rounds: int) -> dict[str, Any]:
    """Batch 1 on a clip of a person, all in turns."""
    feed = {key: value[:1] for key, value in next(iter(clips)).items()}
    module, tensors = create_model(name).eval(), [torch.from_numpy(value) for value in feed.values()]
    torch.set_num_threads(2)

    def eager() -> None:
        with torch.inference_mode():
            module(*tensors)

    cases: dict[str, Any] = {BASE: eager}
    cases |= {key: lambda engine=engine: engine.infer(feed) for key, engine in loaded.items()}
    if callable(rival):
        cases["openvino/int8, NNCF"] = lambda: rival(feed)
    times = {key: timing.summary(values) for key, values in timing.interleaved(cases, rounds).items()}
    base, least = times[BASE]["p50"], times[BASE]["min"]
    return {
        key: {**value, "ratio_p50": value["p50"] / base, "ratio_min": value["min"] / least}
        for key, value in times.items()
    }


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Calibrate, quantise, load, then compare, time or both."""
    name, spec = arguments.name, registry.find(arguments.name).spec
    path = export.export_onnx(name, folder / "fp32.onnx", WEIGHTS)
    used = varied_clip_set(arguments.media, spec, arguments.calibration_clips, seed=1)
    held = varied_clip_set(arguments.media, spec, arguments.clips, seed=2)
    table, cost = timed(lambda: calibrate(path, used, arguments.method, threads=2))
    table = correct_bias(path, table, used, 2)
    files = {scheme: quantize(path, table, folder / f"{scheme}.onnx", scheme) for scheme in SCHEMES}
    loaded = {f"openvino/{p}": engines.load_engine(path, "openvino", p, threads=2) for p in ("fp32", "bf16")}
    for scheme, file in files.items():
        loaded[f"openvino/int8, {scheme}"] = engines.load_engine(file, "openvino", "int8", threads=2)
    found: dict[str, Any] = {}
    if arguments.part != "speed":
        found["calibration"] = {"clips": len(used), "method": table.method, **cost}
        found["accuracy_against_fp32"] = accuracy(loaded["openvino/fp32"], dict(list(loaded.items())[1:]), held)
    if arguments.part != "accuracy":
        layers = loaded["openvino/int8, unsigned"].layers()  # type: ignore[attr-defined]
        rival = peer(path, used, 2)
        found["file_mb"] = {scheme: file.stat().st_size / 1e6 for scheme, file in files.items()}
        found["layers"] = dict(Counter(layer.kind for layer in plan(GraphIndex(read(path))).layers))
        found["runtime_layers"] = dict(Counter(f"{layer.kind} {layer.precision}" for layer in layers))
        found["int8_speed"] = speed(name, loaded, rival, held, arguments.rounds)
        found["peer"] = "NNCF" if callable(rival) else rival
    return found


def merged(before: dict[str, Any], found: dict[str, Any], provenance: dict[str, Any], part: str) -> dict[str, Any]:
    """``found`` over what the file had; each part keeps the provenance of the run that it is of."""
    parts = {name: provenance for name in ("accuracy", "speed") if part in (name, "all")}
    return {**before, "provenance": provenance, "provenance_of": before.get("provenance_of", {}) | parts, **found}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--calibration-clips", type=int, default=128)
    parser.add_argument("--method", default="entropy")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--part", default="all", choices=("all", "accuracy", "speed"), help="the rest of FILE stays")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(arguments, Path(folder))
    command = (
        f"python -m bench.studies.int8 {arguments.name} --media FOLDER --out FILE --part {arguments.part} --method "
        f"{arguments.method} --calibration-clips {arguments.calibration_clips} --clips {arguments.clips} "
        f"--rounds {arguments.rounds}"
    )
    facts = {"model": arguments.name, "weights": f"{WEIGHTS}: labels mean nothing", "batch": 1}
    provenance = collect(CORES, command) | facts
    before = json.loads(arguments.out.read_text()) if arguments.part != "all" and arguments.out.is_file() else {}
    result = merged(before, found, provenance, arguments.part)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
