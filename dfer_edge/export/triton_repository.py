"""A model repository for NVIDIA Triton Inference Server, from the same export that every engine reads.

::

    DIR/MODEL/config.pbtxt    inputs, output, batching, instances, accelerator, warm-up
    DIR/MODEL/labels.txt      class names in the order of the logits
    DIR/MODEL/1/model.onnx    the network; a later export adds 2, 3, ...

Options are those that the server's ``onnxruntime`` backend documents. Written, not yet served by a real server.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import Form
from dfer_edge.inference.parts import LOGITS, input_shapes
from dfer_edge.weights.file import Weights

Accelerator = Literal["none", "openvino", "tensorrt"]
ACCELERATORS: tuple[Accelerator, ...] = ("none", "openvino", "tensorrt")
_FORMS: dict[Accelerator, Form] = {"none": "2d", "openvino": "3d", "tensorrt": "2d"}
_PRECISIONS = ("fp32", "fp16")
# How long a request may wait for others to share a batch with.
_QUEUE_DELAY_US = 1000


def write_repository(
    source: Weights,
    root: Path,
    accelerator: Accelerator = "none",
    precision: str = "fp32",
    max_batch: int = 8,
    instances: int = 1,
) -> Path:
    """Write a network as the next version of a model in a repository.

    Parameters
    ----------
    source
        Its weights.
    root
        The repository; made if it is not there.
    accelerator
        Of the backend: ``none`` and ``openvino`` run on the CPU, ``tensorrt`` on GPUs.
    precision
        ``fp32``, or ``fp16`` with ``tensorrt``.
    max_batch
        Clips of one request or of requests that the server puts together; image networks get as many times their
        frames of a clip.
    instances
        Copies of the network that the server runs at once, on each device.

    Returns
    -------
    The folder of the version.

    Raises
    ------
    InvalidInput
        For an option that does not exist or fit.
    """
    from dfer_edge.export import onnx_file as export  # onnx, which the command line's --help does not need

    _check(accelerator, precision, max_batch, instances)
    model = root / source.spec.name
    model.mkdir(parents=True, exist_ok=True)
    present = [int(path.name) for path in model.iterdir() if path.is_dir() and path.name.isdecimal()]
    version = model / str(max(present, default=0) + 1)
    # The server looks at folders with a number for a name: the version appears when it is whole.
    partial = version.with_name(f"{version.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        export.write(source, partial / "model.onnx", _FORMS[accelerator])
        (model / "labels.txt").write_text("".join(f"{label}\n" for label in source.spec.labels))
        (model / "config.pbtxt").write_text(config(source, accelerator, precision, max_batch, instances))
        partial.replace(version)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return version


def config(source: Weights, accelerator: Accelerator, precision: str, max_batch: int, instances: int) -> str:
    """The text of ``config.pbtxt``; the model's spec is a parameter, so that clients can preprocess as it needs."""
    from dfer_edge.export import onnx_file as export

    spec = source.spec
    shapes = input_shapes(spec)
    rows = spec.frames if spec.input == "image" else 1
    most = max_batch * rows
    kind = "KIND_GPU" if accelerator == "tensorrt" else "KIND_CPU"
    inputs = ",\n".join(f"  {{ name: {_text(n)} data_type: TYPE_FP32 dims: {_dims(s)} }}" for n, s in shapes.items())
    output = f"name: {_text(LOGITS)} data_type: TYPE_FP32 dims: {_dims((spec.num_classes,))}"
    warm = "\n".join(
        f"  inputs {{ key: {_text(name)} value {{ data_type: TYPE_FP32 dims: {_dims(shape)} random_data: true }} }}"
        for name, shape in shapes.items()
    )
    notes = export.metadata(source, _FORMS[accelerator])
    parameters = "\n".join(
        f"parameters {{ key: {_text(key)} value {{ string_value: {_text(value)} }} }}" for key, value in notes.items()
    )
    parts = (
        f"name: {_text(spec.name)}\nbackend: {_text('onnxruntime')}\nmax_batch_size: {most}",
        f"input [\n{inputs}\n]\noutput [\n  {{ {output} label_filename: {_text('labels.txt')} }}\n]",
        "version_policy { latest { num_versions: 1 } }",
        f"dynamic_batching {{ max_queue_delay_microseconds: {_QUEUE_DELAY_US} }}",
        f"instance_group [ {{ count: {instances} kind: {kind} }} ]",
        _accelerator(accelerator, precision, shapes, rows, most),
        # Engines and kernels are made at the first call: not at a user's.
        f"model_warmup [ {{\n  name: {_text('one clip')}\n  batch_size: {rows}\n{warm}\n}} ]",
        parameters,
    )
    return "\n".join(part for part in parts if part) + "\n"


def _accelerator(
    accelerator: Accelerator, precision: str, shapes: dict[str, tuple[int, ...]], rows: int, most: int
) -> str:
    if accelerator == "none":
        return ""
    if accelerator == "openvino":
        return 'optimization { execution_accelerators { cpu_execution_accelerator [ { name: "openvino" } ] } }'
    options = {"precision_mode": precision.upper(), "trt_engine_cache_enable": "1", "trt_timing_cache_enable": "1"}
    if precision == "fp16":
        options["trt_layer_norm_fp32_fallback"] = "1"
    for name, count in (("min", 1), ("opt", rows), ("max", most)):
        values = (f"{tensor}:{'x'.join(map(str, (count, *shape)))}" for tensor, shape in shapes.items())
        options[f"trt_profile_{name}_shapes"] = ",".join(values)
    lines = "\n".join(f"    parameters {{ key: {_text(k)} value: {_text(v)} }}" for k, v in options.items())
    inside = f"gpu_execution_accelerator [ {{\n    name: {_text('tensorrt')}\n{lines}\n  }} ]"
    return f"optimization {{ execution_accelerators {{\n  {inside}\n}} }}"


def _check(accelerator: str, precision: str, max_batch: int, instances: int) -> None:
    if accelerator not in ACCELERATORS:
        raise InvalidInput(f"expected an accelerator out of {', '.join(ACCELERATORS)}; got {accelerator!r}")
    allowed = _PRECISIONS if accelerator == "tensorrt" else ("fp32",)
    if precision not in allowed:
        raise InvalidInput(f"expected {' or '.join(allowed)} with accelerator {accelerator}, got {precision!r}")
    for what, value in (("max_batch", max_batch), ("instances", instances)):
        if type(value) is not int or value < 1:
            raise InvalidInput(f"expected {what} of at least 1, got {value!r}")


def _text(value: str) -> str:
    # The text format of protobuf escapes as JSON does and takes UTF-8 as it is.
    return json.dumps(value, ensure_ascii=False)


def _dims(shape: tuple[int, ...]) -> str:
    return f"[ {', '.join(map(str, shape))} ]"
