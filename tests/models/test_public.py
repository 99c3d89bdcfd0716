"""Public backbones in the files they are published in; those of other networks are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dfer_edge.errors import CorruptArtifact, InvalidInput, WeightsNotFound
from dfer_edge.inference import registry
from dfer_edge.models import create_model, scenic
from dfer_edge.models.backbone import PUBLIC
from dfer_edge.models.simplified import state_arrays
from dfer_edge.training.network import start_from
from dfer_edge.weights.public import read_public
from tests.models.test_backbone import small


def public_state(name: str, module: torch.nn.Module) -> dict[str, Any]:
    """What the publisher of the network's backbone would write."""
    if name == "smate":
        return {key: np.ascontiguousarray(value) for key, value in scenic.to_public(state_arrays(module)).items()}
    own = module.state_dict()
    keys = registry.find(name).training().public_keys()
    return {public: own[key].clone() for key, public in keys.items() if key in own}


def flax_bytes(flat: dict[str, np.ndarray], *wrappers: str) -> bytes:
    """As flax.serialization writes a training state."""
    msgpack = pytest.importorskip("msgpack")

    def packed(value: np.ndarray) -> Any:
        return msgpack.ExtType(1, msgpack.packb((value.shape, value.dtype.name, value.tobytes()), use_bin_type=True))

    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *folders, name = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = packed(value)
    for wrapper in reversed(wrappers):
        tree = {wrapper: tree, "global_step": 7}
    return bytes(msgpack.packb(tree, use_bin_type=True))


@pytest.mark.parametrize("form", ["pth", "pyth", "safetensors"])
def test_torch_files(form: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = create_model("keypoint_tsa")
    state = public_state("keypoint_tsa", source) | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    path = tmp_path / f"resnet18.{form}"
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save({"model_state": state} if form == "pyth" else state, path)
    torch.manual_seed(2)
    target = create_model("keypoint_tsa")
    assert "matched" in start_from(target, path)
    assert torch.equal(target.backbone.stem_conv.weight, source.backbone.stem_conv.weight)
    assert torch.equal(target.backbone.stages[3][1].conv_b.weight, source.backbone.stages[3][1].conv_b.weight)


@pytest.mark.parametrize("form", ["flax", "old flax", "npz"])
def test_scenic_files(form: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = small("smate")
    flat = public_state("smate", source)
    path = tmp_path / "checkpoint"
    if form == "npz":
        path = tmp_path / "vivit.npz"
        np.savez(path, **{f"params/{key}": value for key, value in flat.items()})
    else:
        path.write_bytes(flax_bytes(flat, *(("params",) if form == "flax" else ("optimizer", "target", "params"))))
    torch.manual_seed(2)
    target = small("smate")
    start_from(target, path)
    for name in ("embedding", "spatial.layers.0.attention.query", "temporal.norm"):
        assert torch.equal(target.get_submodule(name).weight, source.get_submodule(name).weight), name


def test_bfloat16_and_arrays_in_parts(tmp_path: Path) -> None:
    msgpack = pytest.importorskip("msgpack")
    wide = np.array([1.5, -2.0, 0.25], np.float32)
    half = (wide.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    inner = msgpack.packb(((3,), "bfloat16", half), use_bin_type=True)
    part = [msgpack.ExtType(1, msgpack.packb(((2,), "float32", np.float32([n, n + 1]).tobytes()))) for n in (0, 2)]
    chunked = {"__msgpack_chunked_array__": True, "shape": {"0": 2, "1": 2}, "chunks": {"0": part[0], "1": part[1]}}
    (tmp_path / "c").write_bytes(msgpack.packb({"a": msgpack.ExtType(1, inner), "b": {"k": chunked}}))
    found = read_public(tmp_path / "c")
    np.testing.assert_array_equal(found["a"], wide)
    np.testing.assert_array_equal(found["b/k"], [[0, 1], [2, 3]])


def others(name: str) -> dict[str, torch.Tensor]:
    """Files whose names and shapes are nearly those of the right one."""
    torch.manual_seed(0)
    state = public_state(name, create_model(name))
    if name == "keypoint_tsa":  # resnet34: all that resnet18 has, and more blocks
        return state | {f"layer1.2.conv{n}.weight": torch.zeros(64, 64, 3, 3) for n in (1, 2)}
    if name == "r2plus1d_sta":  # r3d_18: norms and shortcuts of the same names, other convolutions
        return {key: value for key, value in state.items() if not key.endswith(("0.0.weight", "0.3.weight"))}
    # slow_r50 of four frames has the same names; one without its last stage does not.
    return {key: value for key, value in state.items() if not key.startswith("blocks.4.")}


@pytest.mark.parametrize("name", ["keypoint_tsa", "r2plus1d_sta", "slowr50_sa"])
def test_the_backbone_of_another_network_is_refused(name: str, tmp_path: Path) -> None:
    torch.save(others(name), tmp_path / "other.pth")
    with pytest.raises(InvalidInput, match=r"got another network's weights: it (has|lacks)") as caught:
        start_from(create_model(name), tmp_path / "other.pth")
    assert PUBLIC[registry.find(name).family].address in caught.value.hint


def test_what_is_no_backbone_at_all(tmp_path: Path) -> None:
    network = small("vgg16_fer")
    with pytest.raises(WeightsNotFound):
        start_from(network, tmp_path / "none.pth")
    torch.save({"epoch": 3, "text": "hello"}, tmp_path / "text.pth")
    with pytest.raises(InvalidInput, match="expected tensors alone"):
        start_from(network, tmp_path / "text.pth")
    torch.save({"some.weight": torch.zeros(3)}, tmp_path / "odd.pth")
    with pytest.raises(InvalidInput, match="nothing matched"):
        start_from(network, tmp_path / "odd.pth")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(CorruptArtifact, match="expected an npz"):
        start_from(network, tmp_path / "cut.npz")
    (tmp_path / "cut").write_bytes(b"\x82\xa6params")
    with pytest.raises(CorruptArtifact, match="expected a Flax checkpoint"):
        start_from(network, tmp_path / "cut")
