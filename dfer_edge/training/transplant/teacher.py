"""The teacher: face-api's expression network, read from the files of the npm package ``@vladmandic/face-api``.

Four blocks of 3x3 convolutions, depthwise and then pointwise but for the very first, at strides 2, 1, 1, 1 and widths
32, 64, 128, 256; within a block each convolution reads the rectified sum of all outputs before it. The mean of the last
map [B, 256] goes into one linear layer.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dfer_edge.errors import CorruptArtifact, SourceNotFound

WIDTHS = (32, 64, 128, 256)
SIZE = 112
# Mean of the pixels that the network subtracts, RGB; it then divides by 255.
MEAN = (122.782, 117.001, 104.298)
# Its classes in the order of `dfer_edge.labels.DFEW`: it has neutral, happy, sad, angry, fearful, disgusted, surprised.
_TO_DFEW = (1, 2, 0, 3, 6, 5, 4)
_MANIFEST = "face_expression_model-weights_manifest.json"
_DTYPES = {"uint8": np.uint8, "uint16": np.uint16, "float32": np.float32}


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the teacher makes of images: logits [B, 7] in DFEW's order, pooled [B, 256], the maps of its blocks."""

    logits: torch.Tensor
    pooled: torch.Tensor
    maps: tuple[torch.Tensor, ...]


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Arrays by name, float32, in TensorFlow's layout [k, k, in, out].

    Raises
    ------
    SourceNotFound
        If the manifest or a file that it names is missing.
    CorruptArtifact
        If they disagree.
    """
    manifest = folder / _MANIFEST
    if not manifest.is_file():
        hint = "npm install @vladmandic/face-api, then the folder node_modules/@vladmandic/face-api/model"
        raise SourceNotFound(f"expected {_MANIFEST} in {folder}", hint)
    (group,) = json.loads(manifest.read_text(encoding="utf-8"))
    missing = [name for name in group["paths"] if not (folder / name).is_file()]
    if missing:
        raise SourceNotFound(f"expected {missing[0]} in {folder}, as {_MANIFEST} says")
    data, arrays, at = b"".join((folder / name).read_bytes() for name in group["paths"]), {}, 0
    for entry in group["weights"]:
        code = entry.get("quantization", {"dtype": "float32", "scale": 1.0, "min": 0.0})
        count, dtype = int(np.prod(entry["shape"])), np.dtype(_DTYPES[code["dtype"]])
        if at + count * dtype.itemsize > len(data):
            raise CorruptArtifact(
                f"expected {entry['name']} of shape {entry['shape']} in {folder}, the data end before"
            )
        values = np.frombuffer(data, dtype, count, at).astype(np.float32) * code["scale"] + code["min"]
        arrays[entry["name"]] = values.reshape(entry["shape"]).astype(np.float32)
        at += count * dtype.itemsize
    return arrays


class Teacher(nn.Module):
    """The network on torch, its separable convolutions multiplied out to full 3x3 ones.

    TensorFlow pads a stride-2 convolution of an even size at the bottom and the right only. Here both sides are padded,
    as torch and SlowR50 do: the same function on another grid, a few pixels off.

    Parameters
    ----------
    arrays
        Of :func:`read_weights`.
    """

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.kernels = nn.ParameterList()  # 16: four a block
        self.biases = nn.ParameterList()
        for block in range(len(WIDTHS)):
            for conv in range(4):
                name = f"dense{block}/conv{conv}"
                self.kernels.append(nn.Parameter(_full(arrays, name), requires_grad=False))
                self.biases.append(nn.Parameter(torch.from_numpy(arrays[f"{name}/bias"]), requires_grad=False))
        order = list(_TO_DFEW)
        self.classifier = nn.Linear(WIDTHS[-1], len(order))
        with torch.no_grad():
            self.classifier.weight.copy_(torch.from_numpy(arrays["fc/weights"]).T[order])
            self.classifier.bias.copy_(torch.from_numpy(arrays["fc/bias"])[order])

    def conv(self, block: int, number: int, x: torch.Tensor) -> torch.Tensor:
        """Convolution ``number`` of a block, before any rectification."""
        at = 4 * block + number
        return F.conv2d(x, self.kernels[at], self.biases[at], stride=1 if number else 2, padding=1)

    def sums(self, block: int, x: torch.Tensor) -> list[torch.Tensor]:
        """The sums s_1 to s_4 of a block, the first already rectified; the block's map is ``relu(s_4)``."""
        total = torch.relu(self.conv(block, 0, x))
        found = [total]
        for number in (1, 2, 3):
            total = total + self.conv(block, number, torch.relu(total))
            found.append(total)
        return found

    def forward(self, pixels: torch.Tensor) -> Seen:
        """RGB [B, 3, 112, 112], 0 to 255, any dtype."""
        x, maps = normalised(pixels), []
        for block in range(len(WIDTHS)):
            x = torch.relu(self.sums(block, x)[-1])
            maps.append(x)
        pooled = x.mean((2, 3))
        return Seen(self.classifier(pooled), pooled, tuple(maps))

    def pooled(self, block: int, x: torch.Tensor) -> torch.Tensor:
        """Pooled features [B, 256] of the map of a block, by the blocks after it."""
        for later in range(block + 1, len(WIDTHS)):
            x = torch.relu(self.sums(later, x)[-1])
        return x.mean((2, 3))

    @torch.no_grad()
    def rescale(self, pixels: torch.Tensor) -> None:
        """Give the map of each block a root mean square of 1 on ``pixels``; logits stay as they are."""
        x, before = normalised(pixels), 1.0
        for block in range(len(WIDTHS)):
            self.kernels[4 * block].mul_(before)
            size = float(torch.relu(self.sums(block, x)[-1]).square().mean().sqrt())
            self.kernels[4 * block].div_(size)
            for number in range(4):
                self.biases[4 * block + number].div_(size)
            x, before = torch.relu(self.sums(block, x)[-1]), size
        self.classifier.weight.mul_(before)


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """``(pixels - MEAN) / 255``."""
    return (pixels.float() - torch.tensor(MEAN).view(1, 3, 1, 1)) / 255


def _full(arrays: dict[str, np.ndarray], name: str) -> torch.Tensor:
    if f"{name}/filters" in arrays:
        return torch.from_numpy(arrays[f"{name}/filters"]).permute(3, 2, 0, 1).contiguous()
    depthwise = torch.from_numpy(arrays[f"{name}/depthwise_filter"]).permute(2, 3, 0, 1)  # [in, 1, 3, 3]
    pointwise = torch.from_numpy(arrays[f"{name}/pointwise_filter"]).permute(3, 2, 0, 1)  # [out, in, 1, 1]
    return (pointwise * depthwise[:, 0][None]).contiguous()
