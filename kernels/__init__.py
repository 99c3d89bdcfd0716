"""Operations of the hot path, a folder each: a public function, its reference and its backends.

Importing is cheap: no torch, no triton, no native module until a call needs one.
"""

from dfer_edge.kernels.attention_gate import attention_gate
from dfer_edge.kernels.clip_to_tensor import clip_to_tensor
from dfer_edge.kernels.dispatch import backends, use_backend, use_threads
from dfer_edge.kernels.landmark_pool import landmark_pool
from dfer_edge.kernels.lbp import lbp, lbp_clip
from dfer_edge.kernels.token_attention import token_attention

__all__ = [
    "attention_gate",
    "backends",
    "clip_to_tensor",
    "landmark_pool",
    "lbp",
    "lbp_clip",
    "token_attention",
    "use_backend",
    "use_threads",
]
