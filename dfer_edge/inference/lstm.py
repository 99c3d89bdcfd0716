"""An LSTM of one layer, unrolled over its few steps: for the ablations that put one in place of something else."""

from __future__ import annotations

from collections.abc import Mapping

from dfer_edge.inference.base import Graph, T
from dfer_edge.inference.folding import Array, take


def fold_lstm(state: Mapping[str, Array], name: str) -> dict[str, Array]:
    """Weights of torch's ``nn.LSTM`` in float64; its two biases are added, which act together alone."""
    return {
        f"{name}.input.weight": take(state, f"{name}.weight_ih_l0"),
        f"{name}.input.bias": take(state, f"{name}.bias_ih_l0") + take(state, f"{name}.bias_hh_l0"),
        f"{name}.state.weight": take(state, f"{name}.weight_hh_l0"),
    }


def last_state(graph: Graph[T], x: T, name: str, width: int) -> T:
    """The hidden state [B, width] after the last of the steps x [B, L, C]; both states start at 0."""
    length, channels = graph.shape(x)[1:]
    weight = graph.weight(f"{name}.input.weight", (4 * width, channels))
    read = graph.linear(x, weight, graph.weight(f"{name}.input.bias", (4 * width,), 0.02))
    recurrent = graph.weight(f"{name}.state.weight", (4 * width, width))
    hidden: T | None = None
    cell: T | None = None
    for step in range(length):
        gates = graph.reshape(graph.slice(read, 1, step, step + 1), (-1, 4 * width))
        if hidden is not None:
            gates = graph.add(gates, graph.linear(hidden, recurrent, None))
        # In torch's order: input, forget, cell, output.
        opened, kept, new, shown = (graph.slice(gates, 1, part * width, (part + 1) * width) for part in range(4))
        drawn = graph.mul(graph.activate(opened, "sigmoid"), graph.activate(new, "tanh"))
        cell = drawn if cell is None else graph.add(drawn, graph.mul(graph.activate(kept, "sigmoid"), cell))
        hidden = graph.mul(graph.activate(shown, "sigmoid"), graph.activate(cell, "tanh"))
    assert hidden is not None  # noqa: S101 - a window has frames
    return hidden
