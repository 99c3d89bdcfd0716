"""The 2-D form of 3-D layers: the same values, statistics and gradients in fp64, on the same parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.models import create_model
from dfer_edge.training.fold_time import (
    FoldedConv3d,
    FoldedNorm,
    FoldedPool,
    SingleTokenAttention,
    centre_taps_only,
    fold_time,
    unfold_time,
)


def pair(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    plain = module.double().train()
    return plain, fold_time(copy.deepcopy(plain))


def compare(plain: nn.Module, folded: nn.Module, x: torch.Tensor, channels_last: bool) -> None:
    inputs = [x.clone().requires_grad_(), x.clone()]
    if channels_last:
        inputs[1] = inputs[1].contiguous(memory_format=torch.channels_last_3d)
    inputs[1].requires_grad_()
    outputs = []
    for module, given in zip((plain, folded), inputs, strict=True):
        torch.manual_seed(3)
        out = module(given)
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()
        outputs.append(out)
    scale = float(outputs[0].detach().abs().max())
    # Where a gradient is 0 by symmetry (key biases), only rounding is left of it.
    largest = (
        max(float(p.grad.abs().max()) for p in plain.parameters() if p.grad is not None) if [*plain.parameters()] else 0
    )
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-10 * scale)
    torch.testing.assert_close(
        inputs[1].grad, inputs[0].grad, rtol=1e-10, atol=1e-10 * float(inputs[0].grad.abs().max())
    )
    for (name, ours), (_, theirs) in zip(folded.named_parameters(), plain.named_parameters(), strict=True):
        assert theirs.grad is not None, name
        bound = max(float(theirs.grad.abs().max()), 1e-4 * largest)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-10 * bound, msg=name)
    for (name, ours), theirs in zip(folded.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12, msg=name)


LAYERS = {
    "stem": nn.Conv3d(3, 5, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
    "spatial": nn.Conv3d(3, 5, (1, 3, 3), padding=(0, 1, 1)),
    "pointwise": nn.Conv3d(3, 5, 1),
    "strided shortcut": nn.Conv3d(3, 5, 1, 2, bias=False),
    "temporal": nn.Conv3d(3, 5, (3, 1, 1), padding=(1, 0, 0)),
    "strided temporal": nn.Conv3d(3, 5, (3, 1, 1), (2, 1, 1), (1, 0, 0), bias=False),
    "unpadded temporal": nn.Conv3d(3, 5, (3, 1, 1)),
    "long temporal": nn.Conv3d(3, 5, (5, 1, 1), padding=(2, 0, 0)),
    "norm": nn.BatchNorm3d(3),
    "pool": nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
}


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7, 11), (1, 3, 3, 13, 1), (3, 3, 4, 2, 2)])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer(name: str, shape: tuple[int, ...], channels_last: bool) -> None:
    plain, folded = pair(copy.deepcopy(LAYERS[name]))
    assert type(folded) in (FoldedConv3d, FoldedNorm, FoldedPool)
    compare(plain, folded, torch.randn(*shape, dtype=torch.float64), channels_last)


@pytest.mark.parametrize("name", ["temporal", "long temporal", "strided temporal"])
def test_clips_of_one_frame(name: str) -> None:
    plain, folded = pair(copy.deepcopy(LAYERS[name]))
    compare(plain, folded, torch.randn(2, 3, 1, 5, 4, dtype=torch.float64), channels_last=True)


def disturbed(module: nn.Module) -> nn.Module:
    """Norms with weights of their own: at the start many would be equal by symmetry."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm3d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
    return module


@pytest.mark.parametrize("frames", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_slowr50_sa(frames: int) -> None:
    torch.manual_seed(0)
    plain, folded = pair(disturbed(create_model("slowr50_sa")))
    kinds = {type(layer) for layer in folded.modules()}
    assert not kinds & {nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.MultiheadAttention}
    assert list(folded.state_dict()) == list(plain.state_dict())
    compare(plain, folded, torch.randn(2, 3, frames, 33, 33, dtype=torch.float64), channels_last=True)


def test_r2plus1d_sta() -> None:
    torch.manual_seed(0)
    plain, folded = pair(disturbed(create_model("r2plus1d_sta", gamma=0.5)))
    assert not {type(layer) for layer in folded.modules()} & {nn.Conv3d, nn.BatchNorm3d}
    compare(plain, folded, torch.randn(2, 3, 5, 24, 20, dtype=torch.float64), channels_last=True)


def test_evaluation_uses_the_running_statistics() -> None:
    plain, folded = pair(nn.BatchNorm3d(3))
    for norm in (plain, folded):
        norm.running_mean.fill_(0.3)
        norm.running_var.fill_(2.0)
        norm.eval()
    x = torch.randn(2, 3, 2, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(folded(x), plain(x), rtol=1e-12, atol=1e-12)
    assert folded.num_batches_tracked == 0


def test_what_mixes_space_and_time_stays() -> None:
    stays = nn.Sequential(
        nn.Conv3d(3, 4, (2, 16, 16), (2, 16, 16)),
        nn.Conv3d(4, 4, 3),
        nn.Conv3d(4, 4, (1, 3, 3), padding=(1, 1, 1)),
        nn.Conv3d(4, 4, (1, 3, 3), groups=2),
        nn.Conv3d(4, 4, (1, 3, 3), (2, 1, 1)),
        nn.MaxPool3d(3),
        nn.BatchNorm3d(4, momentum=None),
        nn.MultiheadAttention(8, 2),
    )
    fold_time(stays)
    assert not {type(m) for m in stays} & {FoldedConv3d, FoldedPool, FoldedNorm, SingleTokenAttention}


def test_attention_over_several_tokens_is_the_full_one() -> None:
    plain, folded = pair(nn.MultiheadAttention(8, 2, batch_first=True))
    assert type(folded) is SingleTokenAttention
    for tokens in (1, 3):
        x = torch.randn(2, tokens, 8, dtype=torch.float64)
        torch.testing.assert_close(folded(x, x, x)[0], plain(x, x, x)[0], rtol=1e-12, atol=1e-12)


def test_unfolding_gives_the_classes_back() -> None:
    model = unfold_time(fold_time(create_model("slowr50_sa")))
    assert [type(m) for m in model.modules()] == [type(m) for m in create_model("slowr50_sa").modules()]


def test_centre_taps_make_frames_independent() -> None:
    torch.manual_seed(0)
    model = create_model("slowr50").double().eval()
    clip = torch.randn(1, 3, 3, 32, 32, dtype=torch.float64)
    still = clip[:, :, :1].expand(-1, -1, 3, -1, -1)
    features = model.forward_features(torch.cat([still[:, :, :1], clip[:, :, 1:]], 2))[:, :, 0]
    assert not torch.allclose(features, model.forward_features(still)[:, :, 0])
    centre_taps_only(model)
    features = model.forward_features(clip)[:, :, 0]
    torch.testing.assert_close(features, model.forward_features(still)[:, :, 0])
    assert float(features.abs().max()) > 0


def test_centre_taps_need_a_centre() -> None:
    with pytest.raises(InvalidInput, match="odd temporal kernels"):
        centre_taps_only(nn.Conv3d(3, 3, (2, 1, 1)))
