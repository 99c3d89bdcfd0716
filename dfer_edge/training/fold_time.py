"""The fast training form on a CPU: every 3-D layer runs as a 2-D one, on the same parameters.

Each convolution of our networks is purely spatial or purely temporal (design rule 3). With channels-last memory a clip
[B, C, T, H, W] lies as B, T, H, W, C, so [B * T, C, H, W] for spatial kernels and [B, C, T, H * W] for temporal ones
are views of it: nothing is copied. What is gained is the choice of kernels: oneDNN has fast bf16 kernels for 2-D
convolutions, while a Conv3d in bf16 is slower than in fp32 on most CPUs.

Only the class of a layer changes, so parameters, their names, optimisers that hold them and hooks stay as they are.
Values, batch statistics and gradients equal the 3-D layers' to rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dfer_edge.errors import InvalidInput


def _frames(x: torch.Tensor) -> torch.Tensor:
    """[B, C, T, H, W] -> [B * T, C, H, W], a view if ``x`` is channels-last."""
    batch, channels, frames, height, width = x.shape
    return x.permute(0, 2, 3, 4, 1).reshape(batch * frames, height, width, channels).permute(0, 3, 1, 2)


def _clip(frames: torch.Tensor, batch: int) -> torch.Tensor:
    """Inverse of :func:`_frames`."""
    count, channels, height, width = frames.shape
    last = frames.permute(0, 2, 3, 1).reshape(batch, count // batch, height, width, channels)
    return last.permute(0, 4, 1, 2, 3)


class FoldedConv3d(nn.Conv3d):
    """A spatial (1, k, k) or temporal (k, 1, 1) convolution, run as a 2-D one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kernel_size[0] == 1 and self.stride[0] == 1:
            weight, strides, pads = self.weight[:, :, 0], self.stride[1:], self.padding[1:]
            return _clip(F.conv2d(_frames(x), weight, self.bias, strides, pads), len(x))
        if self.kernel_size == (1, 1, 1):
            # A strided pointwise convolution reads some frames only: thin them out first.
            thin = x[:, :, :: self.stride[0]]
            spatial = F.conv2d(_frames(thin), self.weight[:, :, 0], self.bias, self.stride[1:])
            return _clip(spatial, len(x))
        return self._temporal(x)

    def _temporal(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, frames, height, width = x.shape
        rows = x.permute(0, 2, 3, 4, 1).reshape(batch, frames, height * width, channels).permute(0, 3, 1, 2)
        if frames == 1 and self.padding[0] == self.kernel_size[0] // 2:
            # The outer taps see padding only; the gradient of a slice is zero for them, as it is in 3-D.
            middle = self.weight[:, :, self.kernel_size[0] // 2 : self.kernel_size[0] // 2 + 1, :, 0]
            out = F.conv2d(rows, middle, self.bias)
        else:
            out = F.conv2d(rows, self.weight[..., 0], self.bias, (self.stride[0], 1), (int(self.padding[0]), 0))
        last = out.permute(0, 2, 3, 1).reshape(batch, out.shape[2], height, width, out.shape[1])
        return last.permute(0, 4, 1, 2, 3)


class FoldedNorm(nn.BatchNorm3d):
    """Batch norm over the same values, seen as frames: equal statistics."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        mean, var, momentum = self.running_mean, self.running_var, self.momentum or 0.0
        out = F.batch_norm(_frames(x), mean, var, self.weight, self.bias, self.training, momentum, self.eps)
        return _clip(out, len(x))


class FoldedPool(nn.MaxPool3d):
    """Max pooling over space only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, strides, pads = (_spatial(value) for value in (self.kernel_size, self.stride, self.padding))
        return _clip(F.max_pool2d(_frames(x), kernel, strides, pads), len(x))


class SingleTokenAttention(nn.MultiheadAttention):
    """Self-attention that, given one token, skips what cannot matter.

    The softmax over one key is 1, so queries and keys reach neither the output nor any gradient: theirs is 0, as in the
    full form.
    """

    def forward(  # type: ignore[override]
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, need_weights: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if query.shape[1] != 1 or key.shape[1] != 1:
            return super().forward(query, key, value, need_weights=need_weights)
        width = self.embed_dim
        weight, bias = self.in_proj_weight[2 * width :], self.in_proj_bias[2 * width :]
        attended: torch.Tensor = self.out_proj(F.linear(value, weight, bias))
        return attended, torch.ones_like(attended[..., :1]) if need_weights else None


def _spatial(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value[1:] if isinstance(value, tuple) else (value, value)


def fold_time(module: nn.Module) -> nn.Module:
    """Make every 3-D layer of ``module`` run as a 2-D one, in place; returns ``module``.

    Layers that cannot (a SMaTE tubelet embedding) stay as they are; layers that are 2-D already too. SlowR50-SA's
    attention over its one token takes its short form.
    """
    for layer in module.modules():
        if type(layer) is nn.Conv3d and _folds(layer):
            layer.__class__ = FoldedConv3d
        elif type(layer) is nn.BatchNorm3d and layer.track_running_stats and layer.momentum is not None:
            layer.__class__ = FoldedNorm
        elif type(layer) is nn.MaxPool3d and isinstance(layer.kernel_size, tuple) and layer.kernel_size[0] == 1:
            layer.__class__ = FoldedPool
        elif type(layer) is nn.MultiheadAttention and _takes_one_token(layer):
            layer.__class__ = SingleTokenAttention
    return module


def unfold_time(module: nn.Module) -> nn.Module:
    """Undo :func:`fold_time`, in place."""
    plain: dict[type[nn.Module], type[nn.Module]] = {
        FoldedConv3d: nn.Conv3d,
        FoldedNorm: nn.BatchNorm3d,
        FoldedPool: nn.MaxPool3d,
        SingleTokenAttention: nn.MultiheadAttention,
    }
    for layer in module.modules():
        if type(layer) in plain:
            layer.__class__ = plain[type(layer)]
    return module


def _takes_one_token(layer: nn.MultiheadAttention) -> bool:
    # Added keys would be further tokens; dropout would act on the one weight.
    plain = layer.batch_first and layer.dropout == 0 and layer.in_proj_weight is not None
    return plain and layer.in_proj_bias is not None and layer.bias_k is None and not layer.add_zero_attn


def _folds(conv: nn.Conv3d) -> bool:
    plain = conv.groups == 1 and conv.padding_mode == "zeros" and set(conv.dilation) == {1}
    if not plain or isinstance(conv.padding, str):
        return False
    (kernel, *spatial), (stride, *_), (pad, *_) = conv.kernel_size, conv.stride, conv.padding
    if kernel == 1:
        return pad == 0 and (stride == 1 or conv.kernel_size == (1, 1, 1))
    return spatial == [1, 1] and conv.stride[1:] == (1, 1) and tuple(conv.padding[1:]) == (0, 0)


def centre_taps_only(module: nn.Module) -> None:
    """Zero the outer taps of all temporal kernels: frames do not see each other until training says so.

    Before training on single images, whose clips of one frame never reach those taps; they would stay random. Where a
    temporal kernel strides (``r2plus1d_sta``) the centre tap reads every second frame alone, so the others count
    nowhere until the outer taps are trained.

    Raises
    ------
    InvalidInput
        For a temporal kernel of even length, which has no centre.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d) and layer.kernel_size[0] > 1 and layer.kernel_size[1:] == (1, 1):
            if layer.kernel_size[0] % 2 == 0:
                raise InvalidInput(f"expected odd temporal kernels, got {layer.kernel_size}")
            with torch.no_grad():
                middle = layer.kernel_size[0] // 2
                kept = layer.weight[:, :, middle].clone()
                layer.weight.zero_()
                layer.weight[:, :, middle] = kept
