"""Losses: those of the papers through the objective are those that the networks define."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import registry
from dfer_edge.models import create_model, r2plus1d, slowr50, vgg
from dfer_edge.models.guidance import class_weights
from dfer_edge.spec import ModelSpec
from dfer_edge.training.objective import AuxiliaryHeads, Objective
from dfer_edge.training.optimise import average, build_optimisers, rate
from dfer_edge.training.recipes import Losses, Optimiser, Schedule
from tests.training.tiny import tiny_net


def small(name: str, frames: int = 1) -> ModelSpec:
    return dataclasses.replace(registry.find(name).spec, frames=frames, size=32)


BATCH = {"clip": torch.randn(4, 3, 4, 16, 16), "label": torch.tensor([0, 2, 1, 2])}


def test_plain_cross_entropy() -> None:
    net = tiny_net().eval()
    losses = Objective(net, Losses()).eval()(BATCH)
    expected = F.cross_entropy(net(BATCH["clip"]), BATCH["label"])
    torch.testing.assert_close(losses["loss"], expected)
    assert set(losses) == {"loss", "label", "right"}


def test_smoothing_and_class_weights() -> None:
    net = tiny_net().eval()
    losses = Objective(net, Losses(label_smoothing=0.2, class_weights=True), counts=[5, 1, 2]).eval()(BATCH)
    weights = torch.from_numpy(class_weights([5, 1, 2])).float()
    expected = F.cross_entropy(net(BATCH["clip"]), BATCH["label"], weights, label_smoothing=0.2)
    torch.testing.assert_close(losses["label"], expected)


def test_keypoint_tsa_mixes_its_two_losses() -> None:
    torch.manual_seed(0)
    net = create_model("keypoint_tsa", size=32).eval()
    batch = {"clip": torch.randn(2, 3, 16, 32, 32), "label": torch.tensor([1, 5])}
    batch["landmarks"] = torch.rand(2, 16, 68, 2) * 32
    with torch.no_grad():
        ours = Objective(net, Losses(auxiliary=(0.2, 0.8))).eval()(batch)["loss"]
        expected = net.training_loss(batch["clip"], batch["landmarks"], batch["label"])
        torch.testing.assert_close(ours, expected)
        images = {name: value[:, :1] if name == "landmarks" else value for name, value in batch.items()}
        images["clip"] = batch["clip"][:, :, :1]
        loss = Objective(net, Losses()).eval()(images)["loss"]
        fused = net.frame_features(images["clip"][:, :, 0], images["landmarks"][:, 0])
        torch.testing.assert_close(loss, F.cross_entropy(net.forward_auxiliary(fused[:, None]), batch["label"]))


def test_r2plus1d_sta_adds_the_sparse_centre_loss() -> None:
    torch.manual_seed(0)
    net = r2plus1d.create(small("r2plus1d_sta", frames=4), loss_branch=True, loss_widths=(4, 4, 4))
    batch = {"clip": torch.randn(2, 3, 4, 32, 32), "label": torch.tensor([1, 5])}
    with torch.no_grad():
        ours = Objective(net, Losses(sparse_centre=1.0))(batch)
        torch.testing.assert_close(ours["loss"], net.training_loss(batch["clip"], batch["label"]))
        half = Objective(net, Losses(sparse_centre=0.5))(batch)
        torch.testing.assert_close(half["centre"], ours["centre"] / 2)


def test_the_centres_have_an_sgd_of_their_own() -> None:
    net = r2plus1d.create(small("r2plus1d_sta", frames=4), loss_branch=True, loss_widths=(4, 4, 4))
    adam, sgd = build_optimisers(
        Objective(net, Losses()), Optimiser("adam", 1e-3), Losses(sparse_centre=1.0, centre_lr=0.3), 8
    )
    assert [p for g in sgd.param_groups for p in g["params"]] == [net.loss_branch.centers]
    assert sgd.param_groups[0]["lr"] == 0.3
    assert all(p is not net.loss_branch.centers for g in adam.param_groups for p in g["params"])


def test_a_small_weight_does_not_stop_the_centres() -> None:
    """DACL divides the weight out of their gradient: a step moves them as far at 0.01 as at 1."""
    moved = []
    for weight in (1.0, 0.01):
        torch.manual_seed(0)
        net = r2plus1d.create(small("r2plus1d_sta", frames=4), loss_branch=True, loss_widths=(4, 4, 4)).eval()
        losses = Losses(sparse_centre=weight)
        objective = Objective(net, losses)
        _, sgd = build_optimisers(objective, Optimiser("adam", 1e-3), losses, 8)
        before = net.loss_branch.centers.detach().clone()
        objective({"clip": torch.randn(2, 3, 4, 32, 32), "label": torch.tensor([1, 5])})["loss"].backward()
        sgd.step()
        moved.append(net.loss_branch.centers.detach() - before)
    assert moved[0].abs().max() > 1e-4
    torch.testing.assert_close(moved[1], moved[0], rtol=1e-3, atol=1e-6)


def test_images_are_guided_in_training_only() -> None:
    torch.manual_seed(0)
    net = vgg.create(small("sefer"), dropout=0.0)
    batch = {"clip": 40 * torch.randn(1, 3, 1, 32, 32), "label": torch.tensor([1])}
    with torch.no_grad():
        guided, plain = (Objective(net, Losses(guidance=name)) for name in ("template", "none"))
        net.guidance = "template"
        with_mask = guided.train()(batch)["loss"]
        assert not torch.allclose(with_mask, guided.eval()(batch)["loss"])
        net.guidance = "none"
        torch.testing.assert_close(plain.train()(batch)["loss"], plain.eval()(batch)["loss"])
        expected = net.eval()(batch["clip"][:, :, 0]).double().softmax(1)
        torch.testing.assert_close(guided.eval().probabilities(batch), expected)
    with pytest.raises(InvalidInput, match="expected landmarks for the guidance mask"):
        Objective(net, Losses(guidance="hull")).train()(batch)


def test_smate_takes_its_augmented_versions() -> None:
    torch.manual_seed(0)
    net = create_model(
        "smate", num_classes=3, frames=2, size=16, spatial_depth=1, temporal_depth=1, mix_probability=1.0
    )
    batch = {"clip": torch.randn(2, 3, 2, 16, 16), "label": torch.tensor([1, 0])}
    batch["augmented"] = torch.randn(2, 3, 3, 2, 16, 16)
    with torch.no_grad():
        loss = Objective(net, Losses()).train()(batch)["loss"]
        mean = (batch["clip"] + batch["augmented"].sum(1)) / 4
        torch.testing.assert_close(loss, F.cross_entropy(net(mean), batch["label"]))


@pytest.mark.parametrize("frames", [1, 4])
def test_auxiliary_heads_are_zero_on_their_target(frames: int) -> None:
    heads = AuxiliaryHeads(5, {"units": 3, "landmarks": 4}, {"units": 1.0, "landmarks": 2.0})
    batch = {"units": torch.rand(2, frames, 3), "landmarks": torch.rand(2, frames, 2, 2) * 20}
    features = torch.randn(2, frames, 5)
    losses = heads(features, batch, size=20)
    assert set(losses) == {"units", "landmarks"}
    assert all(loss > 0 for loss in losses.values())
    for layer, target in (
        (heads.layers["units"], batch["units"]),
        (heads.layers["landmarks"], 2 * batch["landmarks"].flatten(2) / 20 - 1),
    ):
        layer.weight.data.zero_()
        layer.bias.data.copy_(target[0, 0])
        batch = {name: value[:1, :1].expand_as(value) for name, value in batch.items()}
    assert all(loss < 1e-12 for loss in heads(features, batch, size=20).values())


def test_landmarks_are_scaled_by_the_crop_that_the_stage_shows() -> None:
    """Stages before the last show smaller crops than the spec says."""
    torch.manual_seed(0)
    net = slowr50.create(small("slowr50"))
    objective = Objective(net, Losses(landmarks=1.0), {"landmarks": 4}).eval()
    layer = objective.heads.layers["landmarks"]  # type: ignore[union-attr]
    layer.weight.data.zero_()
    layer.bias.data.copy_(torch.tensor([0.5, -0.5, 0.0, 1.0]))
    side = 16
    points = (layer.bias.detach() + 1) / 2 * side
    batch = {"clip": torch.randn(2, 3, 1, side, side), "label": torch.tensor([0, 1])}
    batch["landmarks"] = points.view(1, 1, 2, 2).expand(2, 1, 2, 2)
    assert net.spec.size != side
    assert objective(batch)["landmarks"] < 1e-12


def test_the_options_of_004_that_weigh_its_losses_are_heard_or_refused() -> None:
    torch.manual_seed(0)
    spec = small("r2plus1d_sta")
    batch = {"clip": torch.randn(2, 3, spec.frames, spec.size, spec.size), "label": torch.tensor([0, 1])}
    net = r2plus1d.create(spec, cross_entropy="binary", loss_branch=True, loss_input="pooled").eval()
    with torch.no_grad():
        parts = Objective(net, Losses(sparse_centre=1.0)).eval()(batch)
        torch.testing.assert_close(parts["label"] + parts["centre"], net.training_loss(batch["clip"], batch["label"]))
        assert float(parts["label"]) != pytest.approx(float(F.cross_entropy(net(batch["clip"]), batch["label"])))
    net.center_weight = 0.01
    with pytest.raises(InvalidInput, match=r"expected center_weight 1 .*got 0\.01"):
        Objective(net, Losses(sparse_centre=1.0))


def test_keypoint_tsa_takes_smoothing_and_class_weights_in_both_heads() -> None:
    torch.manual_seed(0)
    net = create_model("keypoint_tsa", size=32).eval()
    batch = {"clip": torch.randn(2, 3, 16, 32, 32), "label": torch.tensor([1, 5])}
    batch["landmarks"] = torch.rand(2, 16, 68, 2) * 32
    counts = [1, 9, 2, 3, 4, 1, 5]
    losses = Losses(auxiliary=(0.3, 0.6), label_smoothing=0.2, class_weights=True)
    balance = torch.from_numpy(class_weights(counts)).float()
    with torch.no_grad():
        ours = Objective(net, losses, counts=counts).eval()(batch)["loss"]
        features = net.forward_features(batch["clip"], batch["landmarks"])
        spatial, temporal = (
            F.cross_entropy(logits, batch["label"], balance, label_smoothing=0.2)
            for logits in (net.forward_auxiliary(features), net.forward_head(features))
        )
    torch.testing.assert_close(ours, 0.3 * spatial + 0.6 * temporal)


def test_rates() -> None:
    steps = Schedule("steps", milestones=(40, 60), factor=0.1)
    assert [rate(steps, epoch, 80) for epoch in (0, 39.99, 40, 59.9, 60, 79)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    cosine = Schedule("cosine", warmup_epochs=2.0, final=0.1)
    assert [rate(cosine, epoch, 12) for epoch in (0, 1, 2, 7, 12)] == pytest.approx([0, 0.5, 1, 0.55, 0.1])
    assert rate(Schedule(), 5, 10) == 1
    with pytest.raises(InvalidInput, match="schedule out of constant"):
        rate(Schedule("linear"), 5, 10)


def test_optimisers() -> None:
    net = tiny_net()
    (one,) = build_optimisers(
        net, Optimiser("adamw", 0.1, lr_batch=8, weight_decay=0.2, decay_norms=False), Losses(), 16
    )
    decay = {id(p): g["weight_decay"] for g in one.param_groups for p in g["params"]}
    assert len(decay) == len(list(net.parameters()))
    assert [decay[id(p)] for p in net.parameters()] == [0.2 if p.ndim > 1 else 0.0 for p in net.parameters()]
    assert one.param_groups[0]["lr"] == pytest.approx(0.2)
    with pytest.raises(InvalidInput, match="optimiser out of adamw"):
        build_optimisers(net, Optimiser("lion", 0.1), Losses(), 16)


def test_the_average_follows_weights_and_statistics() -> None:
    kept, new = tiny_net(0), tiny_net(1)
    new.norm.running_mean.fill_(3.0)
    new.norm.num_batches_tracked.fill_(7)
    before = {name: value.clone() for name, value in kept.state_dict().items()}
    average(kept, new, decay=0.9, steps=10_000)
    for name, value in kept.state_dict().items():
        goal = new.state_dict()[name]
        expected = 0.9 * before[name] + 0.1 * goal if value.is_floating_point() else goal
        torch.testing.assert_close(value, expected)
    average(kept, new, decay=0.9, steps=0)
    assert np.isclose(float(kept.norm.running_mean[0]), 0.1 * 0.3 + 0.9 * 3.0)
