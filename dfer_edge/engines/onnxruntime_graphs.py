"""CUDA graphs of ONNX Runtime's CUDA provider: one for each power of two of rows. Built, not yet run on hardware.

A graph is captured in the first call of its number of rows, on memory that is bound to it for good; later calls copy
their rows there, launch it and copy the output back. Its number tells ONNX Runtime which graph a call means.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dfer_edge.engines.base import Feed, FloatArray

GRAPHS = "enable_cuda_graph"
"""Option of the provider."""
# Each graph keeps the activations of its batch size, and none can be given back: what a stream of a few people needs.
_MOST_ROWS = 8
_NO_GRAPH = -1


class ReplayedSession:
    """A session made with :data:`GRAPHS`; calls of more rows than graphs are kept for run without one."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._bound: dict[int, _Bound] = {}

    def __call__(self, feed: Feed) -> FloatArray:
        """The output for rows that do not see each other, an array of the caller's own."""
        rows = len(next(iter(feed.values())))
        if rows > _MOST_ROWS:
            output: FloatArray = self._session.run(None, feed, _numbered(_NO_GRAPH))[0]
            return output
        padded = 1 << (rows - 1).bit_length()
        if padded not in self._bound:
            self._bound[padded] = _Bound(self._session, feed, padded)
        return self._bound[padded](feed, rows)


class _Bound:
    """The memory of one graph on the device, and of what goes up on the host."""

    def __init__(self, session: Any, feed: Feed, rows: int) -> None:
        import onnxruntime

        make = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        self._session, self._options, self._binding = session, _numbered(rows), session.io_binding()
        self._staging = {name: np.zeros((rows, *value.shape[1:]), value.dtype) for name, value in feed.items()}
        self._inputs = {name: make(list(value.shape), value.dtype, "cuda", 0) for name, value in self._staging.items()}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        (declared,) = session.get_outputs()
        # The one axis without a number is that of the rows.
        shape = [size if isinstance(size, int) else rows for size in declared.shape]
        self._output = make(shape, np.float32, "cuda", 0)
        self._binding.bind_ortvalue_output(declared.name, self._output)

    def __call__(self, feed: Feed, rows: int) -> FloatArray:
        for name, value in feed.items():
            self._staging[name][:rows] = value
            self._inputs[name].update_inplace(self._staging[name])
        self._binding.synchronize_inputs()
        self._session.run_with_iobinding(self._binding, self._options)
        self._binding.synchronize_outputs()
        return np.array(self._output.numpy()[:rows], np.float32)


def _numbered(graph: int) -> Any:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options
