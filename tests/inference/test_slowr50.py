"""SlowR50 and SlowR50-SA: printed integers, stage shapes, exact folds (models.md sections 1 and 9)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from dfer_edge.inference import FORMS, record, registry
from dfer_edge.models import create_model, simplify
from dfer_edge.models.complexity import count_macs, count_parameters, example_inputs
from tests.inference.agreement import assert_onnx_equals_torch, disturb_norms, relative

PARAMETERS = {"slowr50": 31_648_839, "slowr50_sa": 49_472_583}
MACS = {"slowr50": 35_666_513_920, "slowr50_sa": 35_684_333_056}
FOLDED_PARAMETERS = {"slowr50": 31_648_839 - 26_560, "slowr50_sa": 32_660_615}
STAGE_SHAPES = [(256, 8, 49, 49), (512, 8, 25, 25), (1024, 8, 13, 13), (2048, 8, 7, 7)]
NAMES = list(PARAMETERS)
# Few frames and pixels, primes: the paper's 8 x 196 x 196 are in tests/test_all_models.py.
FEW, SMALL = 5, 37


def trained_like(name: str, seed: int = 0) -> torch.nn.Module:
    """A network whose batch norms are far from the identity, so that a wrong fold shows."""
    torch.manual_seed(seed)
    module = create_model(name).eval()
    disturb_norms(module)
    for key, value in module.named_parameters():
        if key.startswith("head.attention") and key.endswith("bias"):
            torch.nn.init.normal_(value, 0, 0.2)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_the_printed_integers(name: str) -> None:
    module = create_model(name)
    assert count_parameters(module) == PARAMETERS[name]
    assert count_macs(module, *example_inputs(module.spec)) == MACS[name]
    graph, _, _ = record(module.spec)
    assert graph.parameters == FOLDED_PARAMETERS[name]


def test_attention_head_costs_17_8_million_parameters() -> None:
    sizes = [count_parameters(create_model(name)) for name in ("slowr50_sa", "slowr50")]
    assert sizes[0] - sizes[1] == 17_823_744


def test_stage_shapes() -> None:
    module = create_model("slowr50").to("meta")
    x = module.stem(torch.empty(1, 3, 8, 196, 196, device="meta"))
    assert x.shape == (1, 64, 8, 49, 49)
    for stage, shape in zip(module.stages, STAGE_SHAPES, strict=True):
        x = stage(x)
        assert x.shape[1:] == shape
    assert module.forward_features(torch.empty(2, 3, 8, 196, 196, device="meta")).shape == (2, 2048, 8, 7, 7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", FORMS)
def test_simplify_is_exact(name: str, form: str) -> None:
    module = trained_like(name)
    module.spec = dataclasses.replace(module.spec, frames=FEW, size=SMALL)
    clip = torch.randn(2, 3, FEW, SMALL, SMALL, dtype=torch.float64)
    with torch.no_grad():
        expected = module.double()(clip)
        assert relative(simplify(module, form)(clip), expected) <= 1e-12
        single = module.float()
        assert relative(simplify(single, form)(clip.float()), single(clip.float())) <= 1e-5


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float16, 1e-3)])
def test_attention_fold_alone(dtype: torch.dtype, bound: float) -> None:
    """Head only, against the unfolded head in float64, over 256 random vectors."""
    from dfer_edge.inference.slowr50 import head
    from dfer_edge.inference.torch_graph import TorchGraph

    module = trained_like("slowr50_sa")
    vectors = torch.randn(256, 2048, dtype=torch.float64)
    with torch.no_grad():
        expected = module.double().head(vectors)
        weights = {k: v.to(dtype) for k, v in simplify(module).named_weights().items()}
        actual = head(TorchGraph(weights), vectors.to(dtype), module.spec)
    assert relative(actual, expected) <= bound


def test_query_and_key_never_get_a_gradient() -> None:
    module = trained_like("slowr50_sa").train()
    torch.nn.functional.cross_entropy(module.head(torch.randn(4, 2048)), torch.tensor([0, 1, 2, 3])).backward()
    gradient = module.head.attention.in_proj_weight.grad
    assert torch.count_nonzero(gradient[: 2 * 2048]) == 0
    assert torch.count_nonzero(gradient[2 * 2048 :]) > 0


@pytest.mark.parametrize(("form", "external"), [*((form, False) for form in FORMS), ("2d", True)])
def test_onnx_forms_agree_with_torch(form: str, external: bool, tmp_path: Path) -> None:
    spec = dataclasses.replace(registry.find("slowr50_sa").spec, frames=FEW, size=SMALL)
    assert_onnx_equals_torch(spec, form, tmp_path / "net.onnx", external=external)


def test_more_classes_and_unknown_names() -> None:
    assert create_model("slowr50", num_classes=11).spec.num_classes == 11
    with pytest.raises(ValueError, match="slowr50_sa"):
        create_model("resnet")
    with pytest.raises(ValueError, match="num_classes"):
        create_model("slowr50", num_classes=1)


def for_people(name: str) -> torch.nn.Module:
    """A network with the options of the default weights: no temporal taps but the middle one, pooling at the apex."""
    module = create_model(name, pooling="apex", centre_taps=True).eval()
    disturb_norms(module)
    torch.nn.init.normal_(module.apex.weight, 0, 3)
    for key, value in module.named_parameters():
        if key.endswith("conv_a.weight") and value.shape[2] == 3:
            torch.nn.init.zeros_(value[:, :, ::2].detach())
    return module


@pytest.mark.parametrize("form", FORMS)
def test_apex_and_centre_taps_are_exact(form: str) -> None:
    torch.manual_seed(1)
    module = for_people("slowr50_sa").double()
    module.spec = dataclasses.replace(module.spec, frames=FEW, size=SMALL)
    clip = torch.randn(2, 3, FEW, SMALL, SMALL, dtype=torch.float64)
    with torch.no_grad():
        expected = module(clip)
        exact = simplify(module, form)
        assert relative(exact(clip), expected) <= 1e-12
        # A window is put together from the logits of single frames: they do not see each other.
        features, head = exact.restricted_to("features"), exact.restricted_to("head")
        vectors = torch.cat([features(clip[:, :, t : t + 1]) for t in range(FEW)], 1)
        assert vectors.shape == (2, FEW, 7)
        assert relative(head(vectors), expected) <= 1e-12


def test_the_apex_outweighs_the_calm_frames() -> None:
    torch.manual_seed(2)
    module = create_model("slowr50", pooling="apex").eval()
    features = torch.rand(1, 2048, 8, 2, 2)
    with torch.no_grad():
        frames = module.head(features.mean((3, 4))[0].T)
        assert relative(module.forward_head(features), frames.mean(0, keepdim=True)) <= 1e-5  # zero: the mean
        module.apex.weight[0, 2] = -1e3  # away from neutral
        apex = frames[frames[:, 2].argmin()]
        assert relative(module.forward_head(features), apex[None]) <= 1e-5


def test_temporal_taps_that_act_are_not_dropped() -> None:
    module = create_model("slowr50", centre_taps=True)
    with pytest.raises(ValueError, match="centre_taps"):
        simplify(module)
    with pytest.raises(ValueError, match="pooling"):
        create_model("slowr50", pooling="max")


@pytest.mark.parametrize("form", FORMS)
def test_onnx_of_the_default_options_agrees_with_torch(form: str, tmp_path: Path) -> None:
    spec = registry.find("slowr50_sa").spec.with_options(pooling="apex", centre_taps=True)
    assert_onnx_equals_torch(dataclasses.replace(spec, frames=FEW, size=SMALL), form, tmp_path / "net.onnx")
