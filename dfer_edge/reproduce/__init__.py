"""The tables of the five source papers, from one command each: all rows, all folds, printed beside measured."""

from __future__ import annotations

from dfer_edge.reproduce.papers import PAPERS, Row, find_paper
from dfer_edge.reproduce.runs import Job, missing_starts, run

__all__ = ["PAPERS", "Job", "Row", "find_paper", "missing_starts", "run"]
