"""The landmark network: the layers of face-api's 68-point network on a grey 112-pixel crop, with heads of our own.

The layers keep face-api's weights (MIT; :mod:`start`), which know photographs; the heads are fitted on renders
(:mod:`fit`). Layers trained along on renders lose what they know: 4.5 % on HELEN instead of 4.1 %.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

SIZE = 112
# Side of the crop and how far it is moved down, in units of the longer side of the detector's box.
MARGIN, DOWN = 1.0, 0.1
POINTS = 68
WIDTHS = (32, 64, 128, 256)
# Pooled maps of the blocks but the first.
FEATURES = sum(WIDTHS[1:])
# Grey level taken off before the first convolution: the mean of the three that face-api takes off.
MEAN = 114.694
HIDDEN = 32


class Separable(nn.Module):
    """A depthwise 3x3 convolution and a pointwise one."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        # As TensorFlow does, an even side at stride 2 is padded below and on the right only.
        self.pads = (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1)
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pointwise(self.depthwise(nn.functional.pad(x, self.pads)))
        return out


class Block(nn.Module):
    """Four convolutions, the first of stride 2; each reads the rectified sum of all outputs before it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        # The very first convolution of a network is a full one.
        full = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, outputs, 3, 2))
        first: nn.Module = full if inputs == 1 else Separable(inputs, outputs, 2)
        self.convs = nn.ModuleList([first, *(Separable(outputs, outputs) for _ in range(3))])

    def forward(self, x: Tensor) -> Tensor:
        total = torch.relu(self.convs[0](x))
        for conv in self.convs[1:]:
            total = total + conv(torch.relu(total))
        return torch.relu(total)


class LandmarkNet(nn.Module):
    """Points, their spread and whether there is a face, from a crop.

    Input: float [B, 1, 112, 112], grey levels 0 to 255. Output: points [B, 68, 2] (x, y as shares of the crop's side,
    0 and 1 being its edges), logarithm of the scale of their distances from the truth [B, 68], logit of a face [B].
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(*widths) for widths in pairwise((1, *WIDTHS))))
        self.points = nn.Linear(WIDTHS[-1], 2 * POINTS)
        self.spread = nn.Linear(FEATURES, POINTS)
        self.face = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    def features(self, grey: Tensor) -> Tensor:
        """Pooled maps of the second to the last block, [B, 448]."""
        x, pooled = (grey - MEAN) / 255, []
        for block in self.blocks:
            x = block(x)
            pooled.append(x.mean((2, 3)))
        return torch.cat(pooled[1:], dim=1)

    def answers(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The outputs for pooled maps [B, 448]."""
        points = self.points(features[:, -WIDTHS[-1] :]).reshape(-1, POINTS, 2)
        return points, self.spread(features), self.face(features)[:, 0]

    def forward(self, grey: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.answers(self.features(grey))
