"""The heads of the landmark network, fitted on what its layers, which stay, make of renders and of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.training.landmarks.convention import annotated
from dfer_edge.training.landmarks.crops import Framing, Jitter, training_crop
from dfer_edge.training.landmarks.degrade import degraded
from dfer_edge.training.landmarks.fitted.network import DOWN, MARGIN, POINTS, SIZE, LandmarkNet
from dfer_edge.training.landmarks.render import detectors_box, read_shards

JITTER = Jitter(scale=0.1, shift=0.05, turn_rad=0.15, stretch=0.05, empty=0.2, mask=0.06)
# YuNet's boxes about renders are so much smaller than about photographs.
_SMALLER = 1.12
FRAMING = Framing(SIZE, MARGIN * _SMALLER, DOWN * _SMALLER)
# Faces that points are fitted on: turned by less, rad, and face-api's points nearer to ours, in outer eye distances.
_YAW, _NEAR = 0.9, 0.15
_BATCH = 64
# Standard deviations below this are those of channels that say nothing.
_LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class Recipe:
    """Everything that, with renders, pictures and face-api's file, decides the weights.

    Attributes
    ----------
    crops, places
        Of renders (a fifth without a face), and of pictures without people, altogether.
    share, damping
        How far points go from face-api's to those of the mesh as people annotate, and how much the way there is held
        back: the penalty of features of unit spread, for each crop. Both were chosen on annotated photographs.
    steps, batch, rate, weight_decay
        AdamW on whether there is a face.
    """

    crops: int = 14_000
    places: int = 6_000
    share: float = 0.7
    damping: float = 1.0
    steps: int = 400
    batch: int = 1024
    rate: float = 3e-3
    weight_decay: float = 0.05
    seed: int = 9


@dataclass(frozen=True)
class Seen:
    """What the layers make of crops.

    Attributes
    ----------
    features
        float32 [N, 448].
    points
        float32 [N, 68, 2], shares of the crop's side.
    face
        bool [N].
    yaw
        float32 [N], rad; of the head in the render.
    """

    features: np.ndarray
    points: np.ndarray
    face: np.ndarray
    yaw: np.ndarray


def features_of(net: LandmarkNet, crops: Sequence[np.ndarray]) -> np.ndarray:
    """Pooled maps [N, 448] of grey crops [112, 112]."""
    rows = []
    with torch.no_grad():
        for start in range(0, len(crops), _BATCH):
            grey = torch.from_numpy(np.stack(crops[start : start + _BATCH]).astype(np.float32))[:, None]
            rows.append(net.features(grey.contiguous(memory_format=torch.channels_last)).numpy())
    return np.concatenate(rows)


def of_renders(net: LandmarkNet, folder: Path, recipe: Recipe) -> Seen:
    """Crops of renders, with points as annotators place them.

    Raises
    ------
    SourceNotFound, CorruptArtifact, InvalidInput
        No rendered set, a damaged one, or one for which the public networks were not asked.
    """
    shards = read_shards(folder)
    if shards["public"].shape[1] != 2:
        raise InvalidInput(f"expected answers of two public networks in {folder}", "render with --ask FILE FILE")
    points = annotated(shards["landmarks"], shards["public"], shards["head"])
    rng = np.random.default_rng(recipe.seed)
    chosen = rng.integers(len(points), size=recipe.crops)
    crops = []
    for i in chosen:
        box = detectors_box(shards["landmarks"][i], shards["head"][i])
        crops.append(training_crop(rng, shards["grey"][i], points[i], box, JITTER, FRAMING))
    grey, moved, face = zip(*crops, strict=True)
    return Seen(features_of(net, grey), np.stack(moved), np.array(face), np.abs(shards["head"][chosen, 0]))


def of_pictures(net: LandmarkNet, pictures: Sequence[np.ndarray], recipe: Recipe) -> np.ndarray:
    """Pooled maps of random places of grey pictures without people, sharp and spoilt."""
    rng, crops = np.random.default_rng([recipe.seed, 1]), []
    for _ in range(recipe.places):
        picture = pictures[int(rng.integers(len(pictures)))]
        least = min(picture.shape)
        side = int(np.exp(rng.uniform(np.log(min(24, least)), np.log(least))))
        top, left = (int(rng.integers(0, edge - side + 1)) for edge in picture.shape)
        shown = picture[top : top + side, left : left + side]
        crop = cv2.resize(shown, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)
        crops.append(degraded(rng, crop) if rng.random() < 0.4 else crop)
    return features_of(net, crops)


def fit(net: LandmarkNet, seen: Seen, empty: np.ndarray, recipe: Recipe) -> dict[str, float]:
    """Fit the heads in place: points, then how far these are off, then whether there is a face.

    Parameters
    ----------
    net
        Of :func:`~dfer_edge.training.landmarks.fitted.start.net_of`.
    empty
        float32 [M, 448]: pooled maps of places without a face.

    Returns
    -------
    Facts for the log: the share of crops that points were fitted on, their mean distance, and the loss of the face.
    """
    features, unit = torch.from_numpy(seen.features), np.linalg.norm(seen.points[:, 45] - seen.points[:, 36], axis=1)
    with torch.no_grad():
        found = net.answers(features)[0].numpy()
    apart = np.linalg.norm(seen.points - found, axis=2).mean(1) / unit
    good = seen.face & (seen.yaw < _YAW) & (apart < _NEAR)
    inputs = seen.features[:, -net.points.in_features :]
    change = recipe.share * (seen.points - found)[good].reshape(-1, 2 * POINTS)
    _add(net.points, *_ridge(inputs[good], change, recipe.damping))
    with torch.no_grad():
        found = net.answers(features)[0].numpy()
    distance = np.linalg.norm(seen.points - found, axis=2)
    matrix, bias = _ridge(seen.features[seen.face], np.log(distance[seen.face] + 1e-4), recipe.damping)
    # The logarithm's mean is not the mean's: of a Laplace distribution in the plane the mean is twice the scale.
    expected = seen.features[seen.face] @ matrix + bias
    bias = bias + np.log((distance[seen.face] * np.exp(-expected)).mean(0) / 2)
    nn.init.zeros_(net.spread.weight)
    nn.init.zeros_(net.spread.bias)
    _add(net.spread, matrix, bias)
    loss = _fit_face(net.face, np.concatenate([seen.features, empty]), np.r_[seen.face, np.zeros(len(empty))], recipe)
    return {
        "fitted": round(float(good.mean()), 3),
        "distance_percent": round(100 * float((distance[good].mean(1) / unit[good]).mean()), 2),
        "face_loss": round(loss, 3),
    }


def _ridge(inputs: np.ndarray, outputs: np.ndarray, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """Matrix [F, K] and bias [K] of the least squares from inputs of unit spread, with a penalty."""
    mean, spread, middle = inputs.mean(0, np.float64), inputs.std(0, np.float64) + _LEAST_SPREAD, outputs.mean(0)
    scaled = (inputs - mean) / spread
    normal = scaled.T @ scaled + damping * len(inputs) * np.eye(inputs.shape[1])
    matrix = np.linalg.solve(normal, scaled.T @ (outputs - middle)) / spread[:, None]
    return matrix, middle - mean @ matrix


def _add(layer: nn.Linear, matrix: np.ndarray, bias: np.ndarray) -> None:
    with torch.no_grad():
        layer.weight.add_(torch.from_numpy(matrix.T.astype(np.float32)))
        layer.bias.add_(torch.from_numpy(bias.astype(np.float32)))


def _fit_face(head: nn.Sequential, inputs: np.ndarray, face: np.ndarray, recipe: Recipe) -> float:
    """Logistic regression through a hidden layer, on inputs of unit spread; returns the loss of the last batches."""
    mean, spread = inputs.mean(0), inputs.std(0) + _LEAST_SPREAD
    scaled = torch.from_numpy(((inputs - mean) / spread).astype(np.float32))
    # One in a hundred is labelled the other way, so that nothing is certain.
    target = torch.from_numpy((0.98 * face + 0.01).astype(np.float32))
    torch.manual_seed(recipe.seed)
    for layer in head:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
            with torch.no_grad():
                layer.weight.mul_(0.1)
    rng, losses = np.random.default_rng([recipe.seed, 2]), []
    optimiser = torch.optim.AdamW(head.parameters(), recipe.rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    for _ in range(recipe.steps):
        chosen = torch.from_numpy(rng.integers(len(scaled), size=recipe.batch))
        loss = nn.functional.binary_cross_entropy_with_logits(head(scaled[chosen])[:, 0], target[chosen])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    first = head[0]
    assert isinstance(first, nn.Linear)  # noqa: S101 - made so
    with torch.no_grad():
        first.weight.div_(torch.from_numpy(spread))
        first.bias.sub_(first.weight @ torch.from_numpy(mean))
    return float(np.mean(losses[-20:]))
