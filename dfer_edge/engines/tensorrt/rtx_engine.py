"""TensorRT-RTX on RTX desktops (Turing and later): TensorRT's interface, a wheel of its own, no INT8 convolutions.

Its builder runs here without a GPU and takes every network; its engines were not yet run on hardware.
"""

from __future__ import annotations

import onnx

from dfer_edge.engines.cuda_memory import Device
from dfer_edge.engines.tensorrt import library as tensorrt_library
from dfer_edge.engines.tensorrt.engine import TensorRtEngine, reason_against
from dfer_edge.engines.tensorrt.library import Library
from dfer_edge.errors import PrecisionUnavailable

_NO_INT8 = "TensorRT-RTX has no INT8 convolutions; tensorrt has"


def unavailable() -> str:
    """Why TensorRT-RTX cannot run here; empty means that it can."""
    return reason_against(_load)


def precisions() -> dict[str, str]:
    """Precision -> why it is not available here; empty means that it is."""
    return {"fp32": "", "bf16": "fp16 is as fast on these devices and keeps more bits", "fp16": "", "int8": _NO_INT8}


def _load(device: Device) -> Library:
    return tensorrt_library.load_rtx(device.capability)


class TensorRtRtxEngine(TensorRtEngine):
    """As :class:`TensorRtEngine`, compiled for the compute capability of the device."""

    name = "tensorrt-rtx"
    _load_library = staticmethod(_load)

    def _check_precision(self, model: onnx.ModelProto) -> None:
        if self.options.precision == "int8":
            raise PrecisionUnavailable(f"tensorrt-rtx has no int8: {_NO_INT8}")
        super()._check_precision(model)
