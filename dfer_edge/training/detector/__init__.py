"""Training of the shipped face detector on renders alone: ``python -m dfer_edge.training.detector``."""
