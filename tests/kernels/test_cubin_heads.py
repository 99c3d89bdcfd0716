"""Triton kernels of the heads and gates as machine code: they compile, nothing spills, registers stay in budget."""

from __future__ import annotations

import pytest

from tests.kernels.cubin import CAPABILITIES, compile_kernel
from tests.kernels.test_cubin import assert_lean

pytest.importorskip("triton")
# Each takes seconds: by default Orin and Hopper.
BOARDS = [pytest.param(c, marks=() if c in (87, 90) else pytest.mark.slow) for c in CAPABILITIES]
TYPES = {"*fp16": 2, "*bf16": 2, "*fp32": 4}


@pytest.mark.parametrize("capability", BOARDS)
@pytest.mark.parametrize(
    ("kind", "side", "gated"),
    [
        ("*fp16", 14, True),
        ("*fp32", 14, True),
        pytest.param("*fp16", 14, False, marks=pytest.mark.slow),
        pytest.param("*bf16", 56, True, marks=pytest.mark.slow),
        pytest.param("*fp32", 56, True, marks=pytest.mark.slow),
        pytest.param("*fp16", 7, True, marks=pytest.mark.slow),
    ],
)
def test_landmark_pool(capability: int, kind: str, side: int, gated: bool) -> None:
    from dfer_edge.kernels.landmark_pool.triton_impl import BLOCK_C, BLOCK_J, block_of, pool_kernel

    arrays = ("x_ptr", "over_channels_ptr", "over_height_ptr", "over_width_ptr", "out_ptr")
    signature = dict.fromkeys(arrays, kind) | {"points_ptr": "*fp32", "channels": "i32", "nodes": "i32", "unit": "fp32"}
    rows, columns = block_of(TYPES[kind], side)
    constants = {"HEIGHT": side, "WIDTH": side, "GATED": gated, "NORM_HEAT": False, "ROWS": rows}
    constants |= {"COLUMNS": columns, "BLOCK_C": BLOCK_C, "BLOCK_J": BLOCK_J}
    assert_lean(compile_kernel(pool_kernel, signature, constants, capability), registers=192)


@pytest.mark.parametrize("capability", BOARDS)
@pytest.mark.parametrize("kind", ["*fp16", pytest.param("*fp32", marks=pytest.mark.slow)])
def test_token_attention(capability: int, kind: str) -> None:
    from dfer_edge.kernels.token_attention.triton_impl import BLOCK_D, BLOCK_H, BLOCK_I, WARPS, head_kernel

    arrays = ("x_ptr", "weight_ptr", "bias_ptr", "classifier_ptr", "classifier_bias_ptr", "out_ptr")
    signature = dict.fromkeys(arrays, kind) | {"hidden_ptr": "*fp32", "counter_ptr": "*i32"}
    signature |= dict.fromkeys(("batch", "width", "units", "classes"), "i32")
    constants = {"SOFTMAX": True, "BLOCK_H": BLOCK_H, "BLOCK_D": BLOCK_D, "BLOCK_I": BLOCK_I, "BLOCK_K": 8}
    assert_lean(compile_kernel(head_kernel, signature, constants, capability, WARPS), registers=128)


@pytest.mark.parametrize("capability", BOARDS)
@pytest.mark.parametrize("kind", ["*fp16", pytest.param("*fp32", marks=pytest.mark.slow)])
def test_attention_gate(capability: int, kind: str) -> None:
    from dfer_edge.kernels.attention_gate import KINDS
    from dfer_edge.kernels.attention_gate import triton_impl as gate

    sizes = dict.fromkeys(("channels", "pixels", "height", "width"), "i32")
    floats = dict.fromkeys(("sums_ptr", "maxima_ptr", "planes_ptr", "scale_ptr", "plane_ptr"), "*fp32")
    signature = sizes | floats | {"x_ptr": kind, "out_ptr": kind}
    blocks = {"BLOCK_C": gate.BLOCK_C, "BLOCK_P": gate.BLOCK_P, "BLOCK_Q": gate.BLOCK_Q}
    for kernel, options in (
        *((gate.statistics_kernel, {"MAXIMUM": name == "cbam", "PLANE": name == "agfer"}) for name in KINDS),
        (gate.extremes_kernel, {}),
        (gate.pool_kernel, {"KIND": "agfer"}),
        (gate.gate_kernel, {"KIND": "cbam"}),
    ):
        names = kernel.arg_names
        types = {name: kind for name, kind in signature.items() if name in names}
        constants = {name: value for name, value in (blocks | options).items() if name in names}
        assert_lean(compile_kernel(kernel, types, constants, capability), registers=128)
