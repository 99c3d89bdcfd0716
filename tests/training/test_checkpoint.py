"""Checkpoints are whole or not there; a full disk leaves the previous one."""

from __future__ import annotations

import multiprocessing
import resource
import signal
from pathlib import Path

import pytest
import torch

from dfer_edge.errors import CorruptArtifact, DferError, InvalidInput
from dfer_edge.training import checkpoint
from dfer_edge.training.checkpoint import Checkpoint
from dfer_edge.training.optimise import build_optimisers
from dfer_edge.training.recipes import Losses, Optimiser
from tests.training.tiny import tiny_net

IDENTITY = {"model": "slowr50"}


def example(value: float, count: int = 10) -> Checkpoint:
    return Checkpoint(
        {"w": torch.full((count,), value)}, {"identity": IDENTITY, "progress": {"epoch": 1, "sum": 0.1 + 0.2}}
    )


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    checkpoint.save(path, example(1.5))
    back = checkpoint.load(path, IDENTITY)
    assert torch.equal(back.tensors["w"], example(1.5).tensors["w"])
    assert back.state == example(1.5).state
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_another_identity(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.safetensors", example(1))
    with pytest.raises(InvalidInput, match="checkpoint of model smate, got slowr50"):
        checkpoint.load(tmp_path / "c.safetensors", {"model": "smate"})


@pytest.mark.parametrize("length", [0, 5, 60, 200])
def test_a_truncated_file(tmp_path: Path, length: int) -> None:
    path = tmp_path / "c.safetensors"
    checkpoint.save(path, example(1))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CorruptArtifact, match="expected a checkpoint"):
        checkpoint.load(path, IDENTITY)


def test_weights_are_no_checkpoint(tmp_path: Path) -> None:
    from dfer_edge.weights import file as weights

    weights.save(tmp_path / "w.safetensors", tiny_net())
    with pytest.raises(CorruptArtifact, match="checkpoint of format"):
        checkpoint.load(tmp_path / "w.safetensors", IDENTITY)


def _fill_up(path: Path, messages: multiprocessing.Queue[tuple[str, bool]]) -> None:
    """Save where no file may grow over 4 KB, as on a full disk: the write itself fails."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        checkpoint.save(path, example(2, count=100_000))
    except DferError as error:
        messages.put((error.message, bool(error.hint)))


@pytest.mark.parametrize("before", [True, False])
def test_a_full_disk(tmp_path: Path, before: bool) -> None:
    path = tmp_path / "c.safetensors"
    if before:
        checkpoint.save(path, example(1))
    fork = multiprocessing.get_context("fork")
    messages = fork.Queue()
    process = fork.Process(target=_fill_up, args=(path, messages))
    process.start()
    message, hinted = messages.get(timeout=60)
    process.join()
    assert "cannot write" in message
    assert ("the previous one stays" if before else "there is no previous one") in message
    assert hinted
    assert [p.name for p in tmp_path.iterdir()] == (["c.safetensors"] if before else [])
    if before:
        assert torch.equal(checkpoint.load(path, IDENTITY).tensors["w"], example(1).tensors["w"])


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_an_optimiser_goes_on_to_the_same_bits(name: str) -> None:
    def stepped(net: torch.nn.Module, optimiser: torch.optim.Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        for parameter in net.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimiser.step()

    one, two = tiny_net(), tiny_net()
    (first,) = build_optimisers(one, Optimiser(name, 0.1, weight_decay=0.01), Losses(), 4)
    stepped(one, first, 1)
    packed = {key: value.clone() for key, value in checkpoint.pack_optimiser(first, "o").items()}
    two.load_state_dict(one.state_dict())
    (second,) = build_optimisers(two, Optimiser(name, 0.1, weight_decay=0.01), Losses(), 4)
    checkpoint.unpack_optimiser(second, "o", packed)
    stepped(one, first, 2)
    stepped(two, second, 2)
    for ours, theirs in zip(two.parameters(), one.parameters(), strict=True):
        assert torch.equal(ours, theirs)
