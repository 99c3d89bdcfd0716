"""A header whose length begins like a pickle is no pickle."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfer_edge.errors import CorruptArtifact, InvalidInput
from dfer_edge.weights import file as weights


@pytest.mark.parametrize("length", [0x0280, 0x0480, 0x0580])
def test_header_lengths_that_begin_like_a_pickle(length: int, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b'{"__metadata__":{"spec":"none"}}'.ljust(length))
    with pytest.raises(CorruptArtifact):  # read as safetensors, and not of ours
        weights.load(path)
    path.write_bytes(length.to_bytes(2, "little") + bytes(20))
    with pytest.raises(InvalidInput, match="pickle"):
        weights.load(path)
