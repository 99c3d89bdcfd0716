"""Which of the equal forms of a convolution over time this device runs fastest with TensorRT: measured, remembered.

Nobody publishes the speed of INT8 or FP16 Conv3d against its two-dimensional forms, and it differs between GPUs.
Built, not yet run on hardware.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from dfer_edge.cache import manifest as cache_manifest
from dfer_edge.cache import store as cache
from dfer_edge.engines.base import Engine
from dfer_edge.engines.cuda_memory import open_cuda
from dfer_edge.engines.tensorrt import library as tensorrt_library
from dfer_edge.engines.tensorrt.build import REVISION
from dfer_edge.engines.tensorrt.engine import identity
from dfer_edge.engines.tensorrt.gate import gate_feed
from dfer_edge.errors import CorruptArtifact
from dfer_edge.inference import FORMS, Form
from dfer_edge.spec import ModelSpec

_FILE = "form.json"
_WARM_UP_S = 0.5


def remembered(spec: ModelSpec, precision: str) -> Form | None:
    """The form that was fastest for a network when it was measured on this device; None if it never was."""
    folder = cache.find(_key(spec, precision))
    if folder is None:
        return None
    try:
        fastest = json.loads(cache_manifest.verified_bytes(folder, _FILE))["fastest"]
    except CorruptArtifact:
        # Cleared by another process since it was found.
        return None
    return next((form for form in FORMS if form == fastest), None)


def remember(spec: ModelSpec, precision: str, latency_ms: Mapping[Form, float]) -> Form:
    """Keep the fastest of measured forms for :func:`remembered`; returns it."""
    fastest = min(latency_ms, key=lambda form: latency_ms[form])
    text = json.dumps({"fastest": fastest, "latency_ms": dict(latency_ms)})

    def write(folder: Path) -> None:
        (folder / _FILE).write_text(text)

    cache.put(_key(spec, precision), write)
    return fastest


def latencies_ms(engines: Mapping[Form, Engine], samples: int) -> dict[Form, list[float]]:
    """Milliseconds of ``samples`` runs of one clip by each engine, taking turns, after a warm-up by time."""
    times: dict[Form, list[float]] = {form: [] for form in engines}
    feeds = {
        form: gate_feed(engine.input_shapes, engine.batch or 1, dtypes=engine.input_dtypes)
        for form, engine in engines.items()
    }
    for form, engine in engines.items():
        end = time.perf_counter() + _WARM_UP_S
        while time.perf_counter() < end:
            engine.infer(feeds[form])
    for _ in range(samples):
        for form, engine in engines.items():
            start = time.perf_counter()
            engine.infer(feeds[form])
            times[form].append((time.perf_counter() - start) * 1e3)
    return times


def _key(spec: ModelSpec, precision: str) -> cache.Key:
    device = identity(tensorrt_library.load(), open_cuda().device())
    fields = {**device, "spec": spec.to_json(), "precision": precision, "revision": REVISION}
    return cache.Key("choices", f"{spec.name}-{precision}-form", fields)
