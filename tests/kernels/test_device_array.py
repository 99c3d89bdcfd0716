"""Arrays of other libraries on a device: where a launch reads, writes and queues; built, not yet run on hardware."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np
import pytest

import dfer_edge
from dfer_edge import EngineUnavailable, InvalidInput
from dfer_edge.inference import registry
from dfer_edge.kernels import attention_gate, clip_to_tensor, dispatch, landmark_pool, lbp, lbp_clip, token_attention
from dfer_edge.kernels.attention_gate import scratch_size as gate_scratch_size
from dfer_edge.kernels.device_array import DeviceArray, adopt
from dfer_edge.kernels.token_attention import Folded, scratch_size


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


class Lent:
    """As JAX shows its arrays: a DLPack capsule for who says on which stream it will read."""

    def __init__(self, array: np.ndarray, kind: int = 2) -> None:
        self.array, self.kind, self.streams = array, kind, []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, 1

    def __dlpack__(self, *, stream: int) -> Any:
        self.streams.append(stream)
        return self.array.__dlpack__()


class Cuda:
    """Stands for ``dfer_edge._cuda``: notes what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def unavailable(self) -> str:
        return ""

    def lbp_codes(self, *arguments: Any) -> None:
        self.calls.append(arguments)

    def attention_gate_scratch(self, shape: Any) -> int:
        return 40

    lbp_clip = landmark_pool = crop_planes = token_attention = attention_gate = lbp_codes


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


def test_dlpack_is_read_once_the_default_stream_may(cuda: Cuda) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    frames, out = Lent(array[1:]), Lent(np.empty((1, 3, 4), np.uint8))
    assert lbp(frames, out=out) is out
    assert (frames.streams, out.streams) == ([1], [1])
    (pointer, shape, _, _, target, device, stream) = cuda.calls[0]
    assert (pointer, shape) == (array.ctypes.data + 12, (1, 3, 4, 1))
    assert (target, device, stream) == (out.array.ctypes.data, 1, 1)
    with pytest.raises(InvalidInput, match="contiguous array on the device"):
        lbp(Lent(array[:, ::2]), out=Lent(np.empty((2, 2, 4), np.uint8)))
    with pytest.raises(InvalidInput, match="plain numbers, got DLPack's type 5"):
        lbp(Lent(array.astype(np.complex64)), out=out)
    # What lies in host memory is no device array, whoever lends it.
    with pytest.raises(InvalidInput, match="numpy array or torch tensor, got Lent"):
        lbp(Lent(array, kind=1), out=out)


def test_what_dlpack_lent_goes_back_with_the_adopted_array() -> None:
    array = np.zeros(4, np.float32)
    held = sys.getrefcount(array)
    adopted = adopt(Lent(array))
    assert (adopted.dtype, adopted.shape, adopted.steps) == ("float32", (4,), (4,))
    assert sys.getrefcount(array) > held
    del adopted
    assert sys.getrefcount(array) == held


def test_surfaces_of_a_decoder_are_cut_where_they_lie(cuda: Cuda) -> None:
    """NV12 with rows 16 bytes apart, of which 12 are picture; boxes on the device too."""
    spec = dataclasses.replace(registry.find("slowr50").spec, size=4, frames=2)
    surfaces = np.zeros((2, 12, 16), np.uint8)[:, :, :12]
    boxes, out = np.zeros((2, 4), np.int32), OnDevice(np.empty((3, 2, 4, 4), np.float16))
    clip = clip_to_tensor(OnDevice(surfaces), OnDevice(boxes), spec, "nv12", out=out)
    assert clip is out
    (frames, shape, steps, nv12, table, people, target, out_steps, sides, device, stream, _, number) = cuda.calls[0]
    assert (frames, shape, steps, nv12) == (surfaces.ctypes.data, (2, 8, 12), (192, 16), True)
    assert (table, people, target) == (boxes.ctypes.data, 1, out.array.ctypes.data)
    assert (out_steps, sides, device, stream, number) == ((96, 32, 16), (4, 4), 1, 7, 1)
    with pytest.raises(InvalidInput, match="boxes on the device of frames"):
        clip_to_tensor(OnDevice(surfaces), boxes, spec, "nv12", out=out)
    with pytest.raises(InvalidInput, match=r"stream 7 on cuda:1.*stream 8"):
        clip_to_tensor(OnDevice(surfaces), OnDevice(boxes, stream=8), spec, "nv12", out=out)
    with pytest.raises(InvalidInput, match="contiguous array on the device"):
        clip_to_tensor(OnDevice(surfaces[:, ::-1]), OnDevice(boxes), spec, "nv12", out=out)


def test_maps_of_another_library_are_pooled_where_they_lie(cuda: Cuda) -> None:
    features, points = np.zeros((2, 3, 4, 5), np.float16), np.zeros((2, 6, 2), np.float32)
    gates = [OnDevice(np.zeros(shape, np.float16)) for shape in ((2, 4, 5), (2, 3, 5), (2, 3, 4))]
    out = OnDevice(np.empty((2, 7, 3), np.float16))
    assert landmark_pool(OnDevice(features), OnDevice(points), 1.5, gates, out=out) is out
    (source, centres, over, shape, sigma, _, number, target, device, stream) = cuda.calls[0]
    assert (source, centres, shape, sigma) == (features.ctypes.data, points.ctypes.data, (2, 3, 4, 5, 6), 1.5)
    assert over == tuple(gate.array.ctypes.data for gate in gates)
    assert (number, target, device, stream) == (1, out.array.ctypes.data, 1, 7)
    with pytest.raises(InvalidInput, match="expected out for arrays of other libraries"):
        landmark_pool(OnDevice(features), OnDevice(points), 1.5)
    with pytest.raises(InvalidInput, match="landmarks as float32 with out"):
        landmark_pool(OnDevice(features), OnDevice(points.astype(np.float64)), 1.5, out=out)
    assert len(cuda.calls) == 1


