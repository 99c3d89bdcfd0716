"""Windows that share features in int8: the same integers as the whole network's, from the same ranges."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from dfer_edge.calibration import calibrate
from dfer_edge.calibration.graph import GraphIndex, read
from dfer_edge.calibration.placement import plan
from dfer_edge.engines import precision_reasons, reasons
from dfer_edge.export.artifacts import prepare
from dfer_edge.export.loading import Request, load, load_parts
from dfer_edge.inference.parts import FEATURES, Streaming, input_shapes
from dfer_edge.weights import file as weights
from tests.flow.test_streaming import NAMES, small
from tests.inference import keypoint_cases
from tests.inference.test_slowr50 import for_people
from tests.live.test_scoring import amplify


def feeds(spec, count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng, shapes = np.random.default_rng(seed), input_shapes(spec)
    found = []
    for k in range(count):
        light = rng.uniform(0.2, 4, (1, 1, spec.frames, 1, 1))
        feed = {"clip": (rng.standard_normal((1, *shapes["clip"])) * light).astype(np.float32)}
        if spec.landmarks:
            points = keypoint_cases.faces(1, spec.frames, spec.size, seed + k)
            feed["landmarks"] = points.numpy().astype(np.float32)
        found.append(feed)
    return found


CASES = [*(("onnxruntime", name) for name in (*NAMES, "slowr50_sa at the apex")), ("openvino", "slowr50_sa")]


def network(name: str) -> torch.nn.Module:
    """A small one, amplified where it hardly tells clips apart."""
    if not name.startswith("slowr50_sa"):
        return small(name).float()
    module = small(name) if name == "slowr50_sa" else for_people("slowr50_sa")
    module.spec = dataclasses.replace(module.spec, frames=3, size=20)
    amplify(module.float())
    return module


@pytest.mark.parametrize(("engine", "name"), CASES)
def test_features_of_steps_give_the_logits_of_the_whole_network(engine: str, name: str, tmp_path: Path) -> None:
    if reason := reasons(engine) or precision_reasons(engine)["int8"]:
        pytest.skip(reason)
    module = network(name)
    name = module.spec.name
    path = weights.save(tmp_path / "small.safetensors", module)
    exact = prepare(weights.resolve(name, path), "2d")
    layers = plan(GraphIndex(read(exact), exact)).layers
    # One that stays float in each part: names of the one mean nothing in the other.
    excluded = [[layer.name for layer in layers if layer.kind == "int8"][place] for place in (0, -1)]
    table = calibrate(exact, feeds(module.spec, 16), "minmax", excluded, threads=1)
    # The classifier's correction is made in both or in neither.
    shift = tuple(np.linspace(-3, 3, module.spec.num_classes).tolist())
    table = dataclasses.replace(table, logit_shift=shift).save(tmp_path / "ranges.json")
    request = Request(name, path, engine, "int8", threads=1, calibration=table)
    whole = load(request).engine
    parts = load_parts(request, whole)
    assert parts is not None, "the log says why not"
    streaming, spread = Streaming.of(module.spec), []
    for feed in feeds(module.spec, 6, seed=9):
        expected = whole.infer(feed)["logits"]
        steps = []
        for first in range(0, streaming.steps * streaming.frames_per_step, streaming.frames_per_step):
            frames = slice(first, first + streaming.frames_per_step)
            part = {key: value[:, :, frames] if key == "clip" else value[:, frames] for key, value in feed.items()}
            steps.append(parts[0].infer({k: np.ascontiguousarray(v) for k, v in part.items()})[FEATURES][:, 0])
        actual = parts[1].infer({FEATURES: np.stack(steps, 1)})["logits"]
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).max()))
        spread.append(expected)
    assert np.concatenate(spread).std(0).max() > 1e-3, "the clips hardly differ"
