"""Arrays of other libraries on a device: where a launch reads, writes and queues; built, not yet run on hardware."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import dfer_edge
from dfer_edge import EngineUnavailable, InvalidInput
from dfer_edge.kernels import dispatch, lbp, lbp_clip
from dfer_edge.kernels.device_array import DeviceArray, adopt


class OnDevice:
    """As CuPy shows its arrays; memory that a test can read."""

    def __init__(self, array: np.ndarray, stream: object = 7, device: int = 1, read_only: bool = False) -> None:
        self.array, self.device = array, type("Device", (), {"id": device})()
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "strides": None if array.flags.c_contiguous else array.strides,
            "data": (array.ctypes.data, read_only),
            "version": 3,
            "stream": stream,
        }


class Cuda:
    """Stands for ``dfer_edge._cuda``: notes what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def unavailable(self) -> str:
        return ""

    def lbp_codes(self, *arguments: Any) -> None:
        self.calls.append(arguments)

    lbp_clip = lbp_codes


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    fake = Cuda()
    monkeypatch.setitem(sys.modules, "dfer_edge._cuda", fake)
    monkeypatch.setattr(dfer_edge, "_cuda", fake, raising=False)
    monkeypatch.setattr(dispatch, "_cuda", lambda: "")
    return fake


FRAMES = np.zeros((2, 4, 8), np.uint8)


def test_a_launch_reads_and_writes_where_they_lie_on_the_stream_of_the_producer(cuda: Cuda) -> None:
    frames, out = OnDevice(FRAMES), OnDevice(np.empty_like(FRAMES))
    assert lbp(frames, out=out) is out
    clip = OnDevice(np.empty((3, 2, 4, 8), np.float32))
    assert lbp_clip(frames, out=clip) is clip
    (pointer, shape, _, _, target, device, stream), (_, _, _, _, _, target_clip, device_clip, stream_clip) = cuda.calls
    assert (pointer, shape, target) == (FRAMES.ctypes.data, (2, 4, 8, 1), out.array.ctypes.data)
    assert (device, stream, device_clip, stream_clip) == (1, 7, 1, 7)
    assert target_clip == clip.array.ctypes.data


def test_no_stream_is_the_default_one(cuda: Cuda) -> None:
    lbp(OnDevice(FRAMES, None), out=OnDevice(np.empty_like(FRAMES), None))
    assert cuda.calls[0][-1] == 1
    with pytest.raises(InvalidInput, match="a stream that the interface allows, got 0"):
        lbp(OnDevice(FRAMES, 0), out=OnDevice(np.empty_like(FRAMES)))


@pytest.mark.parametrize(
    ("frames", "out", "match"),
    [
        (OnDevice(FRAMES), None, "expected out for arrays of other libraries"),
        (OnDevice(FRAMES), OnDevice(np.empty_like(FRAMES), device=0), "on one device"),
        # Written on one stream and read on another: nothing orders them.
        (OnDevice(FRAMES), OnDevice(np.empty_like(FRAMES), stream=8), "stream 7 on cuda:1.*stream 8"),
        (OnDevice(FRAMES), np.empty_like(FRAMES), "numpy on cpu"),
        (OnDevice(FRAMES[:, ::-1]), OnDevice(np.empty_like(FRAMES)), "contiguous array on the device"),
        (OnDevice(np.zeros((2, 4, 16), np.uint8)[..., ::2]), OnDevice(np.empty_like(FRAMES)), "contiguous array"),
        (OnDevice(FRAMES), OnDevice(np.empty_like(FRAMES), read_only=True), "read-only"),
        (OnDevice(FRAMES), OnDevice(np.empty((2, 4, 8), np.int8)), "uint8"),
        (OnDevice(FRAMES.astype(np.float32)), OnDevice(np.empty_like(FRAMES)), "uint8"),
        (OnDevice(np.zeros((2, 4, 8), "V1")), OnDevice(np.empty_like(FRAMES)), "plain numbers"),
    ],
)
def test_what_is_refused_before_a_launch(cuda: Cuda, frames: Any, out: Any, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        lbp(frames, out=out)
    assert not cuda.calls


def test_without_the_module_nothing_reads_device_memory_on_the_cpu() -> None:
    with pytest.raises(EngineUnavailable, match=r"cpu: the arrays are in device memory"), dispatch.use_backend("cpu"):
        lbp(OnDevice(FRAMES), out=OnDevice(np.empty_like(FRAMES)))


def test_numpy_and_torch_stay_what_they_are() -> None:
    torch = pytest.importorskip("torch")
    for value in (FRAMES, torch.from_numpy(FRAMES)):
        assert adopt(value) is value
    assert isinstance(adopt(OnDevice(FRAMES)), DeviceArray)
    np.testing.assert_array_equal(lbp(FRAMES), lbp(torch.from_numpy(FRAMES)).numpy())
