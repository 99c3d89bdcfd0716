"""The detector's network: depthwise-separable, one scale pyramid, no anchors; made after YuNet (Wu et al., 2023).

Grey is steadier than colour between renders and photographs; the exported file makes it from RGB.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
GREY = (0.299, 0.587, 0.114)
# Score, left, top, right, bottom, and x, y of five points.
OUTPUTS = 1 + 4 + 10
_STEM, _NECK = 24, 64
_WIDTHS = (64, 96, 128)


def _dense(inputs: int, outputs: int, side: int, stride: int) -> nn.Sequential:
    """Few channels at high resolution: here a dense kernel costs no more than a separable one."""
    pad = (side - stride + 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, pad, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _unit(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Mixes channels, then looks about in each; one norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.Conv2d(outputs, outputs, 3, stride, 1, groups=outputs, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class DetectorNet(nn.Module):
    """Faces of grey images.

    Input: float [B, 1, H, W], grey levels 0 to 255, sides divisible by 32. Output: for each of the strides float
    [B, 15, H / stride, W / stride]: logit of a face, distances from the cell's middle to the left, top, right and
    bottom edge of its box (logarithm, in strides), and five points relative to the cell's middle (in strides).
    """

    def __init__(self) -> None:
        super().__init__()
        eighth, sixteenth, last = _WIDTHS
        self.stem = nn.Sequential(_dense(1, _STEM, 6, 4), _dense(_STEM, _STEM, 3, 1))
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_dense(_STEM, eighth, 3, 2), _unit(eighth, eighth), _unit(eighth, eighth)),
                nn.Sequential(_unit(eighth, sixteenth, 2), _unit(sixteenth, sixteenth), _unit(sixteenth, sixteenth)),
                nn.Sequential(_unit(sixteenth, last, 2), _unit(last, last), _unit(last, last)),
            ]
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, _NECK, 1) for width in _WIDTHS)
        self.neck = nn.ModuleList(_unit(_NECK, _NECK) for _ in STRIDES)
        self.head = nn.ModuleList(nn.Sequential(_unit(_NECK, _NECK), nn.Conv2d(_NECK, OUTPUTS, 1)) for _ in STRIDES)
        for head in self.head:
            nn.init.normal_(head[-1].weight, 0.0, 0.01)  # type: ignore[index]
            bias = torch.zeros(OUTPUTS)
            bias[0], bias[1:5] = -4.6, 0.7
            head[-1].bias.data.copy_(bias)  # type: ignore[index]

    def forward(self, grey: Tensor) -> list[Tensor]:
        x = self.stem((grey - 110.0) / 64.0)
        features = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            features.append(lateral(x))
        for level in (1, 0):
            wider = nn.functional.interpolate(features[level + 1], scale_factor=2.0, mode="nearest")
            features[level] = features[level] + wider
        return [head(neck(x)) for head, neck, x in zip(self.head, self.neck, features, strict=True)]
