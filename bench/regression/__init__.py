"""Speed regressions of kernels and stages by ratio, never by absolute time: `make bench`."""
