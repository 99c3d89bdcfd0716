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
PIXELS = ("rgb", "lbp")
SAMPLINGS = ("uniform", "apex", "strided", "pairs", "random")

# Fields that came later, with the value that means what files without them meant. Hashes of weights hold the text of
# the spec, and ranges for int8 those hashes: a default is not written, so what was written before stays valid.
_LATER: dict[str, object] = {"face_box": "detector", "crop_share": 1.0, "stride": 1, "pixels": "rgb", "level": False}


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
    level
        Crops are turned so that the eyes are level (:func:`dfer_edge.flow.preprocess.region`).
    colour
        Channel order of the input; the SDK works in RGB from the source on.
    resize
        ``"area"``: pixel-area averaging when shrinking, bilinear when enlarging.
    sampling
        Which T frames of a clip are read (:func:`dfer_edge.flow.clips.positions`). ``"uniform"``: the centre of each of
        T equal segments. ``"apex"``: every second of them goes to where the face looks least like the calm of the clip
        (:func:`dfer_edge.flow.clips.towards_apex`). ``"strided"``: every ``stride``-th frame of the clip's middle;
        short clips start over. ``"pairs"``: two neighbours at the centre of each of T / 2 segments. ``"random"``: T
        frames in order, drawn once for each length. Short clips repeat frames.
    stride
        Of ``"strided"``, in frames.
    crop_share
        Side of the crop that the network reads as a share of the face crop's shorter side, centred: resize to R, then
        crop S, is S / R. 1 reads all of a face crop, whose sides may then differ.
    pixels
        ``"rgb"``, or ``"lbp"``: local binary patterns of the crop's luma in all three channels.
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
    level: bool = False
    colour: str = "RGB"
    resize: str = "area"
    sampling: str = "uniform"
    stride: int = 1
    crop_share: float = 1.0
    pixels: str = "rgb"
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
        written = {name: value for name, value in fields.items() if name not in _LATER or value != _LATER[name]}
        return json.dumps(written, sort_keys=True)

    def check(self) -> None:
        """ValueError for a rule that does not exist or a number out of its range."""
        for name, known in (("face_box", FACE_BOXES), ("sampling", SAMPLINGS), ("pixels", PIXELS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is none of {', '.join(known)}: {getattr(self, name)!r}")
        if not isinstance(self.level, bool):
            raise ValueError(f"level is neither true nor false: {self.level!r}")
        if not 0 < self.crop_share <= 1 or self.stride < 1:
            raise ValueError(f"crop_share in (0, 1] and stride of at least 1: {self.crop_share}, {self.stride}")

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
            found = cls(**fields)
            found.check()
            return found
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            message = f"expected a model spec in the file's metadata, got {text[:80]!r}: {error}"
            raise CorruptArtifact(message) from error


def _as_option(value: Any) -> Option:
    return tuple(value) if isinstance(value, list) else value
