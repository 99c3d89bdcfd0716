"""Looking inside a trained network with torch: pooled features, their map in the plane, and Grad-CAM."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.flow import preprocess
from dfer_edge.inference import registry
from dfer_edge.models.keypoint import KeypointTSA
from dfer_edge.models.r2plus1d import R2Plus1D
from dfer_edge.models.slowr50 import SlowR50
from dfer_edge.models.vgg import VGG
from dfer_edge.spec import ModelSpec
from dfer_edge.types import Clip
from dfer_edge.weights import file as weights

Floats = npt.NDArray[np.float32]

# t-SNE of fewer points shows nothing.
FEWEST = 5


def trained_module(spec: ModelSpec, source: weights.Weights) -> nn.Module:
    """The training form of a weights file, in evaluation mode.

    Raises
    ------
    InvalidInput
        For random weights, which have no training form.
    """
    # With the file's own spec: it may have another size or number of frames than the paper's.
    module: nn.Module = registry.find(spec.name).training().create(spec)
    weights.load_into(module, source)
    return module.eval()


def _inputs(clip: Clip, spec: ModelSpec) -> list[torch.Tensor]:
    return [torch.from_numpy(value) for value in preprocess.to_feed([clip], spec).values()]


def pooled(features: torch.Tensor) -> torch.Tensor:
    """[B, C] of what ``forward_features`` gives: maps [B, C, ...] or tokens [B, N, C]: means over the other axes."""
    if features.ndim == 3:
        return features.mean(1)
    return features.flatten(2).mean(2) if features.ndim > 3 else features


def pooled_features(module: nn.Module, clips: Iterable[Clip], spec: ModelSpec) -> Floats:
    """float32 [N, C]: the pooled features of each of N >= 1 clips, for image networks their mean over frames."""
    forward: Any = module.forward_features
    with torch.inference_mode():
        rows = [pooled(forward(*_inputs(clip, spec))).mean(0) for clip in clips]
    return np.asarray(torch.stack(rows).numpy(), np.float32)


def both_features(module: nn.Module, clips: Iterable[Clip], spec: ModelSpec) -> tuple[Floats, Floats]:
    """:func:`pooled_features`, and float32 [N, C] of what the last linear layer reads, after any attention."""
    network: Any = module
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    # The auxiliary head of the key-point network is as wide, and is not run.
    last = [layer for layer in linear if layer.out_features == spec.num_classes]
    seen: list[torch.Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, read: seen.append(read[0])) for layer in last]
    rows, read = [], []
    with torch.inference_mode():
        for clip in clips:
            features = network.forward_features(*_inputs(clip, spec))
            network.forward_head(features)
            rows.append(pooled(features).mean(0))
            read.append(seen[-1].reshape(-1, seen[-1].shape[-1]).mean(0))
    for hook in hooks:
        hook.remove()
    before, after = (np.asarray(torch.stack(found).numpy(), np.float32) for found in (rows, read))
    return before, after


def embedding(features: Floats, seed: int = 0) -> tuple[str, Floats]:
    """Name of the method and points [N, 2]: t-SNE of scikit-learn, as the papers print, or UMAP without it.

    Raises
    ------
    InvalidInput
        For fewer than five samples, or if neither is installed.
    """
    if len(features) < FEWEST:
        raise InvalidInput(f"expected at least {FEWEST} samples for a map of features, got {len(features)}")
    if importlib.util.find_spec("sklearn"):
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(features) - 1) / 3)
        points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
        return f"t-SNE, perplexity {perplexity:.0f}", np.asarray(points, np.float32)
    if not importlib.util.find_spec("umap"):
        hint = 'pip install "dfer-edge[evaluate]"'
        raise InvalidInput("expected scikit-learn or umap-learn for a map of features, neither is installed", hint)
    from umap import UMAP

    neighbours = min(15, len(features) - 1)
    return "UMAP", np.asarray(UMAP(n_neighbors=neighbours, random_state=seed).fit_transform(features), np.float32)


def grad_cam(module: nn.Module, clip: Clip, spec: ModelSpec, target: int) -> Floats:
    """Where a convolutional network looks for a class: float32 [T, S, S] in 0..1 over the crops of ``clip``.

    Grad-CAM (Selvaraju et al., ICCV 2017) on the last feature map: its channels, weighted by the mean gradient of the
    class's logit, positive part, drawn where the cells lie in the crop; 1 is the largest value of the clip. Of the
    key-point network the last map is the backbone's, after its triplet attention.

    Raises
    ------
    InvalidInput
        For networks whose features are tokens, not maps, and for classes that do not exist.
    """
    if not 0 <= target < spec.num_classes:
        raise InvalidInput(f"expected a class index below {spec.num_classes}, got {target}")
    with torch.no_grad():
        features, head = _last_map(module, _inputs(clip, spec))
    if features.ndim < 4:
        raise InvalidInput(f"expected a network with a feature map for Grad-CAM, {spec.name} has tokens")
    features = features.detach().requires_grad_()
    head(features)[:, target].sum().backward()
    places = tuple(range(2, features.ndim))
    assert features.grad is not None  # noqa: S101 - a leaf after backward
    maps = torch.relu((features.grad.mean(places, keepdim=True) * features.detach()).sum(1))
    grown = placed(maps.reshape(-1, *maps.shape[-2:]), spec.size, *grid_of(module))  # [B*T or T, S, S]
    if len(grown) != len(clip.frames):
        # The network strides in time: every frame gets the map of its stretch.
        grown = grown[(torch.arange(len(clip.frames)) * len(grown)) // len(clip.frames)]
    return np.asarray((grown / grown.max().clamp(min=1e-12)).numpy(), np.float32)


def _last_map(module: nn.Module, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, Callable[[torch.Tensor], Any]]:
    """The last feature map, and what gives logits of it."""
    if isinstance(module, KeypointTSA):
        clip, landmarks = inputs
        maps = module.maps(clip.transpose(1, 2).flatten(0, 1))
        points = landmarks.flatten(0, 1)
        return maps, lambda shown: module.forward_head(module.fused(shown, points).unsqueeze(0))
    network: Any = module
    return network.forward_features(*inputs), network.forward_head


def grid_of(module: nn.Module) -> tuple[float, float]:
    """Stride of the last map's cells in pixels, and the pixel in which the first lies; 1 and 0 for other networks.

    A strided convolution with its padding puts cell j at pixel ``stride * j``; a 2 x 2 pooling in the middle of its
    pixels. Growing the map over the whole crop would draw a cell of stride 32 half of it to the right and down.
    """
    if isinstance(module, VGG):
        stride = 32 if module.arch.keep_pool5 else 16
        return stride, (stride - 1) / 2
    if isinstance(module, KeypointTSA):
        last: Any = module.spec.options["last_strides"]
        return 8 * last[0] * last[1], 0.0
    return next((stride for kind, stride in ((SlowR50, 32), (R2Plus1D, 8)) if isinstance(module, kind)), 1), 0.0


def placed(maps: torch.Tensor, size: int, stride: float, first: float) -> torch.Tensor:
    """Maps [N, h, w], whose cell j lies at pixel ``first + stride * j``, at every pixel [N, size, size], bilinear."""
    weights = []
    for cells in maps.shape[1:]:
        where = ((torch.arange(size, dtype=maps.dtype) - first) / stride).clamp(0, cells - 1)
        weights.append((1 - (where[:, None] - torch.arange(cells, dtype=maps.dtype)).abs()).clamp(min=0))
    down, across = weights  # [size, h], [size, w]
    return down @ maps @ across.T


def overlaid(frame: npt.NDArray[np.uint8], heat: Floats) -> npt.NDArray[np.uint8]:
    """A crop [S, S, 3] in grey with the heat [S, S], 0..1, over it in red."""
    grey = frame.astype(np.float32).mean(2, keepdims=True)
    share = 0.6 * heat[..., None]
    return np.asarray(grey * (1 - share) + np.array([255.0, 60.0, 0.0]) * share, np.uint8)
