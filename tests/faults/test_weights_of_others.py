"""Weights that come from elsewhere, and what a network keeps of those it was loaded with."""

from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from dfer_edge import CorruptArtifact, InvalidInput
from dfer_edge.cli.main import main
from dfer_edge.inference import registry
from dfer_edge.models import create_model
from dfer_edge.weights import file as weights
from dfer_edge.weights.public import read_public

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
NAME = "slowr50"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights whose crops and class names are not the paper's."""
    spec = registry.find(NAME).spec
    labels = tuple(reversed(spec.labels))
    other = dataclasses.replace(spec, size=64, face_margin=0.75, face_box="landmarks", labels=labels)
    return weights.save(
        tmp_path_factory.mktemp("w") / "tuned.safetensors", registry.find(NAME).training().create(other)
    )


def test_load_into_takes_over_the_spec(tuned: Path, tmp_path: Path) -> None:
    module = create_model(NAME)
    weights.load_into(module, tuned)
    before, after = weights.load(tuned), weights.load(weights.save(tmp_path / "again.safetensors", module))
    assert after.spec == before.spec
    assert (after.spec.size, after.spec.face_margin, after.spec.face_box) == (64, 0.75, "landmarks")
    assert after.sha256 == before.sha256


def test_load_into_takes_the_weights_that_ship(tmp_path: Path) -> None:
    shipped = weights.shipped(NAME)
    assert shipped is not None
    module = create_model(NAME)
    assert not hasattr(module, "apex")
    weights.load_into(module, shipped)
    after = weights.load(weights.save(tmp_path / "again.safetensors", module))
    before = weights.load(shipped)
    assert after.spec == before.spec
    assert set(after.state or {}) == set(before.state or {})
    assert after.notes == before.notes


def test_what_a_file_says_of_its_tensors_goes_with_them(tuned: Path, tmp_path: Path) -> None:
    """Confidence and origin, until they are trained further."""
    said = {"confidence": '{"temperature": 1.5}', "origin": "renders"}
    source = weights.write(
        tmp_path / "w.safetensors", dataclasses.replace(weights.load(tuned), notes=said, untrained=2)
    )
    module = create_model(NAME)
    weights.load_into(module, source)
    again = weights.load(weights.save(tmp_path / "again.safetensors", module, origin="mine"))
    assert (dict(again.notes), again.untrained) == ({**said, "origin": "mine"}, 2)
    with torch.no_grad():
        next(module.parameters()).add_(1)
    trained = weights.load(weights.save(tmp_path / "trained.safetensors", module))
    assert (dict(trained.notes), trained.untrained) == ({}, 0)


def test_a_refusal_leaves_the_pooling_as_it_was(tuned: Path) -> None:
    module = create_model(NAME, pooling="apex", num_classes=3)
    torch.nn.init.constant_(module.apex.weight, 2.0)
    with pytest.raises(InvalidInput, match="shape"):
        weights.load_into(module, tuned)
    assert module.spec.options["pooling"] == "apex"
    assert module.apex.weight.tolist() == [[2.0] * 3]


def test_what_a_network_is_not_made_for_is_refused_whole(tmp_path: Path) -> None:
    spec = registry.find("smate").spec
    source = weights.Weights("other", "", dataclasses.replace(spec, frames=spec.frames * 2), {}, "")
    module = create_model("smate")
    state = {key: np.array(value) for key, value in module.state_dict().items()}
    with pytest.raises(InvalidInput, match=r"made for|frames|shape"):
        weights.load_into(module, dataclasses.replace(source, state=state))
    assert module.spec == spec


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        ("model_state_dict", ""),
        ("state_dict", "module."),
        ("net", "_orig_mod."),
        ("ema", "backbone.module."),
        (None, "net."),
    ],
)
def test_checkpoints_of_training_programs(
    tmp_path: Path, key: str | None, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(weights, "save", lambda *_, untrained, **__: written.append(str(untrained)))
    state = {prefix + name: value for name, value in create_model(NAME).state_dict().items()}
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "c.pth")
    from dfer_edge.weights.convert import convert

    assert convert(tmp_path / "c.pth", tmp_path / "o.safetensors", NAME).missing == ()
    assert written == ["0"]


