"""Training of the landmark network that follows faces, on renders alone: ``python -m dfer_edge.training.landmarks``."""
