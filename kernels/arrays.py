"""numpy arrays and torch tensors alike: what the public functions and the backends ask of either.

numpy in, numpy out; torch in, torch out on the same device. torch is never imported here: a tensor can only come
from a program that has done so.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput

Array = Any  # numpy.ndarray or torch.Tensor; torch is optional, so there is no static name for both
# As csrc/common/dtypes.h numbers them.
DTYPE_NUMBERS = {"float32": 0, "float16": 1, "bfloat16": 2}


def is_tensor(value: object) -> bool:
    """Whether ``value`` is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, getattr(torch, "Tensor", ()))


def is_array(value: object) -> bool:
    """Whether ``value`` is a numpy array or a torch tensor."""
    return isinstance(value, np.ndarray) or is_tensor(value)


def on_host(array: Array) -> bool:
    """Whether the CPU can read it."""
    return isinstance(array, np.ndarray) or array.device.type == "cpu"


def device(array: Array) -> str:
    """``cpu``, ``cuda:0``, ..."""
    return "cpu" if isinstance(array, np.ndarray) else str(array.device)


def dtype_name(array: Array) -> str:
    """``uint8``, ``float32``, ``bfloat16``, ..."""
    return str(array.dtype).removeprefix("torch.")


def require(name: str, array: object, dtypes: Sequence[str], shape: str, ranks: Sequence[int]) -> None:
    """Check that ``array`` is one, of these dtypes and ranks.

    Raises
    ------
    InvalidInput
        Saying what was expected and what came; ``shape`` is how the docstring writes it.
    """
    expected = f"expected {name} as {' or '.join(dtypes)} {shape}"
    if not is_array(array):
        raise InvalidInput(f"{expected}, a numpy array or torch tensor, got {type(array).__name__}")
    if dtype_name(array) not in dtypes or array.ndim not in ranks:  # type: ignore[attr-defined]
        raise InvalidInput(f"{expected}, got {dtype_name(array)} {list(array.shape)}")  # type: ignore[attr-defined]


def require_together(named: Mapping[str, Array]) -> None:
    """Check that all arrays are of one library and on one device.

    Raises
    ------
    InvalidInput
        Naming each array's library and device.
    """
    homes = {name: ("torch" if is_tensor(a) else "numpy", device(a)) for name, a in named.items()}
    if len(set(homes.values())) > 1:
        listed = ", ".join(f"{name}: {library} on {where}" for name, (library, where) in homes.items())
        raise InvalidInput(f"expected all arrays of one library on one device, got {listed}")


def contiguous(array: Array) -> Array:
    """Itself if its elements lie in C order without gaps, else a copy."""
    return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array.contiguous()


def is_contiguous(array: Array) -> bool:
    """Whether the elements lie in C order without gaps."""
    return bool(array.flags.c_contiguous if isinstance(array, np.ndarray) else array.is_contiguous())


def host_view(array: Array) -> npt.NDArray[Any]:
    """The same memory as a numpy array; bfloat16, which numpy lacks, as its bits in uint16."""
    if isinstance(array, np.ndarray):
        return array
    detached = array.detach()
    if dtype_name(array) == "bfloat16":
        detached = detached.view(sys.modules["torch"].uint16)
    return np.asarray(detached.numpy())


def as_tensor(array: Array) -> Any:
    """The same memory as a torch tensor."""
    if is_tensor(array):
        return array
    import torch

    return torch.from_numpy(array)


def like(result: Array, first: Array) -> Array:
    """``result`` in the library of ``first``, without a copy; for results in host memory."""
    if is_tensor(first):
        return as_tensor(result)
    return result.numpy() if is_tensor(result) else result


def empty(shape: Sequence[int], dtype: str, first: Array) -> Array:
    """Uninitialised, of the library and on the device of ``first``.

    Raises
    ------
    InvalidInput
        If numpy lacks the dtype (bfloat16).
    """
    if is_tensor(first):
        torch = sys.modules["torch"]
        return torch.empty(tuple(shape), dtype=getattr(torch, dtype), device=first.device)
    if dtype == "bfloat16":
        raise InvalidInput("expected float32 or float16 for numpy arrays, got bfloat16", "pass torch tensors")
    return np.empty(tuple(shape), dtype)


def output(out: Array | None, shape: Sequence[int], dtypes: Sequence[str], *inputs: Array) -> Array:
    """``out``, checked, or a new array of the first dtype; of the library and on the device of the first input.

    Raises
    ------
    InvalidInput
        If ``out`` is of another shape or dtype, has gaps, is read-only, lies elsewhere or shares memory with an input.
    """
    if out is None:
        return empty(shape, dtypes[0], inputs[0])
    require("out", out, dtypes, str(list(shape)), (len(shape),))
    require_together({"input": inputs[0], "out": out})
    if tuple(out.shape) != tuple(shape) or not is_contiguous(out):
        raise InvalidInput(f"expected out {list(shape)}, contiguous, got {list(out.shape)}")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise InvalidInput("expected out that can be written, got a read-only array")
    begin, end = _span(out)
    for first, last in map(_span, inputs):
        if begin < last and first < end:
            # Some backends write results before they have read all of their neighbours.
            raise InvalidInput("expected out apart from the input, got memory that both use", "pass another array")
    return out


def _span(array: Array) -> tuple[int, int]:
    """Addresses of the first byte and of the one behind the last; equal if it has no elements."""
    first = pointer(array)
    if 0 in array.shape:
        return first, first
    reach = [(size - 1) * step for size, step in zip(array.shape, strides(array), strict=True)]
    low, high = sum(min(step, 0) for step in reach), sum(max(step, 0) for step in reach)
    return first + low * array.itemsize, first + (high + 1) * array.itemsize


def pointer(array: Array) -> int:
    """Address of the first element, in the memory that the array is in."""
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data_ptr())


def stream(array: Array) -> int:
    """Handle of torch's current CUDA stream on the tensor's device: the one that a launch must go to."""
    return int(sys.modules["torch"].cuda.current_stream(array.device).cuda_stream)


def device_index(array: Array) -> int:
    """Number of the CUDA device that a tensor is on."""
    return int(array.device.index or 0)


def strides(array: Array) -> tuple[int, ...]:
    """Elements, not bytes, from one index to the next on each axis."""
    if isinstance(array, np.ndarray):
        return tuple(step // array.itemsize for step in array.strides)
    return tuple(array.stride())
