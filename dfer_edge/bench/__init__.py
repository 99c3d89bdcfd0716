"""The bench: how fast, how accurate and at what energy, on this machine; every number with where it comes from.

:mod:`~dfer_edge.bench.suite` runs the cases, :mod:`~dfer_edge.bench.results` is the file that comes out,
:mod:`~dfer_edge.bench.table` and :mod:`~dfer_edge.bench.plots` show it, :mod:`~dfer_edge.bench.compare` holds two of
them against each other, :mod:`~dfer_edge.bench.claims` holds the papers' numbers against ours. A case is checked for
correctness before it is timed; what cannot run here is a row that says why.
"""
