"""How long the CUDA kernels should take, from bytes and instructions: arithmetic, no measurement.

``python -m dfer_edge.bench.cases.kernel_estimates`` prints the table, which needs no GPU. Instructions are those of the
machine code (tests/kernels/test_sass.py holds them), bytes those that a case moves at least. A kernel takes at least as
long as either; caches, latencies and launches come on top, integer instructions run at half the rate before Hopper.
Bandwidths, cores and clocks are those of NVIDIA's data sheets.
"""

from __future__ import annotations

import dataclasses

from dfer_edge.bench.cases.kernels import case_module

OPERATIONS = ("clip_to_tensor", "lbp", "attention_gate", "landmark_pool", "token_attention")


@dataclasses.dataclass(frozen=True)
class Board:
    """A GPU: bytes a second of its memory, and instructions of single threads a second."""

    bytes_per_s: float
    cores: int
    clock_hz: float

    @property
    def instructions_per_s(self) -> float:
        return self.cores * self.clock_hz


BOARDS = {
    "H200": Board(4.8e12, 16896, 1.98e9),
    "RTX 4090": Board(1.008e12, 16384, 2.52e9),
    "AGX Orin": Board(204.8e9, 2048, 1.3e9),
    "Orin Nano": Board(68e9, 1024, 0.625e9),
}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Of an operation on a board: milliseconds by bytes and by instructions, and what is left of the floor."""

    bytes_ms: float
    instructions_ms: float

    @property
    def share_of_floor(self) -> float:
        """At most; the bars are on it."""
        return self.bytes_ms / max(self.bytes_ms, self.instructions_ms)


def estimate(moved_bytes: float, instructions: float, board: Board) -> Estimate:
    """See :class:`Estimate`."""
    return Estimate(moved_bytes / board.bytes_per_s * 1e3, instructions / board.instructions_per_s * 1e3)


def estimates(op: str) -> dict[str, Estimate]:
    """By board; instructions count only where the case knows them."""
    case = case_module(op)
    instructions = getattr(case, "GPU_INSTRUCTIONS", 0)
    return {name: estimate(case.GPU_MOVED_BYTES, instructions, board) for name, board in BOARDS.items()}


def main() -> None:
    """Print the table."""
    for op in OPERATIONS:
        case = case_module(op)
        print(f"{op}: {case.GPU_TITLE}; bar {case.GPU_SHARE_OF_FLOOR or 'none'}")
        for name, found in estimates(op).items():
            by = (
                f"{found.instructions_ms:.4f} ms by instructions"
                if found.instructions_ms
                else "instructions not counted"
            )
            print(
                f"  {name:10} {found.bytes_ms:.4f} ms by bytes, {by}, share of the floor <= {found.share_of_floor:.2f}"
            )


if __name__ == "__main__":
    main()
