"""Every CUDA kernel once at small, odd sizes, for compute-sanitizer: see test_sanitizer.py."""

from __future__ import annotations

import dataclasses

import torch

from dfer_edge import kernels
from dfer_edge.inference import registry
from dfer_edge.kernels.attention_gate import KINDS
from dfer_edge.kernels.token_attention import fold
from tests.gpu.test_heads_and_gates import on
from tests.kernels import test_attention_gate as gate
from tests.kernels import test_landmark_pool as pool
from tests.kernels import test_token_attention as token

SPEC = dataclasses.replace(registry.find("slowr50_sa").spec, size=13)


def main() -> None:
    """Values are tested elsewhere: here only that nothing is read or written where it should not be."""
    for shape in ((2, 1, 7), (2, 19, 13), (1, 16, 16), (2, 9, 11, 3)):
        frames = torch.randint(0, 256, shape, dtype=torch.uint8, device="cuda")
        kernels.lbp(frames)
        kernels.lbp_clip(frames, border="zero")
    frames = torch.randint(0, 256, (2, 18, 14, 3), dtype=torch.uint8, device="cuda")
    kernels.clip_to_tensor(frames, [[(-3, -2, 30, 25)] * 2, [(1, 1, 6, 6)] * 2], SPEC, dtype="float16")
    kernels.clip_to_tensor(frames[..., 0].contiguous(), [(2, 3, 40, 41)] * 2, SPEC, pixel_format="nv12")
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for shape in ((2, 70, 14, 14, 18), (1, 5, 7, 3, 45)):
            features, landmarks, gates = (on("cuda", value) for value in pool.example(shape, True, dtype))
            kernels.landmark_pool(features, landmarks, 1.4, gates)
            kernels.landmark_pool(features, landmarks, 1.4, norm_heat=True)
        for shape in ((1, 2048, 64, 64, 7), (9, 67, 5, 13, 11)):
            weights = fold(token.weights_of(shape, dtype))
            kernels.token_attention(on("cuda", token.token_of(shape, dtype)), on("cuda", weights), softmax=True)
        for kind in KINDS:
            for shape in ((2, 35, 8, 12), (1, 5, 7, 5)):
                weights = on("cuda", gate.weights_of(gate.module_of(kind, shape[1]), dtype))
                for pooled in (True, False):
                    kernels.attention_gate(on("cuda", gate.map_of(shape, dtype)), kind, weights, pooled)
    torch.cuda.synchronize()


if __name__ == "__main__":
    with kernels.use_backend("cuda"):
        main()
