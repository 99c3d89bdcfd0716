"""The table of networks: names, default specs and where their code is. Imports no torch."""

from __future__ import annotations

import dataclasses
import importlib
from types import ModuleType
from typing import Literal

from dfer_edge import labels
from dfer_edge.errors import InvalidInput
from dfer_edge.spec import ModelSpec, Option


@dataclasses.dataclass(frozen=True)
class Entry:
    """One network.

    Attributes
    ----------
    spec
        Default input description and labels.
    family
        Module name under :mod:`dfer_edge.models` (training form, torch) and under
        :mod:`dfer_edge.inference` (inference form, no torch).
    paper
        Source, as in the documentation's table.
    frames_per_step
        Frames whose features depend on no other frame, so that overlapping windows share them
        (:mod:`dfer_edge.inference.parts`); 0 if there are none.
    no_steps
        Why there are none.
    """

    spec: ModelSpec
    family: str
    paper: str
    frames_per_step: int = 0
    no_steps: str = ""

    @property
    def simplifications(self) -> str:
        """What the inference form folds, in words."""
        return str(self.inference().SIMPLIFICATIONS)

    def inference(self) -> ModuleType:
        """Module with ``fold(state, spec)`` and ``build(graph, inputs, spec)``."""
        return importlib.import_module(f"dfer_edge.inference.{self.family}")

    def training(self) -> ModuleType:
        """Module with ``create(spec)``; needs torch."""
        return importlib.import_module(f"dfer_edge.models.{self.family}")


ModelName = Literal[
    "slowr50_sa", "slowr50", "smate", "agfer", "sefer", "cbamfer", "vgg16_fer", "keypoint_tsa", "r2plus1d_sta"
]

_SLOWR50_PAPER = "Neshov et al., Electronics 2024, 13, 1606"


def _slowr50(name: str, **options: Option) -> Entry:
    spec = ModelSpec(
        name=name,
        labels=labels.DFEW,
        frames=8,
        size=196,
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
        options=options,
    )
    return Entry(spec, "slowr50", _SLOWR50_PAPER, frames_per_step=1)


_SMATE = ModelSpec(
    name="smate",
    # The paper trains on CK+ and on AFEW; AFEW's set has the neutral face that a stream mostly shows.
    labels=labels.AFEW,
    frames=25,
    size=224,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    options={
        "spatial_depth": 12,
        "temporal_depth": 12,
        "tpe_mode": "add",
        "tpe_form": "v2",
        "alpha": 1.0,
        "tpe_length": 0,
    },
)

_VGG_PAPER = "Arabian et al., Appl. Sci. 2023, 13, 10179"


def _vgg(name: str, **options: Option) -> Entry:
    spec = ModelSpec(
        name=name,
        labels=labels.AFEW,
        frames=8,
        size=224,
        # The paper says "zero-centred" only: levels of 0 to 255 less their mean, which is what MATLAB's option of that
        # name does. Scaled to deviation 1, 57 times smaller, the printed rate moves nothing. The means are ImageNet's,
        # which depend on no face data set.
        mean=(0.485, 0.456, 0.406),
        std=(1 / 255, 1 / 255, 1 / 255),
        input="image",
        options={**options, "keep_pool5": False},
    )
    return Entry(spec, "vgg", _VGG_PAPER, no_steps="it scores single images, and a stream keeps the scores")


_KEYPOINT = Entry(
    ModelSpec(
        name="keypoint_tsa",
        labels=labels.DFEW,
        frames=16,
        size=112,
        # Not in the paper: those of the ImageNet backbone that it starts from.
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        landmarks=68,
        options={
            "last_strides": (1, 1),
            "sigma_fraction": 0.1,
            "norm_heat": False,
            "self_loop": False,
            "node_scale": "row",
            "shared_fc": True,
            "mlp_width": 1024,
            "final_norm": False,
        },
    ),
    "keypoint",
    "Huang et al., Engineering Applications of Artificial Intelligence 2024, 108535",
    frames_per_step=1,
)

_R2PLUS1D = ModelSpec(
    name="r2plus1d_sta",
    labels=labels.DFEW,
    frames=16,
    size=112,
    # Of torchvision's Kinetics-400 weights, which the trunk starts from; the paper prints none.
    mean=(0.43216, 0.394666, 0.37645),
    std=(0.22803, 0.22145, 0.216989),
    options={"att_share": False, "att_scale": False, "classifier_input": "pooled"},
)
_R2PLUS1D_PAPER = "Singh et al., 3D-CNN deep features discrimination, doi 10.5281/zenodo.777609"
_R2PLUS1D_NO_STEPS = "it convolves over time from the stem on, so every feature depends on neighbouring frames"

_ENTRIES = {
    "slowr50_sa": _slowr50("slowr50_sa", attention_heads=4),
    "slowr50": _slowr50("slowr50", attention_heads=0),
    "smate": Entry(_SMATE, "smate", "Kim, Cho, Bae, Sensors 2022, 22, 5753", frames_per_step=2),
    "agfer": _vgg("agfer", gate="ag", reduction=2, spatial_channels=8),
    "sefer": _vgg("sefer", gate="se", reduction=2),
    "cbamfer": _vgg("cbamfer", gate="cbam", reduction=2),
    "vgg16_fer": _vgg("vgg16_fer", gate="none"),
    "keypoint_tsa": _KEYPOINT,
    "r2plus1d_sta": Entry(_R2PLUS1D, "r2plus1d", _R2PLUS1D_PAPER, no_steps=_R2PLUS1D_NO_STEPS),
}


# Of the networks with default weights the one that is right most often on real people (README), which also costs least
# a frame: on every device the answer is the same, until another one leads on one of the two.
RECOMMENDED: ModelName = "slowr50_sa"


def list_models() -> list[str]:
    """Names that :class:`dfer_edge.Recognizer` and :func:`dfer_edge.models.create_model` take."""
    return list(_ENTRIES)


def resolve(name: str) -> str:
    """``name``, or the recommended network for ``"auto"``."""
    return RECOMMENDED if name == "auto" else name


def find(name: str) -> Entry:
    """The entry of a network.

    Raises
    ------
    InvalidInput
        If no network has that name; the message lists those that exist.
    """
    if name not in _ENTRIES:
        raise InvalidInput(f"expected a model name out of {', '.join(_ENTRIES)}; got {name!r}")
    return _ENTRIES[name]
