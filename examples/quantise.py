"""INT8 from your own clips: ``python quantise.py clips/ out/``; on a board, run it there.

Two numbers decide whether you want the result: how often the labels agree, and how far the probabilities move.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dfer_edge.calibration import calibrate, from_folder, quantize
from dfer_edge.engines import load_engine
from dfer_edge.export import export_onnx
from dfer_edge.inference.registry import find
from dfer_edge.weights import resolve

NAME = "slowr50_sa"


def main(clips: str, out: str, engine: str = "openvino") -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    exact = export_onnx(NAME, folder / "fp32.onnx")
    seen = from_folder(clips, resolve(NAME, "default").spec, count=64)
    ranges = calibrate(exact, seen)
    ranges.save(folder / "ranges.json")
    # OpenVINO on x86 takes the unsigned form, TensorRT the symmetric one.
    scheme = "unsigned" if engine == "openvino" else "symmetric"
    quantised = quantize(exact, ranges, folder / "int8.onnx", scheme)
    logits = []
    for path, precision in ((exact, "fp32"), (quantised, "int8")):
        with load_engine(path, engine, precision) as network:
            logits.append(np.concatenate([network.infer(feed)["logits"] for feed in seen]))
    agree = float((logits[0].argmax(1) == logits[1].argmax(1)).mean())
    print(f"{find(NAME).spec.name}: {len(seen)} clips, labels agree on {agree:.0%}")
    print(f"largest change of a logit {np.abs(logits[0] - logits[1]).max():.2f} of {np.ptp(logits[0]):.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
