"""Parity of one network's engines and precisions on real clips, against torch fp32: what a gate on noise cannot see.

python -m bench.studies.parity slowr50_sa --media FOLDER --out bench/results/CPU/parity_slowr50_sa.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

from dfer_edge.bench.measure import timing

CORES = timing.pin(2)

import numpy as np  # noqa: E402

from bench.studies.clips import grid, varied_clips  # noqa: E402
from dfer_edge import engines  # noqa: E402
from dfer_edge.bench.measure.provenance import collect  # noqa: E402
from dfer_edge.engines.parity import parity  # noqa: E402
from dfer_edge.export import onnx_file as export  # noqa: E402
from dfer_edge.inference import registry  # noqa: E402
from dfer_edge.spec import ModelSpec  # noqa: E402

WEIGHTS = "random"


def as_feed(clip: Any, spec: ModelSpec) -> dict[str, Any]:
    """Engine inputs of one normalised clip [3, T, S, S]; landmarks, where the network takes them, on a fixed grid."""
    if spec.input == "image":
        return {"image": np.ascontiguousarray(clip.transpose(1, 0, 2, 3))}
    if not spec.landmarks:
        return {"clip": clip[None]}
    return {"clip": clip[None], "landmarks": np.tile(grid(spec), (1, spec.frames, 1, 1))}


def load_all(name: str, folder: Path) -> dict[str, engines.Engine]:
    """Every engine and precision that this machine has, each on its best conv form."""
    loaded = {}
    for engine, form in engines.BEST_FORM.items():
        if engines.reasons(engine):
            continue
        path = folder / f"{form}.onnx"
        if not path.exists():
            export.export_onnx(name, path, weights=WEIGHTS, form=form)
        for precision, reason in engines.precision_reasons(engine).items():
            # int8 needs ranges: bench.studies.int8 has it.
            if not reason and precision != "int8":
                loaded[f"{engine}/{precision}"] = engines.load_engine(path, engine, precision, threads=2)
    return loaded


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_all(arguments.name, Path(folder))
        reference = loaded["torch/fp32"]
        clips = varied_clips(arguments.media, reference.spec, arguments.clips)
        feeds = [as_feed(clip, reference.spec) for clip in clips]
        table = [
            dataclasses.asdict(parity(reference, engine, feeds))
            for engine in loaded.values()
            if engine is not reference
        ]
    command = f"python -m bench.studies.parity {arguments.name} --media FOLDER --out FILE --clips {arguments.clips}"
    facts = collect(CORES, command) | {"model": registry.find(arguments.name).spec.name, "weights": WEIGHTS}
    result = {"provenance": facts, "parity_against_torch_fp32": table}
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
