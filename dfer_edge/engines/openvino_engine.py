"""OpenVINO on the CPU: the fast path, bf16 where the processor has it."""

from __future__ import annotations

import numpy as np

from dfer_edge.engines.base import LOGITS, Engine, FloatArray
from dfer_edge.errors import CorruptArtifact

DISTRIBUTION = "openvino"
EXTRA = "openvino"

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16"}


def precisions() -> dict[str, str]:
    """Precision -> why it is not available here; empty means that it is."""
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    reasons = {p: "" if c in able else f"OpenVINO has no {c} on this processor" for p, c in _CAPABILITIES.items()}
    return reasons | {"int8": "needs a calibrated Q/DQ file"}


class OpenVinoEngine(Engine):
    """Compiles the file for latency in the precision asked for."""

    name = "openvino"

    def _load(self) -> dict[str, str]:
        import onnx
        import openvino

        core = openvino.Core()
        config = {
            # Without the hint OpenVINO takes bf16 by itself: fp32 has to be asked for.
            "INFERENCE_PRECISION_HINT": _HINTS[self.options.precision],
            "INFERENCE_NUM_THREADS": self.options.thread_count,
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            model = core.read_model(self.path)
            self._request = core.compile_model(model, "CPU", config).create_infer_request()
            header = onnx.load(self.path, load_external_data=False)
        except Exception as error:  # protobuf and OpenVINO raise bare RuntimeError and their own
            reason = " ".join(str(error).split())[-200:]
            raise CorruptArtifact(f"expected an ONNX file that compiles, got {self.path}: {reason}") from error
        return {entry.key: entry.value for entry in header.metadata_props}

    def _infer(self, feed: dict[str, FloatArray]) -> FloatArray:
        self._request.infer(feed, share_inputs=True)
        # The request keeps its output buffer: the caller gets a copy.
        return np.array(self._request.get_tensor(LOGITS).data, np.float32)

    def _close(self) -> None:
        self._request = None
