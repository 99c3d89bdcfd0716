"""The flow: one module a step between sources and engine, and between engine and results; no step knows the next.

:mod:`~dfer_edge.flow.clips` (which frames) -> :mod:`~dfer_edge.flow.preprocess` (which pixels) -> the engine, or
:mod:`~dfer_edge.flow.streaming` (windows at the cost of their new frames) -> :mod:`~dfer_edge.flow.postprocess`
(logits to a prediction) -> :mod:`~dfer_edge.flow.summary` (windows to a timeline). :mod:`~dfer_edge.flow.pipeline`
composes the steps up to the engine and alone knows their order. :mod:`~dfer_edge.flow.call_checks` checks what callers
give.
"""
