"""The bench: how fast, how accurate and at what energy, on this machine; every number with where it comes from.

:mod:`~dfer_edge.bench.plan` says what a run measures, :mod:`~dfer_edge.bench.suite` runs :mod:`~dfer_edge.bench.cases`
with the means of :mod:`~dfer_edge.bench.measure`, :mod:`~dfer_edge.bench.report` shows and compares what comes out,
:mod:`~dfer_edge.bench.claims` holds the papers' numbers against ours. A case is checked for
correctness before it is timed; what cannot run here is a row that says why.
"""
