"""Triton kernels as machine code for every board: they compile, nothing spills, registers stay in budget."""

from __future__ import annotations

import pytest

from dfer_edge.kernels import affine
from tests.kernels.cubin import CAPABILITIES, compile_kernel

pytest.importorskip("triton")
MAPS = affine.flat((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


# Bytes a block may have on every board without asking for more.
SHARED = 48 << 10


def assert_lean(used: dict[str, int], registers: int) -> None:
    assert used["local"] == 0
    assert used["stack"] == 0
    assert used["reg"] <= registers
    assert used["shared"] <= SHARED


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize(("channels", "clip"), [(1, False), (3, True)])
def test_lbp(capability: int, channels: int, clip: bool) -> None:
    from dfer_edge.kernels.lbp.triton_impl import lbp_kernel

    signature = {"frames": "*u8", "out": "*fp32" if clip else "*u8", "pixels": "i64", "height": "i32", "width": "i32"}
    constants = {
        "WEIGHTS": tuple(1 << k for k in range(8)),
        "MAPS": MAPS,
        "CHANNELS": channels,
        "ZERO_BORDER": not clip,
    }
    constants |= {"CLIP": clip, "BLOCK": 512}
    assert_lean(compile_kernel(lbp_kernel, signature, constants, capability), registers=96)


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize(("nv12", "out"), [(False, "*fp32"), (True, "*fp16")])
def test_clip_to_tensor(capability: int, nv12: bool, out: str) -> None:
    from dfer_edge.kernels.clip_to_tensor.triton_impl import SIZES, crop_kernel

    signature = {"frames": "*u8", "boxes": "*i32", "out": out, "down": "i32", "across": "i32"}
    signature |= {name: "i64" if name.endswith(("stride", "step")) else "i32" for name in SIZES}
    constants = {"NV12": nv12, "MAPS": MAPS, "PLANES": True, "BLOCK": 128}
    assert_lean(compile_kernel(crop_kernel, signature, constants, capability), registers=128)
