"""What every family's test asks: a relative error, and ONNX in parity with torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from dfer_edge.inference import Form, record
from dfer_edge.inference.onnx_writer import write_onnx
from dfer_edge.inference.random_weights import RandomWeights
from dfer_edge.models.simplified import Simplified
from dfer_edge.spec import ModelSpec


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest absolute error over the largest absolute value expected."""
    return ((actual.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


def disturb_norms(module: torch.nn.Module) -> None:
    """Batch norms far from the identity, so that a wrong fold shows."""
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.normal_(norm.bias, 0, 0.2)
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 2)


def assert_onnx_equals_torch(
    spec: ModelSpec,
    form: Form,
    path: Path,
    landmarks: Callable[[int], torch.Tensor] | None = None,
    external: bool = False,
) -> None:
    """The file in ``form`` computes what torch computes in 3-D, for batches of one and three."""
    graph, inputs, logits = record(spec, form)
    weights = dict(RandomWeights(graph, seed=3))
    write_onnx(path, graph, inputs, logits, weights, {}, external=external)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    module = Simplified(spec, {key: torch.from_numpy(value) for key, value in weights.items()})
    rng = np.random.default_rng(20)
    for batch in (1, 3):
        feed = {spec.input: rng.standard_normal((batch, *spec.input_shape), np.float32)}
        if landmarks is not None:
            feed["landmarks"] = landmarks(batch).numpy()
        with torch.no_grad():
            expected = module(*map(torch.from_numpy, feed.values()))
        actual = session.run(None, feed)[0]
        assert actual.shape == (batch, spec.num_classes)
        assert relative(torch.from_numpy(actual), expected) <= 1e-5
