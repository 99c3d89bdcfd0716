"""ONNX Runtime on the CPU: the portable fp32 path."""

from __future__ import annotations

from dfer_edge.engines.base import Engine, FloatArray
from dfer_edge.engines.external import mapped_bytes
from dfer_edge.errors import CorruptArtifact

_NO_SECOND_COPY_FROM = 1 << 30


def precisions() -> dict[str, str]:
    """Precision -> why it is not available here; empty means that it is."""
    return {
        "fp32": "",
        "bf16": "ONNX Runtime's CPU provider has no bf16 kernels for convolutions",
        "fp16": "ONNX Runtime's CPU provider computes fp16 convolutions in fp32",
        "int8": "needs a calibrated Q/DQ file",
    }


class OnnxRuntimeEngine(Engine):
    """Runs the file as it is, all graph optimisations on."""

    name = "onnxruntime"

    def _load(self) -> dict[str, str]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.options.thread_count
        options.inter_op_num_threads = 1
        # Idle threads that spin take the cores from decoding and detection.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        if mapped_bytes(self.path) > _NO_SECOND_COPY_FROM:
            # Packing copies every matrix: a network of gigabytes runs from its mapped file instead, as fast.
            options.add_session_config_entry("session.disable_prepacking", "1")
        try:
            self._session = onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no public base class
            raise CorruptArtifact(f"expected an ONNX file that loads, got {self.path}: {_one_line(error)}") from error
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def _infer(self, feed: dict[str, FloatArray]) -> FloatArray:
        output: FloatArray = self._session.run(None, feed)[0]
        return output

    def _close(self) -> None:
        self._session = None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
