"""The network of a run: sizes, weak residuals, weights to start from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from dfer_edge import labels
from dfer_edge.errors import CorruptArtifact, InvalidInput, WeightsNotFound
from dfer_edge.inference import registry
from dfer_edge.models import create_model, r2plus1d, vgg
from dfer_edge.training import find_recipe
from dfer_edge.training.network import build_network, fold_grey, freeze, scale_residuals, stage_spec, start_from
from dfer_edge.weights import file as weights
from tests.training.tiny import tiny_net

SHORT = dataclasses.replace(find_recipe("renders", "slowr50_sa").stages[0], size=0)


def test_the_spec_has_what_the_network_was_trained_on() -> None:
    network = build_network("slowr50_sa", find_recipe("renders", "slowr50_sa"), labels.DFEW)
    spec = network.spec
    assert (spec.size, spec.frames, spec.labels) == (96, 8, labels.DFEW)
    assert (spec.face_box, spec.face_margin) == ("landmarks", 0.75)
    plain = build_network("slowr50_sa", find_recipe("paper", "slowr50_sa"), labels.DFEW).spec
    assert (plain.face_box, plain.face_margin) == ("detector", 1.1)
    stage = find_recipe("renders", "slowr50_sa").stages[0]
    assert (stage_spec(network, stage).size, stage_spec(network, stage).frames) == (64, 1)
    assert network.spec == spec


def test_sizes_that_a_network_cannot_have() -> None:
    recipe = find_recipe("renders", "slowr50_sa").override("stages.size", "64")
    images = vgg.create(dataclasses.replace(registry.find("agfer").spec, size=32))
    with pytest.raises(InvalidInput, match="expected size 32, agfer is made for it; got 64"):
        stage_spec(images, recipe.stages[0])
    with pytest.raises(InvalidInput, match="clips of 16 frames, r2plus1d_sta is made for them; got 1"):
        stage_spec(r2plus1d.create(registry.find("r2plus1d_sta").spec.with_options(classifier_input="flatten")), SHORT)
    keypoint = build_network("keypoint_tsa", recipe, labels.DFEW)
    assert stage_spec(keypoint, recipe.stages[0]).frames == 1
    stage_spec(keypoint, dataclasses.replace(recipe.stages[0], size=96))
    assert keypoint.pooling.size == 96


@pytest.mark.parametrize(("model", "suffix"), [("slowr50", "norm_c.weight"), ("keypoint_tsa", "norm_b.weight"),
                                               ("r2plus1d_sta", "conv_b.temporal_norm.weight")])  # fmt: skip
def test_weak_residuals(model: str, suffix: str) -> None:
    network = create_model(model)
    scale_residuals(network, 0.5)
    norms = {name: p for name, p in network.named_parameters() if "norm" in name and name.endswith("weight")}
    halved = {name for name, p in norms.items() if torch.equal(p, torch.full_like(p, 0.5))}
    assert halved == {name for name in norms if name.endswith(suffix) and "stages" in name}
    assert halved


def test_freezing_parts_that_are_not_there() -> None:
    with pytest.raises(InvalidInput, match="to freeze, got 'trunk'") as error:
        freeze(create_model("slowr50"), ["trunk"])
    assert "stem, stem.conv" in str(error.value)
    with pytest.raises(InvalidInput, match="parts that learn, got all frozen"):
        freeze(create_model("slowr50"), ["stem", "stages", "head"])


def test_a_face_box_that_nobody_knows() -> None:
    recipe = find_recipe("renders", "slowr50_sa").override("face_box", "landmark")
    with pytest.raises(InvalidInput, match="face_box is none of detector, landmarks: 'landmark'"):
        build_network("slowr50_sa", recipe, labels.DFEW)


def test_a_block_with_no_residual_is_its_shortcut() -> None:
    network = create_model("slowr50")
    scale_residuals(network, 0.0)
    block = network.stages[0][1].eval()
    x = torch.rand(1, 256, 2, 5, 5)
    torch.testing.assert_close(block(x), x)


def test_starting_from_weights(tmp_path: Path) -> None:
    source, target = tiny_net(1), tiny_net(2)
    weights.save(tmp_path / "w.safetensors", source)
    assert "9 of 9 tensors" in start_from(target, tmp_path / "w.safetensors")
    assert torch.equal(target.conv.weight, source.conv.weight)
    with pytest.raises(WeightsNotFound, match="found nothing"):
        start_from(target, tmp_path / "gone.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(CorruptArtifact, match="does not read"):
        start_from(target, tmp_path / "bad.safetensors")
    with pytest.raises(InvalidInput, match=r"nothing in .* fits"):
        start_from(create_model("slowr50"), tmp_path / "w.safetensors")


def test_starting_from_compact_weights(tmp_path: Path) -> None:
    source, target = create_model("slowr50"), create_model("slowr50")
    weights.save(tmp_path / "w.safetensors", source, compact=True)
    everything = len(target.state_dict())
    assert f"{everything} of {everything} tensors" in start_from(target, tmp_path / "w.safetensors")
    stored = weights.load(tmp_path / "w.safetensors").state
    assert stored is not None
    for name in ("stem.conv.weight", "head.classifier.weight"):
        assert name in target.state_dict()
        torch.testing.assert_close(target.state_dict()[name], torch.from_numpy(np.array(stored[name])), rtol=0, atol=0)


def test_starting_from_the_shipped_weights() -> None:
    network = build_network("slowr50_sa", find_recipe("renders", "slowr50_sa"), labels.DFEW)
    everything = len(network.state_dict())
    assert start_from(network, "default") == f"{everything} of {everything} tensors from default"
    with pytest.raises(WeightsNotFound, match="no trained weights ship for smate"):
        start_from(create_model("smate", size=16, frames=2, spatial_depth=1, temporal_depth=1), "default")


def test_folding_grey_reads_colours_as_their_luma() -> None:
    torch.manual_seed(0)
    network = create_model("slowr50").double().eval()
    colour = torch.rand(1, 3, 2, 32, 32, dtype=torch.float64)
    luma = (0.299 * colour[:, 0] + 0.587 * colour[:, 1] + 0.114 * colour[:, 2]).unsqueeze(1).expand(-1, 3, -1, -1, -1)
    with torch.no_grad():
        on_grey, on_colour = network(luma), network(colour)
        fold_grey(network)
        folded, grey_again = network(colour), network(luma)
    torch.testing.assert_close(folded, on_grey, rtol=0, atol=1e-7)
    torch.testing.assert_close(grey_again, on_grey, rtol=0, atol=1e-7)
    assert (folded - on_colour).abs().max() > 1e-3


@pytest.mark.parametrize("model", ["keypoint_tsa", "r2plus1d_sta", "slowr50_sa"])
def test_a_network_of_the_renders_recipe_can_fold_grey(model: str) -> None:
    """Also where its own mean and deviation differ from channel to channel."""
    recipe = find_recipe("renders", model)
    if model == "r2plus1d_sta":
        recipe = recipe.override("stages.size", "112")
    network = build_network(model, recipe, labels.DFEW)
    default, spec = registry.find(model).spec, network.spec
    assert min(default.mean) <= spec.mean[0] <= max(default.mean)
    assert min(default.std) <= spec.std[0] <= max(default.std)
    fold_grey(network)
    colours = build_network(model, recipe.override("stages.0.pixels.grey", "0.5"), labels.DFEW)
    assert (colours.spec.mean, colours.spec.std) == (default.mean, default.std)


def test_grey_folds_only_into_channels_of_one_scale() -> None:
    with pytest.raises(InvalidInput, match="one mean and deviation"):
        fold_grey(create_model("r2plus1d_sta"))


def test_classes_are_taken_by_name_not_by_place(tmp_path: Path) -> None:
    """Paper 003 goes from DFEW to AFEW, whose orders differ: row of happy to row of happiness."""
    small = {"size": 16, "frames": 2, "spatial_depth": 1, "temporal_depth": 1}
    source = create_model("smate", class_names=labels.DFEW, **small)
    torch.nn.init.normal_(source.head.weight)
    weights.save(tmp_path / "w.safetensors", source)
    target = create_model("smate", class_names=(*labels.AFEW, "contempt"), **small)
    fresh = target.head.weight[-1].detach().clone()
    assert "classes by name, contempt of them random" in start_from(target, tmp_path / "w.safetensors")
    for row, name in enumerate(labels.AFEW):
        place = labels.position(name, labels.DFEW)
        torch.testing.assert_close(target.head.weight[row], source.head.weight[place], rtol=0, atol=0)
    torch.testing.assert_close(target.head.weight[-1], fresh, rtol=0, atol=0)
