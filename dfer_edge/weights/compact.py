"""The compact layout of a weights file: int8 for the large tensors, a quarter of the size. Imports no torch.

Convolution and linear weights become int8 codes with one float32 scale an output channel, ``value = code * scale``,
symmetric (zero is code 0), the scale chosen for the least squared error of the channel. Norms, biases and tensors below
:data:`SMALLEST` stay as they are: they cost nothing, and the stem and the classifier are the most sensitive. A batch
norm scales whole output channels, so folding it later keeps the codes.

What an equal, smaller training form leaves out (``fold_head`` and ``folded_away`` of a family under
:mod:`dfer_edge.inference`) is not stored, and made again on reading. Reading is lazy: a tensor exists in float while
somebody uses it, the file stays mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import CorruptArtifact, InvalidInput
from dfer_edge.inference import registry
from dfer_edge.inference.folding import Array
from dfer_edge.spec import ModelSpec

LAYOUT = "int8"
SMALLEST = 1 << 14
"""Elements below which a tensor stays in float."""

SCALE = ".int8_scale"
"""What the name of a tensor's scales adds to the tensor's name."""

_LARGEST = 127
# Shares of a channel's largest magnitude that the largest code may stand for; below, clipping costs more than it gains.
_SHARES = np.linspace(1.0, 0.7, 16, dtype=np.float32)
# Elements worked on at a time: bounds the memory of the search.
_CHUNK = 1 << 21


def is_quantised(name: str, value: Array) -> bool:
    """Whether the compact layout stores ``value`` as int8: a large convolution or linear weight."""
    return value.ndim >= 2 and name.endswith("weight") and value.dtype.kind == "f" and value.size >= SMALLEST


def quantise(weight: Array) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Codes of ``weight``'s shape [O, ...] in -127..127 and scales [O], of the least squared error per channel.

    Scales are positive; a channel of zeros has scale 1.

    Raises
    ------
    InvalidInput
        For values that are not finite, or fewer than two axes.
    """
    if weight.ndim < 2:
        raise InvalidInput(f"expected a weight of two or more axes, got shape {weight.shape}")
    rows = weight.reshape(len(weight), int(np.prod(weight.shape[1:])))
    codes, scales = np.empty(rows.shape, np.int8), np.ones(len(rows), np.float32)
    step = max(1, _CHUNK // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        part = np.asarray(rows[start : start + step], np.float32)
        if not np.isfinite(part).all():
            raise InvalidInput("expected finite weights, got NaN or infinity")
        scales[start : start + step] = best = _best_scales(part)
        codes[start : start + step] = _rounded(part, best)
    return codes.reshape(weight.shape), scales


def _rounded(rows: npt.NDArray[np.float32], scales: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(np.clip(np.rint(rows / scales[:, None]), -_LARGEST, _LARGEST), np.float32)


def _best_scales(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    peak = np.abs(rows).max(1, initial=0)
    # A scale below the normal numbers would lose bits of its own.
    full = np.where(peak > 0, np.maximum(peak / _LARGEST, np.finfo(np.float32).tiny), np.float32(1))
    best, least = full, np.full(len(rows), np.inf)
    for share in _SHARES:
        scales = full * share
        error = np.square(_rounded(rows, scales) * scales[:, None] - rows, dtype=np.float64).sum(1)
        better = error < least
        best, least = np.where(better, scales, best), np.where(better, error, least)
    return np.asarray(best, np.float32)


def dequantise(codes: Array, scales: Array) -> npt.NDArray[np.float32]:
    """``codes * scales`` as float32 of the codes' shape [O, ...]."""
    return np.asarray(codes, np.float32) * scales.reshape(-1, *[1] * (codes.ndim - 1))


def compact(state: Mapping[str, Array], spec: ModelSpec) -> dict[str, Array]:
    """The tensors that a compact file stores for a training-form state.

    Raises
    ------
    InvalidInput
        For weights that are not finite (the message names the tensor) or of another network.
    """
    family = registry.find(spec.name).inference()
    stored: dict[str, Array] = {}
    for name, value in (family.fold_head(state, spec) if hasattr(family, "fold_head") else state).items():
        if not is_quantised(name, value):
            stored[name] = np.asarray(value, np.float32 if value.dtype == np.float64 else None, order="C")
            continue
        try:
            stored[name], stored[name + SCALE] = quantise(value)
        except InvalidInput as error:
            raise InvalidInput(f"{error.message} in {name}") from error
    return stored


class CompactState(Mapping[str, Array]):
    """The training form's state of a compact file, by name; values are made in float32 each time they are read.

    Parameters
    ----------
    stored
        As :func:`compact` gives it, e.g. mapped from a file.
    spec
        Of the network.

    Raises
    ------
    CorruptArtifact
        If codes and scales do not fit each other.
    """

    def __init__(self, stored: Mapping[str, Array], spec: ModelSpec) -> None:
        self._stored = stored
        family = registry.find(spec.name).inference()
        self._made: Mapping[str, Callable[[], Array]] = (
            family.folded_away(spec) if hasattr(family, "folded_away") else {}
        )
        for name in [name for name in stored if name.endswith(SCALE)]:
            codes, scales = stored.get(name.removesuffix(SCALE)), stored[name]
            fits = codes is not None and codes.dtype == np.int8 and scales.shape == codes.shape[:1]
            if not fits or not (np.isfinite(scales) & (scales > 0)).all():
                raise CorruptArtifact(f"expected int8 codes and a positive scale for each of their channels at {name}")

    def __getitem__(self, name: str) -> Array:
        if name + SCALE in self._stored:
            return dequantise(self._stored[name], self._stored[name + SCALE])
        return self._stored[name] if name in self._stored else self._made[name]()

    def __contains__(self, name: object) -> bool:
        return name in self._made or (name in self._stored and not str(name).endswith(SCALE))

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in self._stored if not name.endswith(SCALE))
        yield from (name for name in self._made if name not in self._stored)

    def __len__(self) -> int:
        return sum(1 for _ in self)
