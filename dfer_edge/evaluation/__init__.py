"""Evaluation: how right a network is, by engine and precision, with where the numbers come from.

``evaluate(Plan(...))`` runs labelled clips or stills through the real flow, ``write_report`` writes JSON, figures and a
page; :mod:`dfer_edge.metrics` has the metrics, :mod:`~dfer_edge.evaluation.timeline` labels over time,
:mod:`~dfer_edge.evaluation.card` model cards. Figures need matplotlib (extra ``evaluate``); looking inside needs torch.
"""

from dfer_edge.evaluation.jitter import Jitter
from dfer_edge.evaluation.plan import Evaluation, Plan, evaluate
from dfer_edge.evaluation.report import write_report

__all__ = ["Evaluation", "Jitter", "Plan", "evaluate", "write_report"]