def device(*shape: int, dtype: str = "float16", **options: Any) -> OnDevice:
    return OnDevice(np.zeros(shape, dtype), **options)


def test_the_head_reads_another_librarys_token(cuda: Cuda) -> None:
    x, out, weights = device(2, 8), device(2, 3), Folded(device(4, 8), device(4), device(3, 4), device(3))
    scratch = device(scratch_size(2, weights), dtype="float32")
    assert scratch.array.size == 2 * 4 + 1
    assert token_attention(x, weights, out=out, scratch=scratch) is out
    (source, found, shape, _, number, hidden, counter, target, index, stream) = cuda.calls[0]
    assert (source, found) == (x.array.ctypes.data, tuple(one.array.ctypes.data for one in weights))
    assert (shape, number, target, index, stream) == ((2, 8, 4, 3), 1, out.array.ctypes.data, 1, 7)
    assert (hidden, counter) == (scratch.array.ctypes.data, scratch.array[8:].ctypes.data)
    for given, match in (
        ({"scratch": scratch}, "expected out"),
        ({"out": out}, r"expected scratch .* float32 \[9\]"),
        ({"out": out, "scratch": device(8, dtype="float32")}, r"\[9\]"),
        ({"out": out, "scratch": device(9)}, "scratch as float32"),
        ({"out": out, "scratch": device(9, dtype="float32", stream=8)}, "stream 8"),
        ({"out": out, "scratch": device(9, dtype="float32", read_only=True)}, "read-only"),
        ({"out": device(2, 3, device=0), "scratch": scratch}, "on one device"),
    ):
        with pytest.raises(InvalidInput, match=match):
            token_attention(x, weights, **given)
    with pytest.raises(InvalidInput, match="of other libraries only"):
        token_attention(x.array, Folded(*(one.array for one in weights)), out=out.array)
    assert len(cuda.calls) == 1


def test_a_gate_reads_another_librarys_maps(cuda: Cuda) -> None:
    x, out = device(2, 8, 4, 6), device(2, 8, 2, 3)
    mlp = {"fc1.weight": (4, 8), "fc1.bias": (4,), "fc2.weight": (8, 4), "fc2.bias": (8,)}
    weights = {f"channel.{name}": device(*shape) for name, shape in mlp.items()}
    scratch = device(gate_scratch_size((2, 8, 4, 6), "se", weights), dtype="float32")
    assert attention_gate(x, "se", weights, out=out, scratch=scratch) is out
    (source, _, found, shape, pool, number, memory, target, index, stream) = cuda.calls[0]
    assert (source, found) == (x.array.ctypes.data, [one.array.ctypes.data for one in weights.values()])
    assert (shape, pool, number) == ((2, 8, 4, 6, 4, 0, 0), True, 1)
    assert (memory, target, index, stream) == (scratch.array.ctypes.data, out.array.ctypes.data, 1, 7)
    for given, match in (
        ({"scratch": scratch}, "expected out"),
        ({"out": out}, r"expected scratch .* float32 \[40\]"),
        ({"out": out, "scratch": device(39, dtype="float32")}, r"\[40\]"),
        ({"out": device(2, 8, 2, 2), "scratch": scratch}, r"out \[2, 8, 2, 3\]"),
    ):
        with pytest.raises(InvalidInput, match=match):
            attention_gate(x, "se", weights, **given)
    with pytest.raises(InvalidInput, match="stream 8"):
        attention_gate(x, "se", weights | {"channel.fc1.bias": device(4, stream=8)}, out=out, scratch=scratch)
    assert len(cuda.calls) == 1


def test_out_of_numpy_is_what_comes_without() -> None:
    chance = np.random.default_rng(0)
    features, points = chance.random((2, 3, 4, 5), np.float32), chance.random((2, 6, 2), np.float32) * 4
    out = np.full((2, 7, 3), np.nan, np.float32)
    assert landmark_pool(features, points, 1.5, out=out) is out
    np.testing.assert_array_equal(out, landmark_pool(features, points, 1.5))


def test_without_the_module_nothing_reads_device_memory_on_the_cpu() -> None:
    with pytest.raises(EngineUnavailable, match=r"cpu: the arrays are in device memory"), dispatch.use_backend("cpu"):
        lbp(OnDevice(FRAMES), out=OnDevice(np.empty_like(FRAMES)))


def test_numpy_and_torch_stay_what_they_are() -> None:
    torch = pytest.importorskip("torch")
    for value in (FRAMES, torch.from_numpy(FRAMES)):
        assert adopt(value) is value
    assert isinstance(adopt(OnDevice(FRAMES)), DeviceArray)
    np.testing.assert_array_equal(lbp(FRAMES), lbp(torch.from_numpy(FRAMES)).numpy())
