"""What the compiler made of the CUDA kernels: loads under way together, no calls where elements are computed.

Counts are of machine code for sm_87, made here without a GPU; they say nothing of time.
"""

from __future__ import annotations

import re

import pytest

from tests.kernels.sass import Code, codes

HALF_EIGHT = "6__halfLi8"
# Kernel -> least 16-byte loads before one is used, most calls, most instructions an element (8 halves a thread).
ATTENTION_GATE = {
    # The middle of a sum per channel: four channels' words at a time.
    rf"gate_statistics_kernelI{HALF_EIGHT}": (4, None, None),
    # AGFER (0): x and its plane, whose 8 floats are two words.
    rf"gate_apply_kernelI{HALF_EIGHT}\w*GateKindE0E": (3, 0, 18),
    rf"gate_apply_kernelI{HALF_EIGHT}\w*GateKindE[12]E": (1, 0, 12),
    # Two rows of it.
    rf"gate_pool_kernelI{HALF_EIGHT}\w*GateKindE0E": (6, 0, None),
    rf"gate_pool_kernelI{HALF_EIGHT}\w*GateKindE[12]E": (2, 0, None),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Code]:
    return codes("attention_gate", tmp_path_factory.mktemp("sass"))


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ATTENTION_GATE)
def test_attention_gate(found: list[Code], pattern: str) -> None:
    matching = [code for code in found if re.search(pattern, code.name)]
    assert matching, [code.name for code in found]
    loads, calls, an_element = ATTENTION_GATE[pattern]
    for code in matching:
        assert code.loads_together >= loads, code
        assert calls is None or code.calls <= calls, code
        assert an_element is None or code.instructions <= 8 * an_element, code
