"""`ModelSpec`: the one description of what a network reads and says.

It travels inside the weights file and the exported ONNX, and the same object drives preprocessing in
training, calibration, every engine and evaluation.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from dfer_edge.errors import CorruptArtifact

Option = int | float | str | bool | tuple[int, ...]

FACE_BOXES = ("detector", "landmarks")


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Everything an engine needs to know about a network besides its weights.

    Attributes
    ----------
    name
        Name in :func:`dfer_edge.list_models`.
    labels
        Class names, in the order of the logits.
    frames
        Frames of a clip (T); for image networks, how many frames of a clip are scored and averaged.
    size
        Side of the square input in pixels (H = W).
    mean, std
        Per RGB channel, of pixel values scaled to 0..1: ``x = (pixel / 255 - mean) / std``.
    input
        ``"clip"`` for [B, 3, T, H, W], ``"image"`` for [B, 3, H, W].
    landmarks
        Points a frame that the network needs beside the pixels (0 or 68).
    face_margin
        Side of the square crop as a multiple of the longer side of the face box.
    face_box
        ``"detector"``: the face box is the detector's. ``"landmarks"``: laid anew by landmarks, the same for every
        detector (:mod:`dfer_edge.faces.aligned`).
    colour
        Channel order of the input; the SDK works in RGB from the source on.
    resize
        ``"area"``: pixel-area averaging when shrinking, bilinear when enlarging.
    sampling
        ``"uniform"``: the centre frame of each of T equal segments; short clips repeat frames.
    options
        Architecture options that change the graph (see each network's docstring).
    """

    name: str
    labels: tuple[str, ...]
    frames: int
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input: str = "clip"
    landmarks: int = 0
    face_margin: float = 1.1
    face_box: str = "detector"
    colour: str = "RGB"
    resize: str = "area"
    sampling: str = "uniform"
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch axis: [3, T, H, W] or [3, H, W]."""
        if self.input == "image":
            return (3, self.size, self.size)
        return (3, self.frames, self.size, self.size)

    def with_labels(self, labels: tuple[str, ...]) -> ModelSpec:
        return dataclasses.replace(self, labels=tuple(labels))

    def with_options(self, **options: Option) -> ModelSpec:
        return dataclasses.replace(self, options={**self.options, **options})

    def to_json(self) -> str:
        fields = dataclasses.asdict(self)
        if self.face_box == "detector":
            # Hashes of weights hold this text, and ranges for int8 those hashes: what was written before stays valid.
            del fields["face_box"]
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Inverse of :meth:`to_json`.

        Raises
        ------
        CorruptArtifact
            If the text is not a spec of this version.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            fields["options"] = {k: _as_option(v) for k, v in fields["options"].items()}
            for key in ("labels", "mean", "std"):
                fields[key] = tuple(fields[key])
            if fields.get("face_box", "detector") not in FACE_BOXES:
                raise ValueError(f"face_box is none of {', '.join(FACE_BOXES)}")
            return cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            message = f"expected a model spec in the file's metadata, got {text[:80]!r}: {error}"
            raise CorruptArtifact(message) from error


def _as_option(value: Any) -> Option:
    return tuple(value) if isinstance(value, list) else value
