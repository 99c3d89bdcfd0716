"""Operations of the hot path, a folder each: a public function, its reference and its backends."""

from dfer_edge.kernels.clip_to_tensor import clip_to_tensor

__all__ = ["clip_to_tensor"]
