"""Training of the shipped landmark network on renders alone: ``python -m dfer_edge.training.landmarks``."""
