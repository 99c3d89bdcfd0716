"""Files whose input is uint8 crops: the normalisation becomes the first nodes of the graph.

For engines on a GPU: a quarter of the bytes goes over the bus, and the CPU computes nothing. Values are those of
:func:`dfer_edge.kernels.clip_to_tensor.normalise`, bit for bit where an engine computes fp32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfer_edge.errors import CorruptArtifact
from dfer_edge.kernels import affine
from dfer_edge.spec import ModelSpec

if TYPE_CHECKING:
    import onnx

INPUT, PIXELS = "dfer_edge.input", "pixels"
PREFIX = "pixels."
"""Of the names of the nodes: they compute in fp32 in every precision."""

Shapes = Mapping[str, tuple[int, ...]]


def are_taken(metadata: Mapping[str, str]) -> bool:
    """Whether the file with this metadata takes uint8 crops."""
    return metadata.get(INPUT) == PIXELS


def pixel_input(shapes: Shapes) -> str:
    """``clip`` or ``image``, whichever a network reads; empty for a head, which reads features."""
    return next((name for name in ("clip", "image") if name in shapes), "")


def pixel_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Input shapes without the batch axis, channels last where they were first: [T, H, W, 3] of ``clip``."""
    name = pixel_input(shapes)
    return {key: (*shape[1:], shape[0]) if key == name else shape for key, shape in shapes.items()}


def dtypes(shapes: Shapes, pixels: bool) -> dict[str, np.dtype[np.generic]]:
    """Input name -> float32, or uint8 of crops."""
    name = pixel_input(shapes) if pixels else ""
    return {key: np.dtype(np.uint8 if key == name else np.float32) for key in shapes}


def take_pixels(path: Path) -> None:
    """Rewrite an exported file: ``clip`` becomes uint8 [B, T, H, W, 3], ``image`` uint8 [B, H, W, 3], RGB.

    Weights beside the file stay as they are. A head, whose input are features, is left alone.

    Raises
    ------
    CorruptArtifact
        For a file without our metadata.
    """
    # Every engine reads the names above; only exports rewrite files.
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(path, load_external_data=False)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if "dfer_edge.spec" not in metadata:
        raise CorruptArtifact(f"expected an ONNX file with dfer_edge metadata, got {path} without", "dfer-edge export")
    inputs = {value.name: value for value in model.graph.input}
    name = next((name for name in ("clip", "image") if name in inputs), "")
    if not name or are_taken(metadata):
        return
    value = inputs[name]
    axes = [(d.dim_param or d.dim_value) for d in value.type.tensor_type.shape.dim]
    value.CopyFrom(helper.make_tensor_value_info(name, TensorProto.UINT8, [axes[0], *axes[2:], axes[1]]))
    for node in model.graph.node:
        for index, read in enumerate(node.input):
            if read == name:
                node.input[index] = f"{PREFIX}normalised"
    nodes, constants = _front(name, len(axes), ModelSpec.from_json(metadata["dfer_edge.spec"]))
    kept = list(model.graph.node)
    model.graph.ClearField("node")
    model.graph.node.extend([*nodes, *kept])
    model.graph.initializer.extend(constants)
    helper.set_model_props(model, {**metadata, INPUT: PIXELS})
    path.write_bytes(model.SerializeToString())


def _front(name: str, rank: int, spec: ModelSpec) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """``(x * scale_hi - bias_hi) + (x * scale_lo - bias_lo)`` of channels first; see ``affine.two_part``."""
    from onnx import TensorProto, helper, numpy_helper

    maps = np.asarray(affine.per_channel(*affine.moments(spec.mean, spec.std)), np.float32)
    shape = (1, 3, *(1 for _ in range(rank - 2)))
    names = ("scale_hi", "bias_hi", "scale_lo", "bias_lo")
    constants = [
        numpy_helper.from_array(maps[:, index].reshape(shape), f"{PREFIX}{key}") for index, key in enumerate(names)
    ]

    def node(op: str, inputs: tuple[str, ...], output: str, **attributes: object) -> onnx.NodeProto:
        inside = [key if key == name else f"{PREFIX}{key}" for key in inputs]
        return helper.make_node(op, inside, [f"{PREFIX}{output}"], f"{PREFIX}{output}", **attributes)

    nodes = [
        node("Cast", (name,), "float", to=TensorProto.FLOAT),
        node("Transpose", ("float",), "planes", perm=[0, rank - 1, *range(1, rank - 1)]),
        node("Mul", ("planes", "scale_hi"), "scaled_hi"),
        node("Sub", ("scaled_hi", "bias_hi"), "hi"),
        node("Mul", ("planes", "scale_lo"), "scaled_lo"),
        node("Sub", ("scaled_lo", "bias_lo"), "lo"),
        node("Add", ("hi", "lo"), "normalised"),
    ]
    return nodes, constants
