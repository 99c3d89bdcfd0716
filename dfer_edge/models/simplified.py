"""`simplify`: the exact inference form of a network as a torch module."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.flow.streaming import StreamingState
from dfer_edge.inference import registry
from dfer_edge.inference.base import Form
from dfer_edge.inference.folding import Array
from dfer_edge.inference.parts import Part, build, check_feed, input_shapes, output_name, record
from dfer_edge.inference.torch_graph import TorchGraph
from dfer_edge.inference.torch_winograd import WINOGRAD, Winograd
from dfer_edge.spec import ModelSpec


class Simplified(nn.Module):
    """Inference form: folded weights, same call signature and logits as the training form.

    Parameters
    ----------
    spec
        The network.
    weights
        Folded weights by name, 3-D layout.
    form
        How clip convolutions are written; all forms are equal to rounding.
    part
        What of the network ``forward`` runs; a part reads only its own weights.
    kernels
        Fused kernels to run in the place of operations: see :mod:`dfer_edge.inference.torch_kernels`.
    """

    weights_sha256 = ""  # Weights in memory have no file to tell apart.

    def __init__(
        self,
        spec: ModelSpec,
        weights: dict[str, torch.Tensor],
        form: Form = "3d",
        part: Part = "whole",
        kernels: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.spec, self.form, self.part, self.kernels = spec, form, part, kernels
        self.input_shapes = input_shapes(spec, part)
        # Parameter names of torch cannot hold dots; the list keeps the real ones.
        self._names = list(weights)
        self._constants: dict[object, torch.Tensor] = {}
        self._winograd = Winograd() if WINOGRAD in kernels else None
        self.values = nn.ParameterList([nn.Parameter(value, requires_grad=False) for value in weights.values()])

    def named_weights(self) -> dict[str, torch.Tensor]:
        """Folded weights by their names in the inference form."""
        return dict(zip(self._names, self.values, strict=True))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Logits [B, K]; inputs as in the training form. For parts see :mod:`dfer_edge.inference.parts`."""
        graph = TorchGraph(self.named_weights(), self.form, self._constants, self.kernels, self._winograd)
        return build(graph, inputs, self.spec, self.part)

    def infer(self, feed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """As :meth:`dfer_edge.engines.base.Engine.infer`, on tensors of the weights' dtype and device, no gradients.

        Raises
        ------
        InvalidInput
            For a missing or unknown name, another shape or dtype.
        """
        check_feed(feed, self.input_shapes, dict.fromkeys(self.input_shapes, self.values[0].dtype))
        with torch.no_grad():
            return {output_name(self.part): self(*(feed[name] for name in self.input_shapes))}

    def restricted_to(self, part: Part) -> Simplified:
        """A part of the network on the same weights, shared with this module.

        Raises
        ------
        InvalidInput
            If the network cannot be cut; the message says why.
        """
        mine = self.named_weights()
        weights = {name: mine[name] for name in record(self.spec, self.form, part)[0].weights}
        return Simplified(self.spec, weights, self.form, part).train(self.training)

    def streaming_state(self) -> StreamingState:
        """An empty sliding window on this module's weights; takes and returns tensors.

        Raises
        ------
        InvalidInput
            If the network cannot be cut; the message says why.
        """
        return StreamingState(self.restricted_to("features"), self.restricted_to("head"))


def spec_of(module: nn.Module) -> ModelSpec:
    """The spec that :func:`dfer_edge.models.create_model` put on a network; InvalidInput if there is none."""
    spec = getattr(module, "spec", None)
    if not isinstance(spec, ModelSpec):
        raise InvalidInput(f"expected a network made by dfer_edge.models.create_model, got {type(module).__name__}")
    return spec


def state_arrays(module: nn.Module) -> dict[str, Array]:
    """A module's state as numpy arrays, without copies where the dtype allows."""
    state = {key: value.detach().cpu() for key, value in module.state_dict().items()}
    # numpy has no bfloat16.
    return {key: (value.float() if value.dtype in _NARROW else value).numpy() for key, value in state.items()}


_NARROW = (torch.bfloat16, torch.float16)


def simplify(module: nn.Module, form: Form = "3d") -> Simplified:
    """The exact inference form of a training-form network.

    Folds in float64 and rounds once to the module's dtype. What is folded is listed in the network's module under
    :mod:`dfer_edge.inference`.

    Raises
    ------
    InvalidInput
        If ``module`` was not made by :func:`dfer_edge.models.create_model`.
    """
    if isinstance(module, Simplified):
        return module
    spec = spec_of(module)
    example = next(module.parameters())
    folded = registry.find(spec.name).inference().fold(state_arrays(module), spec)
    weights = {name: torch.from_numpy(np.asarray(value)).to(example) for name, value in folded.items()}
    return Simplified(spec, weights, form).train(False)
