"""Labels in fp16 against fp32, on a machine without a GPU: the file that GPU engines get, rounded as it says.

python -m bench.studies.half slowr50_sa --media FOLDER --out bench/results/CPU/half_slowr50_sa.json

The fp16 file (:func:`dfer_edge.engines.mixed_precision.write_half`) is rewritten so that each of its fp16 nodes
computes in fp32 and is rounded to fp16 after, which ONNX Runtime's CPU provider does not do by itself. Engines on a GPU
fuse nodes and so round less often; tensor cores add in fp32 as here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

from dfer_edge.bench.measure import timing

CORES = timing.pin(1)

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from bench.studies.clips import varied_clips  # noqa: E402
from bench.studies.parity import as_feed  # noqa: E402
from dfer_edge.bench.measure.provenance import collect  # noqa: E402
from dfer_edge.engines import load_engine, mixed_precision  # noqa: E402
from dfer_edge.engines.parity import parity  # noqa: E402
from dfer_edge.export import onnx_file as export  # noqa: E402
from dfer_edge.weights import file as weights_files  # noqa: E402


def simulate_half(source: Path, target: Path) -> int:
    """Write ``source``, an fp32 file, as an fp32 file that rounds where its fp16 form does; returns how many nodes."""
    half = target.with_name(f"{target.stem}.half.onnx")
    mixed_precision.write_half(source, half)
    model = onnx.load(half)
    graph = model.graph
    narrow = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        output, copy = node.output[0], onnx.NodeProto()
        copy.CopyFrom(node)
        if node.op_type != "Cast":
            halved = any(name in narrow for name in node.input)
        else:
            halved = helper.get_node_attr_value(node, "to") == TensorProto.FLOAT16
            copy = helper.make_node("Identity", [node.input[0]], [output], name=node.name)
        if halved:
            narrow.add(output)
            copy.output[0] = f"{output}_wide"
        nodes.append(copy)
        if halved:
            nodes.append(helper.make_node("Cast", [f"{output}_wide"], [f"{output}_half"], to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("Cast", [f"{output}_half"], [output], to=TensorProto.FLOAT))
    tensors = [
        numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
        if tensor.data_type == TensorProto.FLOAT16
        else tensor
        for tensor in graph.initializer
    ]
    for field, values in (("node", nodes), ("initializer", tensors), ("value_info", [])):
        graph.ClearField(field)
        getattr(graph, field).extend(values)
    # The weights lie within: the digest is of a file beside the model.
    kept = [entry for entry in model.metadata_props if entry.key != "dfer_edge.data_sha256"]
    model.ClearField("metadata_props")
    model.metadata_props.extend(kept)
    onnx.save(model, target)
    return sum(node.op_type == "Cast" for node in nodes) // 2


def compare(name: str, weights: str, media: Path, count: int) -> dict[str, Any]:
    """Labels of ``count`` clips in both precisions."""
    with tempfile.TemporaryDirectory() as folder:
        exact, rounded = Path(folder) / "exact.onnx", Path(folder) / "rounded.onnx"
        export.export_onnx(name, exact, weights=weights, form="2d")
        nodes = simulate_half(exact, rounded)
        with (
            load_engine(exact, "onnxruntime", "fp32", threads=1) as first,
            load_engine(rounded, "onnxruntime", "fp32", threads=1) as second,
        ):
            feeds = [as_feed(clip, first.spec) for clip in varied_clips(media, first.spec, count)]
            report = dataclasses.asdict(parity(first, second, feeds))
    report |= {"first": "fp32", "second": "fp16, rounding emulated", "rounded_nodes": nodes}
    return report


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=200)
    arguments = parser.parse_args()
    report = compare(arguments.name, arguments.weights, arguments.media, arguments.clips)
    command = f"python -m bench.studies.half {arguments.name} --media FOLDER --out FILE --clips {arguments.clips}"
    source = weights_files.resolve(arguments.name, arguments.weights)
    facts = collect(CORES, command) | {"model": arguments.name, "weights": source.name, "sha256": source.sha256}
    arguments.out.write_text(json.dumps({"provenance": facts, "fp16_against_fp32": report}, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
