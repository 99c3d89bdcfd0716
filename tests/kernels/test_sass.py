"""What the compiler made of the CUDA kernels: loads under way together, instructions an element, no calls in loops.

Counts are of machine code for sm_87, made here without a GPU; they say nothing of time.
"""

from __future__ import annotations

import functools
import re

import pytest

from tests.kernels.sass import Code, codes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

HALF_EIGHT = "6__halfLi8"
# Kernel -> least 16-byte loads before one is used, most calls, elements a thread and most instructions for each.
ATTENTION_GATE = {
    # The middle of a sum per channel: four channels' words at a time.
    rf"gate_statistics_kernelI{HALF_EIGHT}": (4, None, None),
    # Rows of the MLPs' weights, and the channels of CBAM's planes.
    rf"gate_middle_kernelI{HALF_EIGHT}ELb0E": (4, None, None),
    rf"gate_middle_kernelI{HALF_EIGHT}ELb1E": (3, None, None),
    rf"gate_extremes_kernelI{HALF_EIGHT}": (4, None, None),
    # AGFER (0): four channels' words and two of their plane.
    rf"gate_apply_kernelI{HALF_EIGHT}\w*GateKindE0E": (4, 0, (32, 12)),
    rf"gate_apply_kernelI{HALF_EIGHT}\w*GateKindE[12]E": (4, 0, (32, 12)),
    # Two rows of it.
    rf"gate_pool_kernelI{HALF_EIGHT}\w*GateKindE0E": (6, 0, None),
    rf"gate_pool_kernelI{HALF_EIGHT}\w*GateKindE[12]E": (2, 0, None),
}
# Rows of the weights, 16 bytes at a time; the barrier between blocks and the divisions of the softmax are calls.
TOKEN_ATTENTION = {
    r"token_attention_kernelIfLi4E": (4, None, None),
    r"token_attention_kernelI6__halfLi8E": (4, None, None),
    r"token_attention_kernelI13__nv_bfloat16Li8E": (4, None, None),
}
# The tile of a block; of 2-byte types a thread loads 8 bytes at a time.
LANDMARK_POOL = {r"landmark_pool_kernelIfLi4ELb0E": (4, None, None)}
# A thread of the widest form makes 16 pixels of 8 rows, without a loop.
LBP = {
    r"lbp_kernelILi1ELi4ELb0ENS_10LbpToCodes": (1, 0, (128, 12)),
    r"lbp_kernelILi1ELi4ELb1ENS_10LbpToCodes": (1, 0, (128, 12)),
}

TABLES = {
    "attention_gate": ATTENTION_GATE,
    "landmark_pool": LANDMARK_POOL,
    "lbp": LBP,
    "token_attention": TOKEN_ATTENTION,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory):
    return functools.cache(lambda op: codes(op, tmp_path_factory.mktemp(op)))


def matching(found: list[Code], pattern: str) -> list[Code]:
    kept = [code for code in found if re.search(pattern, code.name)]
    assert kept, [code.name for code in found]
    return kept


@pytest.mark.parametrize(
    ("op", "pattern", "bars"),
    [(op, *row) for op, table in TABLES.items() for row in table.items()],
)
def test_straight_kernels(built, op: str, pattern: str, bars: tuple) -> None:
    loads, calls, elements = bars
    for code in matching(built(op), pattern):
        assert code.loads_together >= loads, code
        assert calls is None or code.calls <= calls, code
        if elements is not None:
            assert not code.loops, code
            assert code.instructions <= elements[0] * elements[1], code


def test_clip_to_tensor_sums_a_row_across_once(built) -> None:
    """At 360 -> 196: a thread's 32 outputs are made of 32 * 360 / 196 + 1 rows, of which 32 end one."""
    rows, outputs = 32 * 360 / 196 + 1, 32
    for code in matching(built("clip_to_tensor"), r"crop_kernelILb0ENS_12CropToPlanes"):
        # Of up to twice as many inputs as outputs: the one loop over rows without another within.
        (row,) = [loop for loop in code.loops if loop.count("LDG.E.U8") == 9 and not loop.holds(code.loops)]
        output, column = sorted((loop for loop in code.loops if row in loop.holds([row])), key=lambda loop: loop.size)
        a_pixel = output.size - row.size + row.size * (rows - outputs) / outputs
        # All that is before a column, even what one thread does for its block.
        before = min(loop.begin for loop in code.loops if loop in column.holds(code.loops))
        assert a_pixel + before / outputs <= 120, (code.name, a_pixel, before)
        assert not output.count("CALL")


@pytest.mark.parametrize("op", ["clip_to_tensor", "lbp"])
def test_no_kernel_calls_anything_in_its_innermost_loops(built, op: str) -> None:
    """Divisions of 64 bits and of floats are calls, between which no load is moved.

    Elsewhere warps meet in inner loops, which is a call where a warp has come apart, or a profile is divided once.
    """
    for code in built(op):
        for loop in code.loops:
            assert loop.holds(code.loops) or not loop.count("CALL"), (code.name, loop.begin)
