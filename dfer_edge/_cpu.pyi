"""Types of the native module; its functions are called through dfer_edge.kernels and dfer_edge.synthesis."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]
_Affine = Sequence[tuple[float, float, float, float]]

def build_info() -> str: ...
def attention_gate(x: _Array, kind: str, weights: Sequence[_Array], pool: bool, out: _Array, threads: int) -> None: ...
def landmark_pool(
    features: _Array,
    points: _Array,
    sigma: float,
    gates: tuple[_Array, ...] | None,
    norm_heat: bool,
    out: _Array,
    threads: int,
) -> None: ...
def lbp_codes(frames: _Array, weights: Sequence[int], zero_border: bool, out: _Array, threads: int) -> None: ...
def lbp_planes(
    frames: _Array,
    weights: Sequence[int],
    zero_border: bool,
    affine: _Affine,
    out: _Array,
    threads: int,
) -> None: ...
def token_attention(x: _Array, weights: Sequence[_Array], softmax: bool, out: _Array, threads: int) -> None: ...
def winograd(x: _Array, weights: _Array, bias: _Array, out: _Array, scratch: _Array, threads: int) -> None: ...
def winograd_scratch(channels: int, outputs: int, threads: int) -> int: ...
def crop_pixels(frames: _Array, boxes: _Array, nv12: bool, out: _Array, threads: int) -> None: ...
def crop_planes(
    frames: _Array, boxes: _Array, nv12: bool, affine: _Affine, dtype: int, out: _Array, threads: int
) -> None: ...

class synthesis:  # noqa: N801 - a submodule; arrays are C-contiguous float32 or int32, converted where they are not
    class Person:
        """Mesh, colours and int16 maps of one person, checked once (csrc/synthesis/renderer.h)."""

        def __init__(
            self,
            vertices: np.ndarray,
            triangles: np.ndarray,
            materials: np.ndarray,
            uv: np.ndarray,
            colour: np.ndarray,
            texture: np.ndarray,
            relief: np.ndarray,
            eyes: np.ndarray,
            patches: np.ndarray,
            patch_data: np.ndarray,
        ) -> None: ...

    class Renderer:
        """Shapes of a model and the buffers of a frame; one thread."""

        def __init__(
            self, shape_start: np.ndarray, run_begin: np.ndarray, run_length: np.ndarray, delta: np.ndarray
        ) -> None: ...
        def render(self, person: Any, weights: np.ndarray, relief_gains: np.ndarray, **frame: Any) -> np.ndarray: ...

    @staticmethod
    def raster(
        screen: np.ndarray, triangles: np.ndarray, width: int, height: int, both_sides: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
    @staticmethod
    def blend(texture: np.ndarray, alpha: np.ndarray, colour: np.ndarray, shade: np.ndarray | None = None) -> None: ...
    @staticmethod
    def cover(texture: np.ndarray, alpha: np.ndarray, colour: np.ndarray, shade: np.ndarray) -> np.ndarray: ...
    @staticmethod
    def add_cloud(out: np.ndarray, grid: np.ndarray, gain: float) -> None: ...
    @staticmethod
    def add_noise(
        out: np.ndarray,
        noise: np.ndarray,
        *,
        down: int,
        right: int,
        mirrored: bool,
        sigma_x: float,
        sigma_y: float,
        gain: float,
    ) -> None: ...
    @staticmethod
    def skin(
        blotches: np.ndarray, down: np.ndarray, across: np.ndarray, tint: np.ndarray, colour: np.ndarray
    ) -> np.ndarray: ...
    @staticmethod
    def slopes(heights: np.ndarray, cavity: np.ndarray) -> np.ndarray: ...
    @staticmethod
    def fold(drawn: np.ndarray) -> np.ndarray: ...
    @staticmethod
    def develop(
        linear: np.ndarray,
        background: np.ndarray,
        patch: np.ndarray | None,
        *,
        factor: float,
        shoulder: bool,
        curve: float,
        gamma: float,
    ) -> np.ndarray: ...
    @staticmethod
    def to_bytes(image: np.ndarray, noise: np.ndarray | None = None, amount: float = 0.0) -> np.ndarray: ...
    @staticmethod
    def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray: ...