def test_safetensors_of_others_by_the_command_line(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {key: torch.from_numpy(np.array(value)) for key, value in (weights.load(tuned).state or {}).items()}
    safetensors_torch.save_file(state, tmp_path / "foreign.safetensors")
    out = tmp_path / "o.safetensors"
    command = ["models", "convert", str(tmp_path / "foreign.safetensors"), str(out), "--model", NAME]
    assert main([*command, "--like", str(tuned)]) == 0
    assert weights.load(out).spec == weights.load(tuned).spec
    assert main(command) == 0
    assert weights.load(out).spec == registry.find(NAME).spec
    capsys.readouterr()


def test_reasons_have_a_way_out(tmp_path: Path) -> None:
    from dfer_edge.weights.convert import convert

    torch.save({"model": {"a": torch.zeros(1), "b": 3}}, tmp_path / "c.pth")
    with pytest.raises(InvalidInput, match=r"b: int") as caught:
        convert(tmp_path / "c.pth", tmp_path / "o.safetensors", NAME)
    assert "state dict" in caught.value.hint
    (tmp_path / "p.pth").write_bytes(pickle.dumps(os.system, protocol=2))
    with pytest.raises(CorruptArtifact, match=r"UnpicklingError: .*posix.system") as refused:
        convert(tmp_path / "p.pth", tmp_path / "o.safetensors", NAME)
    assert "torch.save" in refused.value.hint
    (tmp_path / "x.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(InvalidInput, match="dict of tensors"):
        convert(tmp_path / "x.safetensors", tmp_path / "o.safetensors", NAME)


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"a": {"x.weight": torch.zeros(2)}, "b": {"x.weight": torch.ones(2)}}, "got 2: 'a', 'b'"),
        ({"x.weight": torch.zeros(2, dtype=torch.int8)}, "torch.int8"),
        ({"x.weight": torch.zeros(2, dtype=torch.complex64)}, "torch.complex64"),
        ({"x.bias": torch.tensor([0.0, float("nan")])}, "finite numbers"),
        ({}, "nothing in it"),
    ],
)
def test_what_cannot_be_weights_is_refused_with_a_way_out(tmp_path: Path, content: object, found: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read_public(saved(tmp_path / "c.pth", content))
    assert found in raised.value.message
    assert raised.value.hint


def test_masks_and_counters_are_no_numbers_to_check(tmp_path: Path) -> None:
    state = {"x.weight": torch.zeros(2), "mask": torch.tensor([float("-inf")]), "position_ids": torch.arange(3)}
    optimiser = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": []}
    assert set(read_public(saved(tmp_path / "c.pth", {"ema": state, "optimizer": optimiser}))) == set(state)


def test_a_format_is_told_by_more_than_a_byte(tmp_path: Path) -> None:
    """The length of a safetensors header is any number: 0xa185 looks like a map of msgpack."""
    path = tmp_path / "x.safetensors"
    safetensors_torch.save_file({"a.weight": torch.zeros(1)}, path, {"pad": "x" * 20_000})
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    padded = 0xA185 - length
    path.write_bytes((0xA185).to_bytes(8, "little") + content[8 : 8 + length] + b" " * padded + content[8 + length :])
    assert set(read_public(path)) == {"a.weight"}
    for start in (b"\x89HDF\r\n\x1a\n", b"GGUF", pickle.dumps({"a": 1}, 4)):
        (tmp_path / "y.bin").write_bytes(start + bytes(99))
        with pytest.raises((CorruptArtifact, InvalidInput)) as raised:
            read_public(tmp_path / "y.bin")
        assert "Flax" not in raised.value.message
