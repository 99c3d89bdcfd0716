"""`landmark_pool`: Gaussian pooling of a feature map at landmarks, and its mean, optionally under triplet gates."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.kernels import arrays, dispatch
from dfer_edge.kernels.arrays import Array
from dfer_edge.kernels.device_array import DeviceArray, adopt, original

__all__ = ["landmark_pool"]

DTYPES = ("float32", "float64", "float16", "bfloat16")
# Coordinates beyond it are moved there, in reach of float32: as far outside as any.
FARTHEST = 3e38
GATES = ("gates over channels [N, H, W]", "gates over height [N, C, W]", "gates over width [N, C, H]")


def landmark_pool(
    features: Array,
    landmarks: Array,
    sigma: float,
    gates: Sequence[Array] | None = None,
    norm_heat: bool = False,
    out: Array | None = None,
) -> Array:
    """Local vectors v_j = mean over cells of F A_j and, last, the global vector, the mean of F.

    A_j(h, w) = exp(-((w - x_j)^2 + (h - y_j)^2) / (2 sigma^2)), peak 1 (paper 003). F is
    ``features``, or with ``gates`` features * (g1 + g2 + g3) / 3. Neither A nor F is written to memory, except by the
    reference. A landmark far outside contributes zero.

    Parameters
    ----------
    features
        [N, C, H, W], numpy or torch; float32, float64, float16, or bfloat16 (torch only). Sums are in float32 or wider.
        Or of another library on a device (``__cuda_array_interface__``, DLPack), as all the others then.
    landmarks
        float32 or float64 [N, J, 2], x then y, in cells: the centre of cell (h, w) is x = w, y = h. A point u in
        pixels of an image S wide is (u + 0.5) * W / S - 0.5.
    sigma
        Standard deviation in cells, above 0.
    gates
        Triplet attention: g1 [N, H, W] pooled over channels, g2 [N, C, W] over height, g3 [N, C, H] over width, of
        the dtype of ``features``.
    norm_heat
        Divide a local vector by the sum of its map instead of by the number of cells. A landmark far outside then
        gives the cells next to it, since its weights still sum to 1.
    out
        Where to write, contiguous, apart from ``features``, without gradients; needed for arrays of other libraries.

    Returns
    -------
    [N, J + 1, C] of the dtype, library and device of ``features``.

    Gradients reach features and gates; landmarks get none, and landmarks that require one are an error.

    Raises
    ------
    InvalidInput
        For a wrong dtype, rank, shape or mix of devices; for a sigma that is not above 0; for a landmark that is not
        finite, naming it. On a CUDA device the last check would wait for the device: there NaN gives NaN.
    EngineUnavailable
        If the forced backend declines.
    """
    features, landmarks, out = adopt(features), adopt(landmarks), adopt(out)
    gates = [adopt(gate) for gate in gates] if isinstance(gates, Sequence) else gates
    _check(features, landmarks, sigma, gates)
    if isinstance(features, DeviceArray) or out is not None:
        return _into(features, landmarks, sigma, gates, norm_heat, out)
    wide = "float64" if arrays.dtype_name(features) == "float64" else "float32"
    if arrays.is_tensor(features):
        from dfer_edge.kernels.landmark_pool import torch_op

        return torch_op.landmark_pool(
            features,
            torch_op.cast(landmarks.clamp(-FARTHEST, FARTHEST), wide),
            float(sigma),
            *(gates or (None,) * 3),
            norm_heat,
        )
    out = arrays.empty(_shape(features, landmarks), arrays.dtype_name(features), features)
    contiguous = None if gates is None else [arrays.contiguous(gate) for gate in gates]
    points = np.ascontiguousarray(landmarks.clip(-FARTHEST, FARTHEST), wide)
    dispatch.run("landmark_pool", arrays.contiguous(features), points, sigma, contiguous, norm_heat, out)
    return out


def _into(
    features: Array, landmarks: Array, sigma: float, gates: Sequence[Array] | None, norm_heat: bool, out: Array | None
) -> Array:
    """Into the caller's memory; landmarks as they are, since other libraries' are not copied here."""
    if any(getattr(array, "requires_grad", False) for array in (features, *(gates or ()))):
        raise InvalidInput("expected arrays without gradient with out, got some that require one", "leave out away")
    dtype = arrays.dtype_name(features)
    target = arrays.output(out, _shape(features, landmarks), (dtype,), features, *(gates or ()))
    if arrays.dtype_name(landmarks) != ("float64" if dtype == "float64" else "float32"):
        raise InvalidInput(f"expected landmarks as float32 with out, got {arrays.dtype_name(landmarks)}")
    contiguous = None if gates is None else [arrays.contiguous(gate) for gate in gates]
    sources = arrays.contiguous(features), arrays.contiguous(landmarks)
    dispatch.run("landmark_pool", *sources, sigma, contiguous, norm_heat, target)
    return original(target)


def _shape(features: Array, landmarks: Array) -> tuple[int, int, int]:
    return features.shape[0], landmarks.shape[1] + 1, features.shape[1]


def _check(features: Array, landmarks: Array, sigma: float, gates: Sequence[Array] | None) -> None:
    arrays.require("features", features, DTYPES, "[N, C, H, W]", (4,))
    arrays.require("landmarks", landmarks, ("float32", "float64"), "[N, J, 2]", (3,))
    count, channels, height, width = features.shape
    if landmarks.shape[0] != count or landmarks.shape[2] != 2:
        raise InvalidInput(f"expected landmarks [{count}, J, 2], got {list(landmarks.shape)}")
    if not channels * height * width:
        raise InvalidInput(f"expected features of at least one channel and cell, got {list(features.shape)}")
    if not isinstance(sigma, numbers.Real) or not (sigma > 0 and math.isfinite(sigma)):
        raise InvalidInput(f"expected a number sigma above 0, in cells, got {sigma!r}")
    together = {"features": features, "landmarks": landmarks}
    if gates is not None:
        _check_gates(gates, features)
        together |= dict(zip(GATES, gates, strict=True))
    arrays.require_together(together)
    if arrays.is_tensor(landmarks) and landmarks.requires_grad:
        raise InvalidInput("expected landmarks without gradient: landmark_pool gives none", "pass landmarks.detach()")
    _require_finite(landmarks)


def _check_gates(gates: Sequence[Array], features: Array) -> None:
    count, channels, height, width = features.shape
    shapes = ((count, height, width), (count, channels, width), (count, channels, height))
    if not isinstance(gates, Sequence) or len(gates) != len(shapes):
        found = f"{len(gates)} of them" if isinstance(gates, Sequence) else type(gates).__name__
        raise InvalidInput(f"expected {', '.join(GATES)}, got {found}")
    for name, gate, shape in zip(GATES, gates, shapes, strict=True):
        arrays.require(name, gate, (arrays.dtype_name(features),), str(list(shape)), (3,))
        if tuple(gate.shape) != shape:
            raise InvalidInput(f"expected {name} as {list(shape)}, got {list(gate.shape)}")


def _require_finite(landmarks: Array) -> None:
    if not arrays.on_host(landmarks) or _is_symbolic(landmarks):
        return
    bad = np.argwhere(~np.isfinite(arrays.host_view(landmarks)))
    if len(bad):
        image, landmark, axis = bad[0]
        value = float(landmarks[image, landmark, axis])
        raise InvalidInput(
            f"expected finite landmarks, got {'xy'[axis]} = {value} at landmark {landmark} of image {image}"
        )


def _is_symbolic(landmarks: Array) -> bool:
    """Whether it stands for values that are not there: torch.compile and export trace with such tensors."""
    if not arrays.is_tensor(landmarks):
        return False
    import torch

    return torch.compiler.is_compiling() or type(landmarks) not in (torch.Tensor, torch.nn.Parameter)
