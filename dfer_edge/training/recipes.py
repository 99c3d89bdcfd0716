"""What a recipe is: plain data, from the optimiser to the last augmentation. The recipes are in :mod:`.table`.

Numbers of a papers' recipe carry its provenance in the table: [P] printed in the paper, [C] convention of the cited
source, [D] our default where the paper is silent.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from typing import Any

from dfer_edge.errors import InvalidInput
from dfer_edge.spec import ModelSpec

Range = tuple[float, float]

# Sampling in training -> in validation and inference.
_AT_TEST = {"stride": "strided", "pairs": "pairs"}


@dataclasses.dataclass(frozen=True)
class Optimiser:
    """One of torch's optimisers.

    Attributes
    ----------
    name
        ``"adamw"``, ``"adam"`` or ``"sgd"``.
    lr
        Peak learning rate.
    lr_batch
        If above 0, ``lr`` is for this batch size and grows linearly with the actual one.
    weight_decay
        Of AdamW decoupled, else L2.
    decay_norms
        Decay norms, biases and single vectors too, as torch does by default.
    momentum
        Of SGD.
    betas
        Of Adam and AdamW.
    """

    name: str
    lr: float
    lr_batch: int = 0
    weight_decay: float = 0.0
    decay_norms: bool = True
    momentum: float = 0.9
    betas: Range = (0.9, 0.999)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Learning rate over a stage, as a share of the peak.

    Attributes
    ----------
    name
        ``"constant"``, ``"steps"`` (times ``factor`` at each of ``milestones``, in epochs) or ``"cosine"`` (to
        ``final``).
    warmup_epochs
        Linear from nothing to the peak.
    """

    name: str = "constant"
    warmup_epochs: float = 0.0
    milestones: tuple[int, ...] = ()
    factor: float = 0.1
    final: float = 0.0


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Which frames of a clip are read in training; validation and inference take the spec's rule.

    Attributes
    ----------
    name
        ``"segments"``: T equal segments, a random frame of each. ``"pairs"``: T / 2 segments, two neighbours at a
        random place of each (Former-DFER). ``"stride"``: every ``stride``-th frame from a random start.
        ``"random"``: T random frames in order. ``"uniform"``: the centre of each segment. Short clips repeat frames;
        ``"stride"`` starts over, as DMVR does.
    stride
        Of ``"stride"``.
    min_frames
        Shorter clips are dropped from the training set.
    """

    name: str = "segments"
    stride: int = 1
    min_frames: int = 1


@dataclasses.dataclass(frozen=True)
class Crop:
    """Where the square crop of a clip lies, drawn once a clip.

    Attributes
    ----------
    around
        ``"frame"``: frames are face crops; the crop is of ``area`` (a share of the frame's) and ``aspect``.
        ``"resize"``: the shorter side is resized to ``resize`` pixels, then a crop of the input size is taken.
        ``"landmarks"``: as a detector would put it around 68 points, see ``side`` and ``centre``.
    side
        Around landmarks: side of the crop in units of s, the root mean square of the distance between the eyes and
        the distance from eyes to mouth.
    centre
        Around landmarks: (x, y) of the crop's centre beside the middle between eyes and mouth, in s.
    shift_sd
        Around landmarks: standard deviation of the centre, (x, y) in s.
    follow
        Around landmarks: share of the face's motion from frame to frame that the crop follows, 0 to 1.
    rotation_deg
        Angles to draw from, uniformly between the two, or one of ``rotation_choices`` with either sign.
    flip
        Probability of a horizontal flip; landmarks and left and right action units change places with it.
    """

    around: str = "frame"
    area: Range = (1.0, 1.0)
    aspect: Range = (1.0, 1.0)
    resize: int = 0
    side: Range = (2.0, 2.0)
    centre: Range = (0.0, -0.12)
    shift_sd: Range = (0.0, 0.0)
    follow: Range = (1.0, 1.0)
    rotation_deg: Range = (0.0, 0.0)
    rotation_choices: tuple[float, ...] = ()
    flip: float = 0.5

    def share(self, size: int) -> float:
        """Of the face crop's shorter side that a crop of ``size`` pixels takes: what a spec calls ``crop_share``."""
        return size / max(self.resize, size) if self.around == "resize" else 1.0


@dataclasses.dataclass(frozen=True)
class Pixels:
    """What happens to the colours and the sharpness of a clip: the same for all its frames, save the noise.

    Probabilities of 0 switch a part off; ranges are drawn uniformly.

    Attributes
    ----------
    grey
        Probability of BT.601 grey in all three channels.
    brightness, contrast, saturation
        Factors are drawn from 1 - x to 1 + x.
    hue
        Turn of the hue, at most this share of the circle.
    tint_sd
        Standard deviation of the logarithm of a factor per channel.
    gamma_sd
        Standard deviation of the logarithm of the exponent.
    resample, resample_scale
        Probability and range of the side, as a share of the input size, that a crop is brought to before it is
        brought to the input size, with filters drawn at random both times.
    blur, blur_sd
        Probability and deviation, in pixels of a crop of 112, of a Gaussian.
    sharpen, sharpen_amount
        Probability and amount of an unsharp mask.
    light, light_sd
        Probability of brightness that grows across the crop in one direction, and the deviation of how much: 0.6 is
        from 0.7 to 1.3.
    noise, noise_sd
        Probability and deviation in levels of 255 of Gaussian noise, new in each frame.
    jpeg, jpeg_quality
        Probability and quality.
    cutout, cutout_side
        Probability and side, as a share of the crop's, of a rectangle of one colour.
    lbp
        Probability of local binary patterns in place of the grey values.
    """

    grey: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    tint_sd: float = 0.0
    gamma_sd: float = 0.0
    resample: float = 0.0
    resample_scale: Range = (0.4, 1.0)
    blur: float = 0.0
    blur_sd: Range = (0.3, 1.2)
    sharpen: float = 0.0
    sharpen_amount: Range = (0.2, 1.2)
    light: float = 0.0
    light_sd: float = 0.6
    noise: float = 0.0
    noise_sd: Range = (1.0, 10.0)
    jpeg: float = 0.0
    jpeg_quality: Range = (30.0, 95.0)
    cutout: float = 0.0
    cutout_side: Range = (0.1, 0.4)
    lbp: float = 0.0


@dataclasses.dataclass(frozen=True)
class Stage:
    """One run of the loop with a fresh optimiser.

    Attributes
    ----------
    epochs
        Passes over the training set.
    batch
        Clips a step, over all processes and accumulated parts.
    optimiser, schedule
        See there.
    frames, size
        T and the input side in pixels; 0 for the network's. The last stage's size is the network's from then on.
    sampling, crop, pixels
        Augmentation.
    mixed
        SMaTE's mixed tokens: further versions of each clip, on the same frames.
    start
        What the weights are at the beginning: ``"last"``, ``"ema"`` (their moving average) or ``"best"`` (the best
        checkpoint so far).
    centre_taps
        Zero the outer taps of temporal kernels first; for images before clips.
    frozen
        Parts of the network that stay as they are, batch statistics too, by their names in it, e.g. ``"stem"``.
    """

    epochs: int
    batch: int
    optimiser: Optimiser
    schedule: Schedule = Schedule()
    frames: int = 0
    size: int = 0
    sampling: Sampling = Sampling()
    crop: Crop = Crop()
    pixels: Pixels = Pixels()
    mixed: tuple[Pixels, ...] = ()
    mixed_rotation_deg: tuple[float, ...] = ()
    start: str = "last"
    centre_taps: bool = False
    frozen: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Losses:
    """What is minimised.

    Attributes
    ----------
    label_smoothing
        Of the cross-entropy.
    class_weights
        Weigh classes by N / (m s_c) of the training set.
    auxiliary
        Weights of ``keypoint_tsa``'s auxiliary and temporal losses.
    sparse_centre, centre_lr
        Weight of ``r2plus1d_sta``'s sparse centre loss, and learning rate of the centres' own SGD; 0 for none.
    guidance
        Mask on the image: ``"template"``, ``"hull"`` (of landmarks) or ``"none"``; the networks of paper 002.
    units, landmarks, intensity
        Weights of the auxiliary heads on action units, landmarks and the intensity curve. Heads are trained where the
        data have their targets and dropped at export.
    """

    label_smoothing: float = 0.0
    class_weights: bool = False
    auxiliary: Range = (0.2, 0.8)
    sparse_centre: float = 0.0
    centre_lr: float = 0.5
    guidance: str = "none"
    units: float = 0.0
    landmarks: float = 0.0
    intensity: float = 0.0


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything a training run needs beside the network and the data.

    Attributes
    ----------
    name, source
        For logs and the notes of the weights file.
    stages
        In order.
    losses
        See there.
    options
        Of :func:`dfer_edge.models.create_model`, training only (dropout, loss branch).
    pretrained
        Public weights that the paper starts from, in words; pass them with ``--init``.
    clip_gradient
        Largest norm of the gradient; 0 for none.
    ema
        Decay of the moving average of the weights; 0 for none. Validation and export use the average.
    weak_residuals
        Start every residual block as the identity: for training from scratch, in bf16 above all.
    face_margin
        If above 0, replaces the spec's: the crop that the network was trained on, relative to the face box.
    face_box
        If not empty, replaces the spec's: ``"detector"`` or ``"landmarks"``.
    level
        Crops are turned until the eyes are level, as the spec's ``level``.
    drop_lost
        Training clips in which no face is found are dropped; else another of their class stands in for them.
    sampling
        If not empty, the spec's; else the counterpart of the last stage's: strided for stride, pairs for pairs, the
        centres of segments for what is drawn.
    select
        Best checkpoint by ``"uar"``, ``"war"`` or ``"log_loss"`` on the validation set.
    keeps_start
        The weights that a run starts from are validated first and are the best until an epoch beats them.
    """

    name: str
    source: str
    stages: tuple[Stage, ...]
    losses: Losses = Losses()
    options: tuple[tuple[str, Any], ...] = ()
    pretrained: str = ""
    clip_gradient: float = 0.0
    ema: float = 0.0
    weak_residuals: bool = False
    face_margin: float = 0.0
    face_box: str = ""
    level: bool = False
    drop_lost: bool = False
    sampling: str = ""
    select: str = "uar"
    keeps_start: bool = False

    @property
    def reads_grey(self) -> bool:
        """Whether no stage ever shows a colour."""
        return all(stage.pixels.grey == 1.0 for stage in self.stages)

    def crops(self, spec: ModelSpec, trained: bool = False) -> ModelSpec:
        """``spec`` with all of the preprocessing that the network is trained on: its size, crop and sampling.

        ``trained``: it is the spec of weights to start from, which keeps whatever the recipe does not name itself.

        Raises
        ------
        InvalidInput
            For an unknown ``face_box`` or ``sampling``.
        """
        last = self.stages[-1]
        size = last.size or spec.size
        found = dataclasses.replace(
            spec,
            size=size,
            face_margin=self.face_margin or spec.face_margin,
            face_box=self.face_box or spec.face_box,
            level=self.level or spec.level,
            sampling=self.sampling or (spec.sampling if trained else _AT_TEST.get(last.sampling.name, "uniform")),
        )
        if not trained:
            found = dataclasses.replace(found, crop_share=last.crop.share(size), stride=last.sampling.stride)
        try:
            found.check()
        except ValueError as error:
            raise InvalidInput(f"expected a recipe that inference can follow: {error}") from error
        return found

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    def override(self, path: str, text: str) -> Recipe:
        """The recipe with one value replaced, e.g. ``override("stages.0.epochs", "5")``.

        Without an index, ``stages.epochs`` means every stage. ``text`` is JSON or a bare word.

        Raises
        ------
        InvalidInput
            If there is no such field or the value has another type; the message lists the fields.
        """
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        replaced: Recipe = _replace(Recipe, self, path.split("."), value, path)
        return replaced


def _replace(kind: Any, node: Any, parts: list[str], value: Any, path: str) -> Any:
    """``node``, of type ``kind``, with the field at ``parts`` replaced."""
    if not parts:
        return _build(kind, value, path)
    head, *rest = parts
    if isinstance(node, tuple):
        kinds = _item_kinds(kind, len(node))
        if not head.isdecimal():
            return tuple(_replace(k, item, parts, value, path) for k, item in zip(kinds, node, strict=True))
        if int(head) < len(node):
            at = int(head)
            return (*node[:at], _replace(kinds[at], node[at], rest, value, path), *node[at + 1 :])
    hints = typing.get_type_hints(type(node)) if dataclasses.is_dataclass(node) else {}
    if head not in hints:
        known = ", ".join(hints) or (f"0 to {len(node) - 1}" if isinstance(node, tuple) else "no further fields")
        raise InvalidInput(f"expected a field of the recipe, got {path!r}: {head!r} is none of {known}")
    return dataclasses.replace(node, **{head: _replace(hints[head], getattr(node, head), rest, value, path)})


def from_json(text: str) -> Recipe:
    """Inverse of :meth:`Recipe.to_json`; InvalidInput for anything else."""
    try:
        recipe: Recipe = _build(Recipe, json.loads(text), "a recipe")
    except ValueError as error:
        raise InvalidInput(f"expected a recipe as JSON, got {text[:60]!r}: {error}") from error
    return recipe


def _build(kind: Any, value: Any, path: str) -> Any:
    """``value``, parsed JSON, as a ``kind``: one of the dataclasses above, a tuple or a plain type."""
    if dataclasses.is_dataclass(kind):
        return _build_record(kind, value, path)
    if typing.get_origin(kind) is tuple:
        length = 0 if typing.get_args(kind)[-1] is Ellipsis else len(typing.get_args(kind))
        if not isinstance(value, list) or (length and len(value) != length):
            raise InvalidInput(f"expected a list{f' of {length}' if length else ''} for {path}, got {value!r}")
        return tuple(_build(k, item, path) for k, item in zip(_item_kinds(kind, len(value)), value, strict=True))
    if kind is float and type(value) is int:
        return float(value)
    if kind is not Any and type(value) is not kind:
        raise InvalidInput(f"expected a {kind.__name__} for {path}, got {value!r}")
    return value


def _build_record(kind: Any, value: Any, path: str) -> Any:
    hints = typing.get_type_hints(kind)
    required = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
    if not isinstance(value, dict):
        raise InvalidInput(f"expected a {kind.__name__} for {path}, got {value!r}")
    if odd := sorted((set(value) - set(hints)) | (required - set(value))):
        raise InvalidInput(f"expected {', '.join(hints)} for {path}; {odd[0]!r} is unknown or missing")
    return kind(**{name: _build(hints[name], item, name) for name, item in value.items()})


def _item_kinds(kind: Any, count: int) -> tuple[Any, ...]:
    kinds = typing.get_args(kind)
    return kinds[:1] * count if kinds[-1] is Ellipsis else kinds
