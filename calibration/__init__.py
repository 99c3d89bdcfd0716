"""INT8: from real clips to a quantised network with its accuracy, in named stages.

:mod:`~dfer_edge.calibration.data` (clips) -> :mod:`~dfer_edge.calibration.ranges` (thresholds) ->
:mod:`~dfer_edge.calibration.placement` (what is int8, and why not) -> :mod:`~dfer_edge.calibration.qdq` (the file) ->
:mod:`~dfer_edge.calibration.report` (what it cost). :mod:`~dfer_edge.calibration.sensitivity` finds the layers that
should stay float.
"""

from dfer_edge.calibration.bias import correct_bias
from dfer_edge.calibration.clip_set import ClipSet
from dfer_edge.calibration.data import from_folder
from dfer_edge.calibration.qdq import quantize
from dfer_edge.calibration.ranges import calibrate
from dfer_edge.calibration.sensitivity import sensitivity
from dfer_edge.calibration.table import RangeTable

__all__ = ["ClipSet", "RangeTable", "calibrate", "correct_bias", "from_folder", "quantize", "sensitivity"]
