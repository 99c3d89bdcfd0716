"""INT8 calibration in named stages, a file each: data, ranges, placement, Q/DQ, report."""
