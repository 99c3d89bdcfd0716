"""Which cell answers for which face, and what it costs to answer wrongly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfer_edge.training.detector.network import STRIDES

# Sizes of faces (square root of the area, pixels) that each level answers for; they overlap, both then answer.
RANGES = ((0.0, 40.0), (30.0, 88.0), (66.0, 1e9))
# A cell answers if it lies so near the face's middle, in strides; those up to the second are not asked.
_NEAR, _ASIDE = 1.0, 1.8


@dataclass(frozen=True)
class Faces:
    """Faces of a batch, padded to the same count.

    Attributes
    ----------
    boxes
        float [B, N, 4]: left, top, right, bottom, pixels of the image's edges.
    points
        float [B, N, 5, 2].
    kind
        int64 [B, N]: 1 a face, 0 padding, -1 a place that is not asked.
    """

    boxes: Tensor
    points: Tensor
    kind: Tensor


def cells(height: int, width: int, stride: int) -> Tensor:
    """Middles of cells, pixels; float [H * W, 2]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * stride


def decode(output: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [B, C], boxes [B, C, 4] and points [B, C, 5, 2] in pixels of one level's output [B, 15, H, W]."""
    height, width = output.shape[2:]
    flat = output.float().flatten(2).transpose(1, 2)
    middle = cells(height, width, stride)
    reach = torch.exp(flat[..., 1:5].clamp(-6.0, 6.0)) * stride
    boxes = torch.cat([middle - reach[..., :2], middle + reach[..., 2:]], dim=-1)
    points = middle[:, None] + flat[..., 5:].reshape(*flat.shape[:2], 5, 2) * stride
    return flat[..., 0], boxes, points


def assign(faces: Faces, middle: Tensor, stride: int, level: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """For each cell the number of its face or -1, and whether it is asked at all; [B, C] both.

    ``size`` is the image's height and width: a face cut by the border has its middle in what is seen of it.
    """
    boxes = faces.boxes
    limit = torch.tensor([size[1], size[0], size[1], size[0]], dtype=boxes.dtype)
    seen = torch.minimum(boxes.clamp(min=0.0), limit)
    centre = (seen[..., :2] + seen[..., 2:]) / 2
    extent = ((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])).clamp(min=0.0).sqrt()
    low, high = RANGES[level]
    mine = (faces.kind == 1) & (extent >= low) & (extent < high)
    away = (middle[None, None] - centre[:, :, None]).abs().amax(-1) / stride  # [B, N, C]
    inside = (middle[None, None] > boxes[:, :, None, :2]).all(-1) & (middle[None, None] < boxes[:, :, None, 2:]).all(-1)
    near = mine[..., None] & inside & (away < _NEAR)
    # Of several faces the smallest answers: it lies in front or is harder.
    chosen = torch.where(near, extent[..., None], torch.inf)
    smallest, owner = chosen.min(1)
    owner = torch.where(torch.isfinite(smallest), owner, -1)
    real, place = faces.kind == 1, faces.kind == -1
    aside = (real[..., None] & inside & (away < _ASIDE)) | (place[..., None] & inside)
    asked = (owner >= 0) | ~aside.any(1)
    return owner, asked


def loss(outputs: list[Tensor], faces: Faces, size: tuple[int, int]) -> tuple[Tensor, dict[str, float]]:
    """Quality focal loss of scores (Li et al., 2020; target: root of the overlap), DIoU of boxes, L1 of points."""
    levels: list[tuple[Tensor, ...]] = []
    for level, (output, stride) in enumerate(zip(outputs, STRIDES, strict=True)):
        logit, box, point = decode(output, stride)
        middle = cells(output.shape[2], output.shape[3], stride)
        owner, asked = assign(faces, middle, stride, level, size)
        levels.append((logit, box, point, owner, asked))
    score, box, point, owner, asked = (torch.cat(column, 1) for column in zip(*levels, strict=True))
    image, cell = torch.nonzero(owner >= 0, as_tuple=True)
    count = max(1, len(cell))
    wanted = faces.boxes[image, owner[image, cell]]
    overlap, apart = _overlap(box[image, cell], wanted)
    extents = ((wanted[:, 2] - wanted[:, 0]) * (wanted[:, 3] - wanted[:, 1])).clamp(min=1.0).sqrt()
    goal = torch.zeros_like(score)
    # The root: a small face's box overlaps less for the same care, and is a face no less.
    goal[image, cell] = overlap.detach().clamp(0.0, 1.0).sqrt()
    found = torch.sigmoid(score)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(score, goal, reduction="none")
    presence = (entropy * (goal - found).abs().square() * asked).sum() / count
    shape = (1.0 - overlap + apart).sum() / count
    off = (point[image, cell] - faces.points[image, owner[image, cell]]).abs().mean((1, 2)) / extents
    place = off.sum() / count
    parts = {"presence": presence, "box": shape, "points": place}
    total = presence + 1.0 * shape + 2.0 * place
    return total, {name: float(part.detach()) for name, part in parts.items()} | {
        "overlap": float(overlap.detach().mean())
    }


def _overlap(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Overlap of pairs of boxes [M, 4], and the distance of their middles over the diagonal of both, squared."""
    low, high = torch.maximum(found[:, :2], wanted[:, :2]), torch.minimum(found[:, 2:], wanted[:, 2:])
    shared = (high - low).clamp(min=0.0).prod(1)
    areas = (found[:, 2:] - found[:, :2]).prod(1) + (wanted[:, 2:] - wanted[:, :2]).prod(1)
    low, high = torch.minimum(found[:, :2], wanted[:, :2]), torch.maximum(found[:, 2:], wanted[:, 2:])
    diagonal = (high - low).square().sum(1)
    apart = ((found[:, :2] + found[:, 2:] - wanted[:, :2] - wanted[:, 2:]) / 2).square().sum(1)
    return shared / (areas - shared).clamp(min=1e-6), apart / diagonal.clamp(min=1e-6)
