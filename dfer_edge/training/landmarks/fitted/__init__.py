"""The shipped landmark network, its heads fitted on renders: ``python -m dfer_edge.training.landmarks.fitted``."""
