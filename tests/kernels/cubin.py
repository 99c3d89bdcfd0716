"""Triton kernels compiled ahead of time to machine code, without a GPU, and what that code needs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

CAPABILITIES = (80, 86, 87, 89, 90, 110, 120)


def compile_kernel(
    kernel: Any,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    capability: int,
    warps: int = 4,
) -> dict[str, int]:
    """Resources of a ``@triton.jit`` function: registers, stack, shared and local memory, a thread or a block.

    ``signature`` names the type of each argument that is not constant: ``*u8``, ``*fp32``, ``i32``, ``i64``, ``fp32``.
    Spilled registers live on the stack, or in local memory.
    """
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {name: signature.get(name, "constexpr") for name in kernel.arg_names}
    compiled = triton.compile(
        ASTSource(fn=kernel, signature=types, constexprs=dict(constants)),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": warps},
    )
    return _resources(compiled.asm["cubin"])


def _resources(cubin: bytes) -> dict[str, int]:
    import tempfile

    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        listing = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"\b(REG|STACK|SHARED|LOCAL):(\d+)", listing))
    assert set(found) == {"REG", "STACK", "SHARED", "LOCAL"}, listing
    return {name.lower(): int(value) for name, value in found.items()}
