"""What each kind of gate has for weights: names as in the networks (below ``gates.<stage>.``), in order, with shapes.

C channels, R (and Q) hidden units, M hidden planes.
"""

from __future__ import annotations

from collections.abc import Mapping

from dfer_edge.errors import InvalidInput
from dfer_edge.kernels import arrays
from dfer_edge.kernels.arrays import Array

Shape = tuple[int | str, ...]


def _mlp(name: str, hidden: str) -> dict[str, Shape]:
    return {
        f"{name}.fc1.weight": (hidden, "C"),
        f"{name}.fc1.bias": (hidden,),
        f"{name}.fc2.weight": ("C", hidden),
        f"{name}.fc2.bias": ("C",),
    }


SHAPES: dict[str, dict[str, Shape]] = {
    "agfer": {
        **_mlp("channel", "R"),
        "spatial1.weight": ("M", 1, 3, 3),
        "spatial1.bias": ("M",),
        "spatial2.weight": (1, "M", 3, 3),
        "spatial2.bias": (1,),
    },
    "se": _mlp("channel", "R"),
    "cbam": {
        **_mlp("average", "R"),
        **_mlp("maximum", "Q"),
        "spatial.weight": (1, 2, 7, 7),
        "spatial.bias": (1,),
    },
}
KINDS = tuple(SHAPES)


def ordered(kind: str, weights: Mapping[str, Array], x: Array) -> list[Array]:
    """The weights in the order of :data:`SHAPES`, contiguous, checked against each other and x [N, C, H, W].

    Raises
    ------
    InvalidInput
        For an unknown kind, a missing or unknown name, or a wrong dtype or shape.
    """
    if kind not in SHAPES:
        raise InvalidInput(f"expected a gate of {', '.join(KINDS)}, got {kind!r}")
    shapes = SHAPES[kind]
    if not isinstance(weights, Mapping):
        raise InvalidInput(f"expected weights by name, {', '.join(shapes)}, got {type(weights).__name__}")
    if missing := sorted(set(shapes) - set(weights)):
        raise InvalidInput(f"expected weights {', '.join(shapes)}; {missing[0]} is missing")
    if unknown := sorted(set(weights) - set(shapes)):
        raise InvalidInput(f"expected weights {', '.join(shapes)}; got {unknown[0]}")
    sizes: dict[int | str, int] = {"C": x.shape[1]}
    for name, shape in shapes.items():
        text = str(list(shape)).replace("'", "")
        arrays.require(name, weights[name], (arrays.dtype_name(x),), text, (len(shape),))
        for size, symbol in zip(weights[name].shape, shape, strict=True):
            expected = symbol if isinstance(symbol, int) else sizes.setdefault(symbol, size)
            if size != expected or not size:
                raise InvalidInput(f"expected {name} {text} with {_sizes(sizes)}, got {list(weights[name].shape)}")
    arrays.require_together({"x": x, **weights})
    return [arrays.contiguous(weights[name]) for name in shapes]


def _sizes(sizes: Mapping[int | str, int]) -> str:
    return ", ".join(f"{symbol} = {size}" for symbol, size in sizes.items())
