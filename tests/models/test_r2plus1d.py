"""R(2+1)D-18 in training form: attention, sparse centre loss, public weights, options (models.md section 5)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import registry
from dfer_edge.inference.torch_graph import TorchGraph
from dfer_edge.models import create_model, r2plus1d
from tests.inference.agreement import disturb_norms, relative

NAME = "r2plus1d_sta"


def network(size: int = 17, frames: int = 5, **options: object) -> r2plus1d.R2Plus1D:
    """Small input, trained-like: p is 256 x 2 x 3 x 3, so that both attentions have more than one token."""
    torch.manual_seed(0)
    spec = dataclasses.replace(registry.find(NAME).spec, size=size, frames=frames)
    module = r2plus1d.create(spec, gamma=0.7, **options).eval()
    disturb_norms(module)
    return module


# -- attention ------------------------------------------------------------------------------------------------


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def attended(axis: r2plus1d.AxisAttention, f: np.ndarray, over_space: bool, share: bool, scale: float) -> np.ndarray:
    """Direct formula on one f [256, T, N]: a loop over frames (or places), or over one flattened map."""

    def project(conv: nn.Conv3d) -> np.ndarray:
        y = np.einsum("oc,ctn->otn", conv.weight.detach().numpy()[:, :, 0, 0, 0], f)
        return y + conv.bias.detach().numpy()[:, None, None]

    q, k, v = (project(conv) for conv in (axis.query, axis.key, axis.value))
    if not over_space:
        q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    groups = range(q.shape[1])
    scores = [scale * q[:, g].T @ k[:, g] for g in groups]  # N x N each
    if share:
        scores = [sum(scores)] * len(groups)
    out = np.stack([v[:, g] @ softmax(scores[g]).T for g in groups], 1)
    return out if over_space else out.swapaxes(1, 2)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_attention_is_its_formula(share: bool, scaled: bool) -> None:
    torch.manual_seed(1)
    attention = r2plus1d.SpatioTemporalAttention(share, scaled, gamma=0.7).double()
    f = torch.randn(2, 256, 3, 2, 4, dtype=torch.float64)
    scale, gamma = 1 / math.sqrt(32) if scaled else 1.0, attention.gamma.item()
    with torch.no_grad():
        p = attention(f)
    for sample, actual in zip(f.flatten(3).numpy(), p.flatten(3), strict=True):
        s = attended(attention.space, sample, True, share, scale)
        d = attended(attention.time, sample, False, share, scale)
        assert relative(actual, torch.from_numpy(sample + gamma * (s + d))) <= 1e-12


def test_scores_stay_in_fp32() -> None:
    """Unscaled scores beyond 65,504, the largest fp16, and scores under autocast."""
    big = torch.zeros(1, 1, 2, 32, dtype=torch.float16)
    big[0, 0, 0], big[0, 0, 1, 0] = 100.0, 1.0
    weights = TorchGraph({"any": big}).attention_weights(big, big)
    assert weights.dtype == torch.float16
    assert torch.equal(weights, torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]], dtype=torch.float16))
    torch.manual_seed(0)
    axis, f = r2plus1d.AxisAttention("space", share=False, scale=False), 3 * torch.randn(1, 256, 2, 3, 3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        actual = axis.attention_map(f)
        q, k = (conv(f).flatten(3).permute(0, 2, 3, 1) for conv in (axis.query, axis.key))
    assert (q.dtype, actual.dtype) == (torch.bfloat16, torch.float32)
    assert relative(actual, torch.softmax(q.double() @ k.double().mT, -1)) <= 1e-4


# -- sparse centre loss ---------------------------------------------------------------------------------------


def loss_network(**options: object) -> r2plus1d.R2Plus1D:
    return network(loss_branch=True, loss_widths=(24, 16, 8), **options)


def reference_weights(branch: r2plus1d.SparseCenterLoss, p: np.ndarray, train: bool) -> np.ndarray:
    state = {key: value.detach().numpy() for key, value in branch.state_dict().items()}
    x = p.reshape(len(p), -1)
    for index, act in zip((0, 3, 6), (lambda y: np.maximum(y, 0), lambda y: np.maximum(y, 0), np.tanh), strict=True):
        x = x @ state[f"context.{index}.weight"].T + state[f"context.{index}.bias"]
        norm = f"context.{index + 1}"
        mean = x.mean(0) if train else state[f"{norm}.running_mean"]
        var = x.var(0) if train else state[f"{norm}.running_var"]
        x = act((x - mean) / np.sqrt(var + 1e-5) * state[f"{norm}.weight"] + state[f"{norm}.bias"])
    logits = x @ state["pairs.weight"].T + state["pairs.bias"]
    return 1 / (1 + np.exp(logits[:, 0::2] - logits[:, 1::2]))


@pytest.mark.parametrize("train", [False, True])
def test_sparse_center_loss_is_its_formula(train: bool) -> None:
    module = loss_network().double()
    p, labels = torch.randn(5, *r2plus1d.feature_shape(module.spec), dtype=torch.float64), torch.tensor([0, 6, 3, 3, 1])
    w = reference_weights(module.loss_branch, p.numpy(), train)
    module.train(train)
    with torch.no_grad():
        actual = module.sparse_center_loss(p, labels).item()
    expected = 0.0
    for sample, label in enumerate(labels.tolist()):
        for feature in range(256):
            distance = p[sample, feature].mean().item() - module.loss_branch.centers[label, feature].item()
            expected += w[sample, feature] * distance**2
    assert actual == pytest.approx(expected / (2 * len(labels)), rel=1e-12)


def test_gradients_of_the_loss_branch() -> None:
    torch.manual_seed(0)
    branch = r2plus1d.SparseCenterLoss(256, 3, (6, 5, 4)).double().train()
    labels, names = torch.tensor([0, 2, 1, 2]), [name for name, _ in branch.named_parameters()]
    assert len(names) == 3 * 4 + 2 + 1

    def run(p: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(branch, dict(zip(names, values, strict=True)), (p, labels))

    p = torch.randn(4, 256, 1, 1, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (p, *branch.parameters()), fast_mode=True)
    # Centres: the gradient is sum over a class of w (c - fp) / batch, and 0 for a class that is not there.
    branch(p, torch.tensor([0, 2, 0, 2])).backward()
    w = branch.weights(p).detach()
    pulls = w * (branch.centers[0] - p.detach().mean((2, 3, 4))) / 4
    assert torch.count_nonzero(branch.centers.grad[1]) == 0
    assert relative(branch.centers.grad[0], pulls[0] + pulls[2]) <= 1e-12


@pytest.mark.parametrize("kind", ["softmax", "binary"])
def test_training_loss_is_cross_entropy_plus_weighted_center_loss(kind: str) -> None:
    module = loss_network(center_weight=0.01, cross_entropy=kind).double()
    clip, labels = torch.randn(3, 3, 5, 17, 17, dtype=torch.float64), torch.tensor([4, 0, 4])
    logits, p = module(clip), module.forward_features(clip)
    if kind == "softmax":
        entropy = -sum(row.log_softmax(0)[label] for row, label in zip(logits, labels, strict=True)) / 3
    else:
        q = torch.sigmoid(logits)
        y = torch.eye(7, dtype=torch.float64)[labels]
        entropy = -(y * q.log() + (1 - y) * (1 - q).log()).mean()
    loss = module.training_loss(clip, labels)
    assert relative(loss, entropy + 0.01 * module.sparse_center_loss(p, labels)) <= 1e-12
    loss.backward()
    silent = [name for name, value in module.named_parameters() if value.grad is None or value.grad.abs().max() < 1e-12]
    assert silent == ["attention.space.key.bias", "attention.time.key.bias"]


# -- public weights, options ----------------------------------------------------------------------------------


def public_conv(channels: int, mid: int, out: int, stride: int) -> nn.Sequential:
    spatial = nn.Conv3d(channels, mid, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
    temporal = nn.Conv3d(mid, out, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)
    return nn.Sequential(spatial, nn.BatchNorm3d(mid), nn.ReLU(), temporal)


class PublicBlock(nn.Module):
    """A block under torchvision's parameter names, with the mid widths of models.md's table."""

    def __init__(self, channels: int, mid: int, out: int) -> None:
        super().__init__()
        stride = out // channels
        self.conv1 = nn.Sequential(public_conv(channels, mid, out, stride), nn.BatchNorm3d(out), nn.ReLU())
        self.conv2 = nn.Sequential(public_conv(out, mid, out, 1), nn.BatchNorm3d(out))
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv3d(channels, out, 1, stride, bias=False), nn.BatchNorm3d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = self.downsample(x) if hasattr(self, "downsample") else x
        return torch.relu(self.conv2(self.conv1(x)) + identity)


def public_trunk() -> nn.Sequential:
    spatial = nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
    temporal = nn.Conv3d(45, 64, (3, 1, 1), 1, (1, 0, 0), bias=False)
    trunk = nn.Sequential()
    norms = nn.BatchNorm3d(45), nn.BatchNorm3d(64)
    trunk.add_module("stem", nn.Sequential(spatial, norms[0], nn.ReLU(), temporal, norms[1], nn.ReLU()))
    for layer, (channels, mids, out) in enumerate(
        [(64, (144, 144), 64), (64, (230, 288), 128), (128, (460, 576), 256)]
    ):
        blocks = PublicBlock(channels, mids[0], out), PublicBlock(out, mids[1], out)
        trunk.add_module(f"layer{layer + 1}", nn.Sequential(*blocks))
    return trunk


def test_public_keys_load_torchvision_weights() -> None:
    torch.manual_seed(2)
    public = public_trunk().train()
    with torch.no_grad():
        public(torch.randn(2, 3, 4, 24, 24))  # moves the running statistics
    public.eval().double()
    module = create_model(NAME).eval().double()
    keys, theirs = r2plus1d.public_keys(), public.state_dict()
    assert set(keys.values()) == set(theirs)
    assert set(keys) == {key for key in module.state_dict() if key.startswith(("stem.", "stages."))}
    missing = module.load_state_dict({own: theirs[key] for own, key in keys.items()}, strict=False)
    assert not missing.unexpected_keys
    clip = torch.randn(2, 3, 6, 33, 25, dtype=torch.float64)
    with torch.no_grad():
        assert relative(module.trunk(clip), public(clip)) <= 1e-12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"att_share": "yes"}, "att_share"),
        ({"att_scale": 1}, "att_scale"),
        ({"classifier_input": "max"}, "classifier_input"),
        ({"loss_widths": (2048, 512)}, "loss_widths"),
        ({"loss_widths": (2048, 0, 64)}, "loss_widths"),
        ({"center_weight": -1.0}, "center_weight"),
        ({"center_weight": math.nan}, "center_weight"),
        ({"cross_entropy": "focal"}, "cross_entropy"),
        ({"attention_heads": 4}, "attention_heads"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        create_model(NAME, **options)


def test_center_loss_says_what_it_needs() -> None:
    labels = torch.tensor([0, 1])
    with pytest.raises(InvalidInput, match="loss_branch=True"):
        create_model(NAME).sparse_center_loss(torch.zeros(2, 256, 4, 14, 14), labels)
    module = loss_network()
    with pytest.raises(InvalidInput, match=r"256, 2, 3, 3.*got \(2, 256, 2, 2, 3\)"):
        module.sparse_center_loss(torch.zeros(2, 256, 2, 2, 3), labels)
    with pytest.raises(InvalidInput, match="2 labels"):
        module.sparse_center_loss(torch.zeros(2, 256, 2, 3, 3), torch.eye(7)[:2].long())
