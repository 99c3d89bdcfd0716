"""ONNX Runtime on the CPU: the portable fp32 path, and the simulator of int8: Q/DQ pairs computed in float."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dfer_edge.engines import placed
from dfer_edge.engines.base import Engine, Feed, FloatArray
from dfer_edge.engines.external import mapped_bytes
from dfer_edge.system.onnx_session import cpu_session

_NO_SECOND_COPY_FROM = 1 << 30


def precisions() -> dict[str, str]:
    """Precision -> why it is not available here; empty means that it is."""
    return {
        "fp32": "",
        "bf16": "ONNX Runtime's CPU provider has no bf16 kernels for convolutions",
        "fp16": "ONNX Runtime's CPU provider computes fp16 convolutions in fp32",
        "int8": "",
    }


class OnnxRuntimeEngine(Engine):
    """Runs the file as it is, all graph optimisations on, or in pieces around fused kernels."""

    name = "onnxruntime"
    _network: Callable[[Feed], FloatArray]

    def _load(self) -> dict[str, str]:
        if found := placed.cut(self.path, self.name, self.options, self._piece):
            self._network, metadata, self.kernels = found
            return metadata
        # Packing copies every matrix: a network of gigabytes runs from its mapped file instead, as fast.
        prepack = mapped_bytes(self.path) <= _NO_SECOND_COPY_FROM
        simulate = self.options.precision == "int8"
        session = cpu_session(str(self.path), self.path, self.options.thread_count, prepack=prepack, simulate=simulate)
        self._network = lambda feed: session.run(None, feed)[0]
        return dict(session.get_modelmeta().custom_metadata_map)

    def _piece(self, model: bytes) -> placed.Run:
        session = cpu_session(model, self.path, self.options.thread_count)
        return lambda feed: session.run(None, feed)

    def info(self) -> dict[str, Any]:
        """As of every engine; int8 is marked as simulated."""
        if self.options.precision != "int8":
            return super().info()
        return super().info() | {"precision_note": "simulated in float: the accuracy of int8, not its speed"}

    def _infer(self, feed: Feed) -> FloatArray:
        return self._network(feed)

    def _close(self) -> None:
        self._network = None  # type: ignore[assignment]
