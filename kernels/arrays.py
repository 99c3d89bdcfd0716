"""numpy arrays, torch tensors and other libraries' device arrays alike: what functions and backends ask of any.

numpy in, numpy out; torch in, torch out on the same device. torch is never imported here: a tensor can only come
from a program that has done so. Others (:mod:`dfer_edge.kernels.device_array`) are read and written where they lie.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import InvalidInput
from dfer_edge.kernels.device_array import DeviceArray

Array = Any  # numpy.ndarray or torch.Tensor; torch is optional, so there is no static name for both
# As csrc/common/dtypes.h numbers them.
DTYPE_NUMBERS = {"float32": 0, "float16": 1, "bfloat16": 2}


def is_tensor(value: object) -> bool:
    """Whether ``value`` is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, getattr(torch, "Tensor", ()))


def is_array(value: object) -> bool:
    """Whether ``value`` is a numpy array, a torch tensor or an adopted array on a device."""
    return isinstance(value, (np.ndarray, DeviceArray)) or is_tensor(value)


def on_host(array: Array) -> bool:
    """Whether the CPU can read it."""
    return isinstance(array, np.ndarray) or (is_tensor(array) and array.device.type == "cpu")


def device(array: Array) -> str:
    """``cpu``, ``cuda:0``, ..."""
    if isinstance(array, DeviceArray):
        return f"cuda:{array.device_index}"
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
    homes = {name: (_owner(a), device(a)) for name, a in named.items()}
    if len(set(homes.values())) > 1:
        listed = ", ".join(f"{name}: {library} on {where}" for name, (library, where) in homes.items())
        raise InvalidInput(f"expected all arrays of one library on one device, got {listed}")


def _owner(array: Array) -> str:
    if isinstance(array, DeviceArray):
        # What one stream wrote, another may not read without an event between.
        return f"a device array on stream {array.stream}"
    return "torch" if is_tensor(array) else "numpy"


def contiguous(array: Array) -> Array:
    """Itself if its elements lie in C order without gaps, else a copy.

    Raises
    ------
    InvalidInput
        For another library's array with gaps, which is not copied here.
    """
    if isinstance(array, DeviceArray):
        if not array.is_contiguous:
            raise InvalidInput(f"expected a contiguous array on the device, got strides {array.steps} of {array.shape}")
        return array
    return np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array.contiguous()


def is_contiguous(array: Array) -> bool:
    """Whether the elements lie in C order without gaps."""
    if isinstance(array, DeviceArray):
        return array.is_contiguous
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

    if isinstance(array, DeviceArray):
        if array.lease is not None:
            return torch.from_dlpack(array.owner)  # type: ignore[attr-defined]
        return torch.as_tensor(array.owner, device=device(array))
    return torch.from_numpy(array)


def library(array: Array) -> Any:
    """The module numpy or torch, whichever the array is of."""
    return sys.modules["torch"] if is_tensor(array) else np


def widened(array: Array) -> Array:
    """float32 of a narrower dtype, others as they are."""
    if is_tensor(array):
        return array.float() if array.element_size() < 4 else array
    return array if array.itemsize >= 4 else array.astype(np.float32)


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
    if isinstance(first, DeviceArray):
        raise InvalidInput("expected out for arrays of other libraries, which are not allocated here", "pass out=")
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
    writeable = out.flags.writeable if isinstance(out, np.ndarray) else getattr(out, "writeable", True)
    if not writeable:
        raise InvalidInput("expected out that can be written, got a read-only array")
    begin, end = _span(out)
    for first, last in map(_span, inputs):
        if begin < last and first < end:
            # Some backends write results before they have read all of their neighbours.
            raise InvalidInput("expected out apart from the input, got memory that both use", "pass another array")
    return out


def scratch_of(scratch: Array | None, size: int, first: Array) -> Array:
    """``scratch``, checked: float32 memory of a caller whose arrays are another library's, beside ``first``.

    Raises
    ------
    InvalidInput
        If there is none, or it is too small, of another dtype, read-only, has gaps or lies elsewhere.
    """
    if scratch is None:
        raise InvalidInput(f"expected scratch for arrays of other libraries, float32 [{size}]", "pass scratch=")
    require("scratch", scratch, ("float32",), f"[{size}] or more", (1,))
    return output(scratch, (max(size, scratch.shape[0]),), ("float32",), first)


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
    if isinstance(array, DeviceArray):
        return array.address
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data_ptr())


def stream(array: Array) -> int:
    """Handle of the stream that a launch must go to: torch's current one on the tensor's device, or the producer's."""
    if isinstance(array, DeviceArray):
        return array.stream
    return int(sys.modules["torch"].cuda.current_stream(array.device).cuda_stream)


def device_index(array: Array) -> int:
    """Number of the CUDA device that an array is on."""
    if isinstance(array, DeviceArray):
        return array.device_index
    return int(array.device.index or 0)


def strides(array: Array) -> tuple[int, ...]:
    """Elements, not bytes, from one index to the next on each axis."""
    if isinstance(array, (np.ndarray, DeviceArray)):
        steps = array.steps if isinstance(array, DeviceArray) else array.strides
        return tuple(step // array.itemsize for step in steps)
    return tuple(array.stride())
