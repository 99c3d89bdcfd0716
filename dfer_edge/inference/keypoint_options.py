"""Options of `keypoint_tsa`: the points that its paper leaves open, each with a default and the reason for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from dfer_edge.errors import InvalidInput
from dfer_edge.spec import ModelSpec


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_width(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_fraction(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def _is_strides(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(step in (1, 2) for step in value)


def _is_scale(value: Any) -> bool:
    return value in ("row", "column")


FUSIONS = ("structure", "mean", "lstm", "none")
TEMPORALS = ("attention", "mean", "lstm")


@dataclasses.dataclass(frozen=True)
class Options:
    """Architecture options, kept in ``spec.options``; the defaults are in :mod:`dfer_edge.inference.registry`.

    Attributes
    ----------
    last_strides
        Strides of layer3 and layer4. Default (1, 1): "the stride of the last two convolution layers" is read as both
        stages, which keeps a 14 x 14 map; (2, 1) gives 7 x 7, (2, 2) the usual 4 x 4.
    sigma_fraction
        Standard deviation of the Gaussians as a fraction of the map's side. Default 0.1 (1.4 cells of 14), about the
        size of an eye; the paper gives neither sigma, amplitude nor grid. Amplitude is 1, and the centre of a landmark
        x is (x + 0.5) * side / size - 0.5 cells, so that flips of image and landmarks agree.
    norm_heat
        Divide a pooled node by the sum of its heat map instead of by the number of cells. Default False, the literal
        reading of the pooling g; local vectors then have about 6 % of the scale of the global one.
    self_loop
        Give the adjacency a diagonal. Default False: "+ V" in the graph convolution plays that part.
    node_scale
        How w (18 x 1) scales the adjacency: ``"row"`` (default, the broadcast of the printed product: a node weighs
        what it hears) or ``"column"`` (a node weighs what it says).
    shared_fc
        One 512 -> 128 layer for nodes and global vector. Default True ("similar to the concatenation ... reduced from
        512 to 128"); False gives the global vector its own.
    mlp_width
        Hidden width of the temporal MLPs. Default 1024: depth 3, 8 heads and width 512 are those of the temporal part
        of Former-DFER, whose MLP is 1024. The total is then 17,824,762 (printed: 17 M); 512 gives 16.25 M.
    final_norm
        Layer norm before the classifiers. Default False: Eq. 6-11 have none.
    fusion
        What the vector of a frame is made of, 512 wide in any case. ``"structure"``: means of the three regions and the
        whole face, as printed. ``"mean"``, ``"lstm"``: the mean of all region nodes, or the last state of an LSTM over
        them, and the whole face, 256 each (Table 10; widths are ours). ``"none"``: the whole face alone, without graph
        (models A and D of Table 9).
    temporal
        ``"attention"``; ``"mean"`` over frames (models A, B); ``"lstm"``, the last state of one of width 512 (model C).
    heads, depth
        Of the attention; heads are 64 wide whatever their number, as 6, 10 and 12 of Table 11 do not divide 512.
    kept_fc
        The whole face goes through the backbone's own 512 -> 1000 layer first ("keep the average pooling layer and
        fully connected layer"), which starts from ImageNet's. Default False: the parameter count prints alike.

    The last five came later and are absent from a spec that does not ask for them.
    """

    last_strides: tuple[int, int]
    sigma_fraction: float
    norm_heat: bool
    self_loop: bool
    node_scale: str
    shared_fc: bool
    mlp_width: int
    final_norm: bool
    fusion: str = "structure"
    temporal: str = "attention"
    heads: int = 8
    depth: int = 3
    kept_fc: bool = False

    @property
    def node_width(self) -> int:
        """Of the graph's output: as many parts are concatenated to 512."""
        return 128 if self.fusion == "structure" else 256

    @property
    def own_fc(self) -> bool:
        """Whether the whole face has a layer of its own."""
        return not self.shared_fc or self.kept_fc

    @classmethod
    def of(cls, spec: ModelSpec) -> Options:
        """The checked options of ``spec``.

        Raises
        ------
        InvalidInput
            If one is missing, unknown or out of its range.
        """
        if set(_RULES) - set(spec.options) or set(spec.options) - set(_RULES) - set(_LATER):
            raise InvalidInput(f"expected the options {', '.join(_RULES)}; got {', '.join(spec.options)}")
        for name, value in spec.options.items():
            accepts, wanted = (_RULES | _LATER)[name]
            if not accepts(value):
                raise InvalidInput(f"expected {name} to be {wanted}, got {value!r}")
        return cls(**dict(spec.options))  # type: ignore[arg-type]


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "last_strides": (_is_strides, "two strides of 1 or 2"),
    "sigma_fraction": (_is_fraction, "above 0 and at most 1"),
    "norm_heat": (_is_flag, "True or False"),
    "self_loop": (_is_flag, "True or False"),
    "node_scale": (_is_scale, "'row' or 'column'"),
    "shared_fc": (_is_flag, "True or False"),
    "mlp_width": (_is_width, "an integer of at least 1"),
    "final_norm": (_is_flag, "True or False"),
}
_LATER: dict[str, tuple[Callable[[Any], bool], str]] = {
    "fusion": (lambda value: value in FUSIONS, f"one of {', '.join(FUSIONS)}"),
    "temporal": (lambda value: value in TEMPORALS, f"one of {', '.join(TEMPORALS)}"),
    "heads": (_is_width, "an integer of at least 1"),
    "depth": (_is_width, "an integer of at least 1"),
    "kept_fc": (_is_flag, "True or False"),
}
VARIED = tuple(_LATER)
"""Options that a spec need not have."""
