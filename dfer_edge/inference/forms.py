"""Clip convolutions in their three equal forms, chosen by ``graph.form``.

Every convolution of every network is purely spatial or purely temporal. A clip activation is [B, C, T, H, W] in
form ``3d`` and [B*T, C, H, W] in the two others; weights keep the 3-D layout [O, I, kt, kh, kw] by name.
"""

from __future__ import annotations

from dfer_edge.inference.base import Graph, T


def enter(graph: Graph[T], clip: T) -> T:
    """[B, C, T, H, W] into the activation layout of the form."""
    if graph.form == "3d":
        return clip
    _, channels, _, height, width = graph.shape(clip)
    return graph.reshape(graph.transpose(clip, (0, 2, 1, 3, 4)), (-1, channels, height, width))


def leave(graph: Graph[T], x: T, frames: int) -> T:
    """An activation in the layout of the form as [B, T, C, H, W]."""
    if graph.form == "3d":
        return graph.transpose(x, (0, 2, 1, 3, 4))
    return graph.reshape(x, (-1, frames, *graph.shape(x)[1:]))


def enter_steps(graph: Graph[T], x: T) -> T:
    """[B, T, C, H, W] into the activation layout of the form."""
    if graph.form == "3d":
        return graph.transpose(x, (0, 2, 1, 3, 4))
    return graph.reshape(x, (-1, *graph.shape(x)[2:]))


def spatial_conv(graph: Graph[T], x: T, name: str, out: int, kernel: int, stride: int = 1, gain: float = 2**0.5) -> T:
    """1 x k x k convolution with bias, padding k // 2."""
    shape = (out, graph.shape(x)[1], 1, kernel, kernel)
    pad = kernel // 2
    bias = graph.weight(f"{name}.bias", (out,), 0.02)
    if graph.form == "3d":
        return graph.conv(x, graph.weight(f"{name}.weight", shape, gain), bias, (1, stride, stride), (0, pad, pad))
    flat = (shape[0], shape[1], kernel, kernel)
    return graph.conv(x, graph.weight(f"{name}.weight", shape, gain, flat), bias, (stride, stride), (pad, pad))


def temporal_conv(
    graph: Graph[T], x: T, name: str, out: int, kernel: int, frames: int, stride: int = 1, gain: float = 2**0.5
) -> T:
    """k x 1 x 1 convolution with bias, padding k // 2; ``frames`` is T of the input."""
    shape = (out, graph.shape(x)[1], kernel, 1, 1)
    bias = graph.weight(f"{name}.bias", (out,), 0.02)
    if graph.form == "3d":
        return graph.conv(x, graph.weight(f"{name}.weight", shape, gain), bias, (stride, 1, 1), (kernel // 2, 0, 0))
    if graph.form == "2d":
        return _temporal_2d(graph, x, graph.weight(f"{name}.weight", shape, gain, shape[:4]), bias, frames, stride)
    return _temporal_shifted(graph, x, graph.weight(f"{name}.weight", shape, gain, shape[:3]), bias, frames, stride)


def _temporal_2d(graph: Graph[T], x: T, weight: T, bias: T, frames: int, stride: int) -> T:
    _, channels, height, width = graph.shape(x)
    out, _, kernel, _ = graph.shape(weight)
    x = graph.transpose(graph.reshape(x, (-1, frames, channels, height * width)), (0, 2, 1, 3))  # [B, C, T, H*W]
    x = graph.conv(x, weight, bias, (stride, 1), (kernel // 2, 0))
    return graph.reshape(graph.transpose(x, (0, 2, 1, 3)), (-1, out, height, width))


def _temporal_shifted(graph: Graph[T], x: T, weight: T, bias: T, frames: int, stride: int) -> T:
    _, channels, height, width = graph.shape(x)
    out, _, kernel = graph.shape(weight)
    padded = graph.pad(graph.reshape(x, (-1, frames, channels, height, width)), 1, kernel // 2, kernel // 2)
    taps = [graph.slice(padded, 1, tap, tap + frames) for tap in range(kernel)]
    if stride > 1:
        taps = [_every(graph, tap, frames, stride) for tap in taps]
    x = graph.reshape(graph.concat(taps, 2), (-1, kernel * channels, height, width))
    # [O, I, k] -> [O, k, I]: the concatenation runs over taps first.
    weight = graph.reshape(graph.transpose(weight, (0, 2, 1)), (out, kernel * channels, 1, 1))
    return graph.conv(x, weight, bias, (1, 1), (0, 0))


def _every(graph: Graph[T], x: T, frames: int, stride: int) -> T:
    """Frames 0, stride, 2 stride, ... of [B, T, C, H, W]."""
    _, _, channels, height, width = graph.shape(x)
    kept = -(-frames // stride)
    if kept * stride > frames:
        x = graph.pad(x, 1, 0, kept * stride - frames)
    # Grouped so that each group's first frame lies in front: one slice, where a slice a frame would cost T of them.
    return graph.slice(graph.reshape(x, (-1, kept, stride * channels, height, width)), 2, 0, channels)


def pointwise_conv(graph: Graph[T], x: T, name: str, out: int, frames: int, stride: int, gain: float = 2**0.5) -> T:
    """1 x 1 x 1 convolution with bias and one stride in time and space; ``frames`` is T of the input."""
    channels = graph.shape(x)[1]
    if graph.form == "3d":
        weight = graph.weight(f"{name}.weight", (out, channels, 1, 1, 1), gain)
        return graph.conv(x, weight, graph.weight(f"{name}.bias", (out,), 0.02), (stride,) * 3, (0, 0, 0))
    size = graph.shape(x)[1:]
    x = graph.reshape(_every(graph, graph.reshape(x, (-1, frames, *size)), frames, stride), (-1, *size))
    return spatial_conv(graph, x, name, out, 1, stride, gain)


def spatial_max_pool(graph: Graph[T], x: T, kernel: int, stride: int) -> T:
    """1 x k x k max pooling, padding k // 2."""
    pad = kernel // 2
    if graph.form == "3d":
        return graph.max_pool(x, (1, kernel, kernel), (1, stride, stride), (0, pad, pad))
    return graph.max_pool(x, (kernel, kernel), (stride, stride), (pad, pad))


def global_mean(graph: Graph[T], x: T, frames: int) -> T:
    """Mean over time and space: [B, C]."""
    if graph.form == "3d":
        return graph.mean(x, (2, 3, 4))
    _, channels, height, width = graph.shape(x)
    return graph.mean(graph.reshape(x, (-1, frames, channels, height * width)), (1, 3))


def frame_means(graph: Graph[T], x: T, frames: int) -> T:
    """Mean over space: [B, T, C]."""
    if graph.form == "3d":
        return graph.transpose(graph.mean(x, (3, 4)), (0, 2, 1))
    return graph.reshape(graph.mean(x, (2, 3)), (-1, frames, graph.shape(x)[1]))


def tokens(graph: Graph[T], x: T, frames: int) -> T:
    """An activation in the layout of the form as [B, T, H*W, C]."""
    if graph.form == "3d":
        _, channels, _, height, width = graph.shape(x)
        return graph.transpose(graph.reshape(x, (-1, channels, frames, height * width)), (0, 2, 3, 1))
    _, channels, height, width = graph.shape(x)
    return graph.transpose(graph.reshape(x, (-1, frames, channels, height * width)), (0, 1, 3, 2))
