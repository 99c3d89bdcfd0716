"""Working forms of what is printed but does nothing: attention over frames, a gate that strengthens, a small loss."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import record, registry
from dfer_edge.models import create_model, simplify
from dfer_edge.models.complexity import count_parameters
from dfer_edge.models.vgg import ResidualGate
from dfer_edge.spec import ModelSpec
from dfer_edge.training.objective import Objective
from dfer_edge.training.recipes import Losses
from tests.inference.agreement import disturb_norms, relative


def small(model: str, **fields: object) -> ModelSpec:
    return dataclasses.replace(registry.find(model).spec, **fields)  # type: ignore[arg-type]


def over_frames() -> torch.nn.Module:
    torch.manual_seed(1)
    module = (
        registry.find("slowr50_sa").training().create(small("slowr50_sa", frames=3, size=32), attention_tokens="frames")
    )
    disturb_norms(module)
    for bias in (module.head.attention.in_proj_bias, module.head.attention.out_proj.bias):
        torch.nn.init.normal_(bias)
    # Large enough for scores that differ.
    torch.nn.init.normal_(module.head.attention.in_proj_weight, 0, 0.05)
    return module.eval()


@pytest.mark.parametrize("form", ["3d", "2d"])
def test_attention_over_frames_folds_exactly(form: str) -> None:
    module, clip = over_frames().double(), torch.randn(2, 3, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        assert relative(simplify(module, form)(clip), module(clip)) <= 1e-12


def test_queries_and_keys_learn_with_more_than_one_token() -> None:
    """With the printed one token their gradient is exactly zero (tests/inference/test_slowr50)."""
    module = over_frames()
    module(torch.randn(2, 3, 3, 32, 32)).logsumexp(1).sum().backward()
    query, key, _ = module.head.attention.in_proj_weight.grad.chunk(3)
    assert min(float(query.abs().max()), float(key.abs().max())) > 0


def test_attention_over_frames_has_the_printed_parameters_and_hardly_more_products() -> None:
    with torch.device("meta"):
        printed, ours = (create_model("slowr50_sa", attention_tokens=kind) for kind in ("pooled", "frames"))
    assert count_parameters(printed) == count_parameters(ours) == 49_472_583
    macs = [record(module.spec)[0].macs for module in (printed, ours)]
    assert macs[0] < macs[1] < 1.005 * macs[0]


def test_attention_over_frames_is_refused_without_attention() -> None:
    with pytest.raises(InvalidInput, match="attention over frames"):
        create_model("slowr50", attention_tokens="frames")
    with pytest.raises(InvalidInput, match="attention over frames"):
        create_model("slowr50_sa", attention_tokens="frames", pooling="apex")
    with pytest.raises(InvalidInput, match="expected attention_tokens out of pooled, frames; got 'cells'"):
        create_model("slowr50_sa", attention_tokens="cells")


def test_the_residual_gate_weakens_and_strengthens() -> None:
    spec = small("agfer", size=32).with_options(gate="ag_residual")
    torch.manual_seed(0)
    module = registry.find("agfer").training().create(spec)
    gate = next(part for part in module.gates if isinstance(part, ResidualGate))
    x = torch.randn(1, 128, 4, 4)
    assert torch.equal(gate(x), x), "it begins as the identity"
    gate(x).sum().backward()
    assert float(gate.spatial2.weight.grad.abs().max()) > 0, "and leaves it"
    torch.nn.init.normal_(gate.spatial2.weight)
    factors = gate.gate(300 * torch.randn(2, 128, 8, 8)).detach()
    assert 0 <= float(factors.min()) < 0.5
    assert 1.5 < float(factors.max()) <= 2


def test_the_residual_gate_folds_exactly() -> None:
    torch.manual_seed(0)
    spec = small("agfer", size=32).with_options(gate="ag_residual")
    module, image = registry.find("agfer").training().create(spec).eval(), torch.randn(2, 3, 32, 32)
    for gate in (part for part in module.gates if isinstance(part, ResidualGate)):
        torch.nn.init.normal_(gate.spatial2.weight)
    with torch.no_grad():
        assert relative(simplify(module)(image), module(image)) <= 1e-5
    assert count_parameters(module) == count_parameters(
        registry.find("agfer").training().create(small("agfer", size=32))
    )


def network_004(**options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    spec = small("r2plus1d_sta", size=32, frames=4)
    return registry.find("r2plus1d_sta").training().create(spec, loss_branch=True, **options)


def test_the_loss_reads_the_pooled_features_with_two_million_parameters() -> None:
    """By hand: FC1 to FC3 of 256, 2048, 512, 64, three norms, 2 x 256 of 64; centres of 7 classes."""
    with torch.device("meta"):
        module = create_model("r2plus1d_sta", loss_branch=True, loss_input="pooled")
    layers = (257 * 2048) + (2049 * 512) + (513 * 64) + (65 * 512)
    assert count_parameters(module.loss_branch) == layers + 2 * (2048 + 512 + 64) + 7 * 256
    small_one = network_004(loss_input="pooled")
    small_one.training_loss(torch.randn(2, 3, 4, 32, 32), torch.tensor([0, 1])).backward()
    assert float(small_one.loss_branch.pairs.weight.grad.abs().max()) > 0


def test_the_centre_loss_of_f_does_not_see_the_attention() -> None:
    batch = {"clip": torch.randn(2, 3, 4, 32, 32), "label": torch.tensor([0, 1])}
    for reads, changes in (("f", False), ("p", True)):
        module = network_004(centre_reads=reads, loss_input="pooled", gamma=0.7)
        centre = []
        for bias in (0.0, 3.0):
            torch.nn.init.constant_(module.attention.space.value.bias, bias)
            objective = Objective(module, Losses(sparse_centre=1.0)).train()
            centre.append(float(objective(batch)["centre"]))
            torch.testing.assert_close(
                module.training_loss(batch["clip"], batch["label"]),
                sum(objective(batch)[name] for name in ("label", "centre")),
            )
        assert (centre[0] != pytest.approx(centre[1], rel=1e-4)) == changes


def test_readings_of_004_that_there_are_not() -> None:
    with pytest.raises(InvalidInput, match="expected loss_input map or pooled, got 'flat'"):
        network_004(loss_input="flat")
    with pytest.raises(InvalidInput, match="expected centre_reads p or f, got 'x'"):
        network_004(centre_reads="x")
