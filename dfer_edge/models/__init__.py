"""Networks: ``create_model`` gives the training form, ``simplify`` the exact inference form.

Torch is imported on use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dfer_edge import labels
from dfer_edge.errors import EngineUnavailable, InvalidInput
from dfer_edge.inference import registry
from dfer_edge.inference.registry import list_models

if TYPE_CHECKING:
    from torch import nn

    from dfer_edge.inference.base import Form
    from dfer_edge.models.simplified import Simplified

__all__ = ["create_model", "list_models", "simplify"]


def require_torch(purpose: str) -> None:
    """Raises :class:`EngineUnavailable` with the way out if torch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        message = f"{purpose} needs torch, which is not installed"
        raise EngineUnavailable(message, 'pip install "dfer-edge[torch]"') from error


def create_model(
    name: str, num_classes: int | None = None, class_names: Sequence[str] | None = None, **options: Any
) -> nn.Module:
    """A network in training form, with fresh weights drawn from torch's generator.

    Parameters
    ----------
    name
        One of :func:`list_models`.
    num_classes
        Size of the last layer; the paper's label set if None.
    class_names
        Names in the order of the logits, e.g. :data:`dfer_edge.labels.MAFW`; other counts than the paper's are
        numbered if None.
    options
        Of the network, see its class; architecture options override the defaults of its spec.

    Returns
    -------
    A module with ``forward_features`` and ``forward`` as in timm, and its ``spec``.

    Raises
    ------
    InvalidInput
        For an unknown name or class count.
    EngineUnavailable
        If torch is not installed.
    """
    entry = registry.find(name)
    require_torch("creating a network")
    spec = entry.spec
    if num_classes is not None and (type(num_classes) is not int or num_classes < 2):
        raise InvalidInput(f"expected num_classes of at least 2, got {num_classes!r}")
    if class_names is not None:
        if len(set(class_names)) != len(class_names) or num_classes not in (None, len(class_names)):
            raise InvalidInput(f"expected {num_classes or 'distinct'} class names, got {list(class_names)}")
        spec = spec.with_labels(tuple(class_names))
    elif num_classes not in (None, spec.num_classes):
        spec = spec.with_labels(labels.numbered(num_classes or 0))
    architecture = {key: options.pop(key) for key in list(options) if key in spec.options}
    module: nn.Module = entry.training().create(spec.with_options(**architecture), **options)
    return module


def simplify(module: nn.Module, form: Form = "3d") -> Simplified:
    """The exact inference form of ``module``, same call signature; see :mod:`dfer_edge.models.simplified`."""
    from dfer_edge.models.simplified import simplify as run

    return run(module, form)
