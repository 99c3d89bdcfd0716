"""ONNX Runtime by its TensorRT provider: built when it is loaded, anew each time. Built, not yet run on hardware.

The provider's own cache of engines is not used: engines are code, and it verifies none. Engine ``tensorrt`` has one.
"""

from __future__ import annotations

from dfer_edge.engines.base import part_of
from dfer_edge.engines.onnxruntime_cuda_engine import CUDA, TENSORRT, OnnxRuntimeCudaEngine, lacking, precisions
from dfer_edge.inference import pixels
from dfer_edge.inference.parts import input_shapes
from dfer_edge.spec import ModelSpec

__all__ = ["OnnxRuntimeTensorRtEngine", "precisions", "unavailable"]

# Clips of one call that the engine is built for; more are another build.
_MOST_CLIPS = 8


def unavailable() -> str:
    """Why it cannot run here; empty means that it was built in. Whether TensorRT's libraries load, a session says."""
    return lacking(TENSORRT, CUDA)


class OnnxRuntimeTensorRtEngine(OnnxRuntimeCudaEngine):
    """As :class:`OnnxRuntimeCudaEngine`; what TensorRT does not take runs on the CUDA provider."""

    name = "onnxruntime-tensorrt"
    providers = (TENSORRT, CUDA)
    graphs = False

    def _options(self, metadata: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
        options = {
            "trt_fp16_enable": str(int(self.options.precision == "fp16")),
            "trt_engine_cache_enable": "0",
            **self._profile(metadata),
        }
        return [(TENSORRT, options), *super()._options(metadata)]

    def _profile(self, metadata: dict[str, str]) -> dict[str, str]:
        """Least, usual and most rows of each input: without them each batch size is a build."""
        if "dfer_edge.spec" not in metadata or metadata.get("dfer_edge.batch", "dynamic") != "dynamic":
            return {}
        spec = ModelSpec.from_json(metadata["dfer_edge.spec"])
        shapes = input_shapes(spec, part_of(metadata))
        if pixels.are_taken(metadata):
            shapes = pixels.pixel_shapes(shapes)
        rows = spec.frames if spec.input == "image" else 1

        def written(count: int) -> str:
            return ",".join(f"{name}:{'x'.join(map(str, (count, *shape)))}" for name, shape in shapes.items())

        names = ("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes")
        return dict(zip(names, map(written, (1, rows, rows * _MOST_CLIPS)), strict=True))
