"""SlowR50-SA on a GPU, from camera frames to probabilities in one CUDA graph: what the two ends add to the engine.

python -m bench.studies.gpu_pipeline --out bench/results/DEVICE/pipeline.json

Built, not yet run on hardware.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfer_edge import kernels
from dfer_edge.bench.measure.provenance import collect
from dfer_edge.engines.torch_capture import record
from dfer_edge.inference import registry
from dfer_edge.models import create_model, simplify

NAME = "slowr50_sa"
TITLE = "8 RGB frames of 1280 x 720 on the device, crops of 360 x 360, float16, random weights, batch 1"
# Promised: the whole graph's time less the engine's.
ADDED_US = 30
TOLERANCE = 2e-2  # of probabilities in float16 against float32
# A network that was never trained says nearly the same of every clip: its scores are spread, or no check could fail.
SPREAD = 1000

Tensor = torch.Tensor


class Pipeline:
    """Buffers of a camera and a network on the current CUDA device, and the flow between them.

    Attributes
    ----------
    frames
        uint8 [T, 720, 1280, 3], RGB.
    boxes
        int32 [1, T, 4]: the crop of each frame.
    clip
        float16 [1, 3, T, S, S]: the engine's input buffer.
    """

    def __init__(self) -> None:
        self.spec = registry.find(NAME).spec
        torch.manual_seed(0)
        self.exact = simplify(create_model(NAME), "2d").cuda()
        self.network = simplify(create_model(NAME), "2d").cuda().half()
        self.exact.named_weights()["classifier.weight"].mul_(SPREAD)
        for narrow, wide in zip(self.network.values, self.exact.values, strict=True):
            narrow.copy_(wide)
        count, size = self.spec.frames, self.spec.size
        self.frames = torch.randint(0, 256, (count, 720, 1280, 3), dtype=torch.uint8, device="cuda")
        self.boxes = torch.tensor([[[400 + t, 200, 760 + t, 560] for t in range(count)]], device="cuda").int()
        self.clip = torch.zeros(1, 3, count, size, size, dtype=torch.float16, device="cuda")
        self.logits = torch.zeros(1, self.spec.num_classes, dtype=torch.float16, device="cuda")

    def before(self) -> Tensor:
        """Crops, resized and normalised, in the engine's input buffer."""
        filled: Tensor = kernels.clip_to_tensor(self.frames, self.boxes, self.spec, out=self.clip)
        return filled

    def engine(self) -> Tensor:
        """Logits of the input buffer."""
        logits: Tensor = self.network(self.clip)
        return logits

    def ends(self) -> Tensor:
        """What comes before and after the engine, without it."""
        self.before()
        return self.logits.float().softmax(-1)

    def whole(self) -> Tensor:
        """Probabilities of the frames."""
        self.before()
        return self.engine().float().softmax(-1)

    def expected(self) -> Tensor:
        """The same by the definition, the network in float32."""
        with kernels.use_backend("reference"), torch.no_grad():
            clip = kernels.clip_to_tensor(self.frames, self.boxes, self.spec)
            probabilities: Tensor = self.exact(clip).softmax(-1)
            return probabilities

    def graphs(self) -> dict[str, tuple[Tensor, Callable[[], None]]]:
        """``engine``, ``ends`` and ``whole``, captured: output, and what computes it again."""
        with torch.no_grad():
            return {name: record(getattr(self, name)) for name in ("engine", "ends", "whole")}


def check(pipeline: Pipeline, probabilities: Tensor, replay: Callable[[], None]) -> None:
    """Replayed with other frames and boxes, the whole graph gives their probabilities, which differ."""
    seen = []
    for shift, brightest in ((0, 256), (37, 64)):
        pipeline.frames.random_(0, brightest)
        pipeline.boxes.add_(shift)
        replay()
        torch.cuda.synchronize()
        assert float((probabilities - pipeline.expected()).abs().max()) <= TOLERANCE
        seen.append(probabilities.clone())
    assert float((seen[0] - seen[1]).abs().max()) > 3 * TOLERANCE


def interleaved(calls: Mapping[str, Callable[[], None]], samples: int) -> dict[str, list[float]]:
    """Microseconds by CUDA events, in turns; the L2 cache is overwritten before each."""
    flush = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    end = time.perf_counter() + 1
    while time.perf_counter() < end:
        for call in calls.values():
            call()
    torch.cuda.synchronize()
    pairs: dict[str, list[tuple[Any, Any]]] = {name: [] for name in calls}
    for _ in range(samples):
        for name, call in calls.items():
            begin, finish = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            flush.zero_()
            begin.record()
            call()
            finish.record()
            pairs[name].append((begin, finish))
    torch.cuda.synchronize()
    return {name: [1e3 * begin.elapsed_time(finish) for begin, finish in pairs[name]] for name in calls}


def measure(samples: int) -> dict[str, Any]:
    """Check, then time; what is added is the median of the differences of neighbouring calls."""
    pipeline = Pipeline()
    graphs = pipeline.graphs()
    check(pipeline, *graphs["whole"])
    times = interleaved({name: replay for name, (_, replay) in graphs.items()}, samples)
    added = float(np.median(np.subtract(times["whole"], times["engine"])))
    medians = {f"{name}_us": float(np.median(values)) for name, values in times.items()}
    return {**medians, "added_us": added, "bar": {"at_most_us": ADDED_US, "met": added <= ADDED_US}}


def main() -> None:
    """Every GPU backend of clip_to_tensor that this machine has; a wrong value ends the run before it is timed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--samples", type=int, default=300)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("torch sees no CUDA device")
    results: dict[str, Any] = {"title": TITLE, "backends": {}}
    for name in ("cuda", "triton"):
        if reason := kernels.backends("clip_to_tensor")[name]:
            print(f"{name}: {reason}")
            continue
        with kernels.use_backend(name):
            results["backends"][name] = measure(arguments.samples)
    properties = torch.cuda.get_device_properties(0)
    device = {"gpu": properties.name, "cuda": torch.version.cuda, "multiprocessors": properties.multi_processor_count}
    results["provenance"] = {
        **collect(range(os.cpu_count() or 1), f"python -m bench.studies.gpu_pipeline --samples {arguments.samples}"),
        **device,
        "data": "synthetic",
    }
    print(json.dumps(results, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
