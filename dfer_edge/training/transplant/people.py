"""The four networks as the transplant leaves them: 112 pixels, colour, one crop, clips that look away from neutral."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.models import create_model
from dfer_edge.models.keypoint import KeypointTSA
from dfer_edge.models.r2plus1d import R2Plus1D
from dfer_edge.models.slowr50 import SlowR50
from dfer_edge.spec import ModelSpec
from dfer_edge.training.transplant.clips import away_from_neutral
from dfer_edge.training.transplant.images import ImageSlowR50
from dfer_edge.training.transplant.r2plus1d import ImageR2Plus1D
from dfer_edge.training.transplant.resnet18 import LAST_STRIDES
from dfer_edge.training.transplant.teacher import MEAN, SIZE, WIDTHS

# The crop is this many s wide (dfer_edge.faces.aligned), in the middle of boxes 2.8 s high.
SIDE = 2.4
_BOX_HEIGHT = 2.8
APEX = 0.7
"""How much a frame counts for less the more neutral it is; 0 is the mean over time."""


def _spec(spec: ModelSpec, sampling: str = "apex") -> ModelSpec:
    red, green, blue = (round(value / 255, 6) for value in MEAN)
    return dataclasses.replace(
        spec,
        size=SIZE,
        mean=(red, green, blue),
        std=(1.0, 1.0, 1.0),
        face_margin=round(SIDE / _BOX_HEIGHT, 4),
        face_box="landmarks",
        sampling=sampling,
    )


def slowr50(name: str) -> SlowR50:
    """A SlowR50 or SlowR50-SA that pools frames at the apex."""
    network = create_model(name, pooling="apex", centre_taps=True).eval()
    if not isinstance(network, SlowR50):
        raise InvalidInput(f"expected slowr50_sa or slowr50, got {name}")
    network.spec = _spec(network.spec)
    return network


def r2plus1d() -> R2Plus1D:
    """An R(2+1)D-18-STA whose attention over time weighs whole frames."""
    network = create_model("r2plus1d_sta", att_share=True).eval()
    if not isinstance(network, R2Plus1D):
        raise InvalidInput(f"expected an R2Plus1D, got {type(network).__name__}")
    # It hears four of its sixteen frames: where a stretch's apex lies would be drawn by lot.
    network.spec = _spec(network.spec, "uniform")
    return network


def keypoint() -> KeypointTSA:
    """A keypoint_tsa with 7 x 7 maps, whose nodes are means weighted by the heat maps."""
    network = create_model("keypoint_tsa", last_strides=LAST_STRIDES, norm_heat=True).eval()
    if not isinstance(network, KeypointTSA):
        raise InvalidInput(f"expected a KeypointTSA, got {type(network).__name__}")
    network.spec = _spec(network.spec)
    return network


@torch.no_grad()
def soften(classifier: nn.Linear, temperature: float) -> None:
    """Divide its logits, in the weights: confidence then means what it says in every engine."""
    classifier.weight.div_(temperature)
    classifier.bias.div_(temperature)


@torch.no_grad()
def finish_slowr50(images: ImageSlowR50, classifier: nn.Linear, name: str, apex: float = APEX) -> SlowR50:
    """The network ``name`` with a fitted classifier of 256 features."""
    network = slowr50(name)
    width, kinds = WIDTHS[-1], network.spec.num_classes
    images.classifier.weight.zero_()
    images.classifier.weight[:, :width] = classifier.weight
    images.classifier.bias.copy_(classifier.bias)
    images.write(network, width)
    network.apex.weight.copy_(away_from_neutral(kinds, network.spec.labels.index("neutral"), apex)[None])
    return network


@torch.no_grad()
def finish_r2plus1d(images: ImageR2Plus1D, classifier: nn.Linear, apex: float = APEX) -> R2Plus1D:
    """The network with a fitted classifier of 256 features."""
    network = r2plus1d()
    images.classifier.load_state_dict(classifier.state_dict())
    images.write(network, apex)
    return network
