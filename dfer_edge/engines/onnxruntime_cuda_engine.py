"""ONNX Runtime on NVIDIA GPUs, by its CUDA provider: for machines with neither torch nor TensorRT.

fp16 is written into the file, with the same fp32 islands as for TensorRT. Built, not yet run on hardware.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from dfer_edge.engines import mixed_precision
from dfer_edge.engines.base import Engine, Feed, FloatArray
from dfer_edge.engines.external import header
from dfer_edge.engines.onnxruntime_graphs import GRAPHS, ReplayedSession
from dfer_edge.errors import EngineUnavailable, InvalidInput
from dfer_edge.system.onnx_session import gpu_session

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
_NO_INT8 = "ONNX Runtime computes Q/DQ pairs in float there; tensorrt has int8"


def lacking(*providers: str) -> str:
    """Why ONNX Runtime here lacks one of these providers; empty if it was built with all."""
    import onnxruntime

    missing = [name for name in providers if name not in onnxruntime.get_available_providers()]
    hint = 'pip uninstall onnxruntime; pip install "dfer-edge[onnxruntime-gpu]"'
    return f"this onnxruntime {onnxruntime.__version__} has no {' and no '.join(missing)} ({hint})" if missing else ""


def unavailable() -> str:
    """Why it cannot run here; empty means that it was built in. Whether there is a GPU, a session says."""
    return lacking(CUDA)


def precisions() -> dict[str, str]:
    """Precision -> why it is not available here; empty means that it is."""
    return {"fp32": "", "bf16": "fp16 is as fast on these devices and keeps more bits", "fp16": "", "int8": _NO_INT8}


class OnnxRuntimeCudaEngine(Engine):
    """Runs the file on the current device, as a CUDA graph. Inputs go up and outputs come down in each call."""

    name = "onnxruntime-cuda"
    _network: Callable[[Feed], FloatArray]
    providers: ClassVar[tuple[str, ...]] = (CUDA,)
    graphs: ClassVar[bool] = True
    """Whether the first provider computes every node, as a graph of the provider needs it."""

    def _load(self) -> dict[str, str]:
        model = header(self.path)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        if mixed_precision.is_quantised(model):
            raise InvalidInput(f"expected an fp32 file, got the quantised {self.path}: {_NO_INT8}")
        options = self._options(metadata)
        if self.options.precision != "fp16":
            self._make(self.path, options)
            return metadata
        # Read whole when a session is made: its weights are then on the device.
        with tempfile.TemporaryDirectory(prefix="dfer-edge-") as folder:
            half = Path(folder) / "half.onnx"
            mixed_precision.write_half(self.path, half)
            self._make(half, options)
        return metadata

    def _make(self, path: Path, options: list[tuple[str, dict[str, str]]]) -> None:
        """The session, with CUDA graphs where the provider takes the whole network."""
        threads = self.options.thread_count
        self._why_no_graphs = "" if self.graphs else "not with TensorRT's provider, which may leave nodes to others"
        if self.graphs:
            (name, asked), *others = options
            try:
                self._session = gpu_session(path, [(name, asked | {GRAPHS: "1"}), *others], threads)
            except EngineUnavailable as error:
                if "graph" not in str(error).lower():
                    raise
                self._why_no_graphs = str(error)
        if self._why_no_graphs:
            self._session = gpu_session(path, options, threads)
        self._network = self._plain if self._why_no_graphs else ReplayedSession(self._session)

    def _options(self, metadata: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
        """Providers in the order of preference, with their options."""
        # fp32 means fp32: tensor cores would round products to 10 bits.
        return [(CUDA, {"use_tf32": "0", "cudnn_conv_use_max_workspace": "1"})]

    def _infer(self, feed: Feed) -> FloatArray:
        return self._network(feed)

    def _plain(self, feed: Feed) -> FloatArray:
        output: FloatArray = self._session.run(None, feed)[0]
        return output

    def info(self) -> dict[str, Any]:
        """As of every engine, with the providers that run it, and whether calls are CUDA graphs, or why not."""
        graphs = f"no: {self._why_no_graphs}" if self._why_no_graphs else "yes"
        return {**super().info(), "providers": self._session.get_providers(), "cuda_graphs": graphs}

    def _close(self) -> None:
        self._session = self._network = None  # type: ignore[assignment]
