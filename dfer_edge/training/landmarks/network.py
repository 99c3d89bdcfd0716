"""The landmark network: a small residual network on a grey 96-pixel crop, trained on renders.

Grey is steadier than colour between renders and photographs. Each crop is brought to mean 0 and about unit variance, so
that neither light nor exposure need be learnt.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

SIZE = 96
POINTS = 68
WIDTHS = (16, 40, 80, 144)
# The first convolution takes every third pixel each way: the rest works on 32 x 32 and costs what it costs on 64.
STEM, STRIDE = 7, 3
# Weight of the plain distance of the points.
PLAIN = 20.0
# Vertices of the face between the landmarks that are learnt beside them and not exported.
DENSE = 140
# Added to the standard deviation of a crop's grey levels, so that a blank crop stays blank.
FLOOR = 4.0


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut; the first may halve the resolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.norm1 = _conv(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
        self.second, self.norm2 = _conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.second(torch.relu(self.norm1(self.first(x)))))
        return torch.relu(inner + self.shortcut(x))


class LandmarkNet(nn.Module):
    """Points, their spread and whether there is a face, from a crop.

    Input: float [B, 1, 96, 96], grey levels 0 to 255. Output: points [B, 68, 2] (x, y as shares of the crop's side,
    0 and 1 being its edges), logarithm of their expected distance from the truth [B, 68], logit of a face [B].
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(1, WIDTHS[0], STEM, STRIDE), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()]
        for inputs, outputs in pairwise(WIDTHS):
            layers += [Block(inputs, outputs, 2), Block(outputs, outputs, 1)]
        cells = SIZE // STRIDE // 2 ** (len(WIDTHS) - 1)
        layers += [nn.Conv2d(WIDTHS[-1], 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU(), nn.Flatten()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(48 * cells * cells, 3 * POINTS + 1)
        self.dense = nn.Linear(48 * cells * cells, 2 * DENSE)

    def features(self, grey: Tensor) -> Tensor:
        centred = grey - grey.mean((2, 3), keepdim=True)
        spread = centred.square().mean((2, 3), keepdim=True).sqrt() + FLOOR
        features: Tensor = self.body(centred / spread)
        return features

    def answers(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values = self.head(features).float()
        points = 0.5 + 0.25 * values[:, : 2 * POINTS].reshape(-1, POINTS, 2)
        return points, values[:, 2 * POINTS : 3 * POINTS] - 3.5, values[:, -1]

    def dense_points(self, features: Tensor) -> Tensor:
        """Vertices of the face, [B, 140, 2], as shares of the crop's side."""
        values: Tensor = self.dense(features)
        return 0.5 + 0.25 * values.float().reshape(-1, DENSE, 2)

    def forward(self, grey: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.answers(self.features(grey))


def loss(outputs: tuple[Tensor, Tensor, Tensor], points: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and the mean distance of the points of faces, as a share of the crop's side.

    The distances follow a Laplace distribution whose spread is predicted for each point, so that hidden points weigh
    less than seen ones (after Wood et al., 3D face reconstruction with dense landmarks, 2022, with Laplace for
    Gauss), with the plain distance beside it, which is what counts in use; cross entropy for face or none.

    Parameters
    ----------
    outputs
        Of :class:`LandmarkNet`.
    points
        [B, 68, 2], any value where there is no face.
    face
        float [B], 1 for a face.
    """
    found, log_spread, logit = outputs
    distance = torch.sqrt(((found - points) ** 2).sum(2) + 1e-8)
    mean = distance.mean(1)
    share = face / face.sum().clamp(min=1.0)
    likelihood = distance * torch.exp(-log_spread) + 2.0 * log_spread
    regression = (likelihood.mean(1) * share).sum()
    presence = nn.functional.binary_cross_entropy_with_logits(logit, face)
    error = (mean * share).sum()
    return regression + presence + PLAIN * error, error.detach()


def dense_loss(found: Tensor, points: Tensor, face: Tensor) -> Tensor:
    """Mean distance of the dense points of faces, as a share of the crop's side; [B, 140, 2] each, face [B]."""
    distance = torch.sqrt(((found - points) ** 2).sum(2) + 1e-8).mean(1)
    return (distance * face / face.sum().clamp(min=1.0)).sum()
