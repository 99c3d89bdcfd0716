"""Pooled features, their map, and Grad-CAM against its definition."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dfer_edge import InvalidInput
from dfer_edge.evaluation import explain as inside
from dfer_edge.flow import preprocess
from dfer_edge.inference import registry
from dfer_edge.inference.keypoint_graph import mean_shape
from dfer_edge.models import create_model
from dfer_edge.weights import file as weights
from tests.evaluation.fakes import SPEC, clip

SMALL = dataclasses.replace(SPEC, frames=2, size=8)


class Linear3d(nn.Module):
    """Features are the clip itself; logits are a linear map of their mean: Grad-CAM can be written down."""

    def __init__(self, token: bool = False) -> None:
        super().__init__()
        self.weight = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 0.0]])
        self.token = token

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).transpose(1, 2) if self.token else x

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean((2, 3, 4)) @ self.weight.T


def test_grad_cam_by_its_definition() -> None:
    sample, module = clip(2, 8), Linear3d()
    features = preprocess.to_feed([sample], SMALL)["clip"][0]
    for target in (0, 1):
        # The gradient of the mean is weight / places: a positive factor, which the normalisation takes out.
        expected = np.maximum(np.tensordot(module.weight[target].numpy(), features, 1), 0)
        found = inside.grad_cam(module, sample, SMALL, target)
        assert found.shape == (2, 8, 8)
        np.testing.assert_allclose(found, expected / expected.max(), atol=1e-5)


def test_grad_cam_where_nothing_speaks_for_the_class() -> None:
    module = Linear3d()
    module.weight = torch.zeros(2, 3)
    assert not inside.grad_cam(module, clip(2, 8), SMALL, 0).any()


def test_grad_cam_refuses_tokens_and_unknown_classes() -> None:
    with pytest.raises(InvalidInput, match="tokens"):
        inside.grad_cam(Linear3d(token=True), clip(2, 8), SMALL, 0)
    with pytest.raises(InvalidInput, match="below 7"):
        inside.grad_cam(Linear3d(), clip(2, 8), SMALL, 7)


def test_grad_cam_of_networks(tmp_path: Path) -> None:
    """Clip and image networks, one that strides in time, at sizes of a test."""
    for name, options in (("slowr50_sa", {}), ("r2plus1d_sta", {})):
        module = create_model(name, **options).eval()
        spec = dataclasses.replace(module.spec, frames=8, size=32)
        heat = inside.grad_cam(module, clip(8, 32), spec, 1)
        assert heat.shape == (8, 32, 32)
        assert heat.max() <= 1
        assert heat.min() >= 0


@pytest.mark.parametrize("name", ["slowr50", "vgg16_fer", "r2plus1d_sta", "keypoint_tsa"])
def test_cells_are_drawn_where_they_lie(name: str) -> None:
    """Strides and paddings of the network's own layers, walked: where the centre of each cell's field lies."""
    module = registry.find(name).training().create(dataclasses.replace(registry.find(name).spec, size=32, frames=4))
    stride, first = 1.0, 0.0
    layers = (nn.Conv2d, nn.Conv3d, nn.MaxPool2d, nn.MaxPool3d)
    for key, layer in module.named_modules():
        skipped = ("shortcut", "attention", "gates", "triplet")
        if isinstance(layer, layers) and not any(word in key for word in skipped):
            # The last axis: along the width; pooling layers of one number have it for all axes.
            kernel, step, pad = (np.atleast_1d(getattr(layer, n))[-1] for n in ("kernel_size", "stride", "padding"))
            first += stride * ((kernel - 1) / 2 - pad)
            stride *= step
    if name == "vgg16_fer":  # four poolings in the functional form, of 2 pixels each
        assert (stride, first) == (1, 0)
        stride, first = 16.0, 0.5 * (1 + 2 + 4 + 8)
    assert inside.grid_of(module) == (stride, first)


def test_a_lit_cell_is_brightest_at_its_pixel() -> None:
    maps = torch.zeros(1, 3, 3)
    maps[0, 1, 2] = 1.0
    heat = inside.placed(maps, 96, 32, 0.0)[0]
    assert np.unravel_index(int(heat.argmax()), heat.shape) == (32, 64)
    assert float(heat[32, 48]) == pytest.approx(0.5)
    # A mirrored map of cells between pixels is the mirrored heat.
    between = inside.placed(torch.rand(1, 2, 2), 32, 16, 7.5)
    cells = between[:, 7:25:16, 7:25:16]
    torch.testing.assert_close(inside.placed(cells.flip(-1), 32, 16, 7.5), inside.placed(cells, 32, 16, 7.5).flip(-1))


def test_grad_cam_of_the_key_point_network() -> None:
    module = (
        registry.find("keypoint_tsa")
        .training()
        .create(dataclasses.replace(registry.find("keypoint_tsa").spec, size=32, frames=3))
    )
    sample = dataclasses.replace(clip(3, 32), landmarks=np.stack([mean_shape() * 32] * 3).astype(np.float32))
    heat = inside.grad_cam(module.eval(), sample, module.spec, 1)
    assert heat.shape == (3, 32, 32)
    assert 0 < heat.max() <= 1


def test_what_the_classifier_reads_gives_its_logits() -> None:
    module = create_model("slowr50_sa").eval()
    spec = dataclasses.replace(module.spec, frames=2, size=32)
    before, read = inside.both_features(module, [clip(2, 32)], spec)
    np.testing.assert_allclose(before, inside.pooled_features(module, [clip(2, 32)], spec), rtol=1e-4, atol=1e-5)
    feed = torch.from_numpy(preprocess.to_feed([clip(2, 32)], spec)["clip"])
    with torch.no_grad():
        torch.testing.assert_close(module.head.classifier(torch.from_numpy(read)), module(feed), atol=1e-4, rtol=1e-4)


def test_overlay_is_grey_without_heat() -> None:
    frame = clip(1, 4).frames[0]
    cold = inside.overlaid(frame, np.zeros((4, 4), np.float32))
    np.testing.assert_array_equal(cold[..., 0], cold[..., 2])
    hot = inside.overlaid(frame, np.ones((4, 4), np.float32))
    assert (hot[..., 0] > hot[..., 2]).all()


def test_pooling() -> None:
    maps = torch.arange(48.0).reshape(1, 2, 2, 3, 4)
    torch.testing.assert_close(inside.pooled(maps), torch.tensor([[11.5, 35.5]]))
    torch.testing.assert_close(inside.pooled(maps[:, :, 0]), torch.tensor([[5.5, 29.5]]))
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])
    torch.testing.assert_close(inside.pooled(tokens), torch.tensor([[2.0, 4.0]]))
    torch.testing.assert_close(inside.pooled(tokens[0]), tokens[0])


def test_features_are_those_of_the_trained_weights(tmp_path: Path) -> None:
    module = create_model("slowr50", num_classes=4).eval()
    source = weights.load(weights.save(tmp_path / "w.safetensors", module))
    twin = inside.trained_module(source.spec, source)
    spec = dataclasses.replace(source.spec, frames=2, size=32)
    clips = [clip(2, 32, seed) for seed in range(2)]
    with torch.no_grad():
        feed = torch.from_numpy(preprocess.to_feed(clips, spec)["clip"])
        expected = module.forward_features(feed).mean((2, 3, 4))
    np.testing.assert_allclose(inside.pooled_features(twin, clips, spec), expected.numpy(), rtol=1e-3, atol=1e-5)
    with pytest.raises(InvalidInput, match="random"):
        inside.trained_module(SPEC, weights.random("slowr50_sa"))


def test_map_keeps_two_groups_apart(rng: np.random.Generator) -> None:
    pytest.importorskip("sklearn")
    groups = np.concatenate([rng.normal(0, 0.1, (10, 32)), rng.normal(5, 0.1, (10, 32))]).astype(np.float32)
    name, points = inside.embedding(groups)
    assert name
    assert points.shape == (20, 2)
    first, second = points[:10], points[10:]
    spread = max(np.ptp(first, axis=0).max(), np.ptp(second, axis=0).max())
    assert np.linalg.norm(first.mean(0) - second.mean(0)) > spread
    np.testing.assert_array_equal(points, inside.embedding(groups)[1])
    with pytest.raises(InvalidInput, match="at least 5"):
        inside.embedding(groups[:4])


def test_map_without_a_library_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"dfer-edge\[evaluate\]"):
        inside.embedding(np.zeros((9, 3), np.float32))
