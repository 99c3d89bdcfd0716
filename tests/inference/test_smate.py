"""SMaTE: printed numbers, shapes, exact folds, what TPE does not do, mixed tokens (models.md sections 2 and 9)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import FORMS, record, registry
from dfer_edge.inference.smate import TPE_MODES, step_features, temporal_encoding, window_head
from dfer_edge.inference.symbolic import SymbolicGraph
from dfer_edge.inference.torch_graph import TorchGraph
from dfer_edge.models import create_model, simplify
from dfer_edge.models.complexity import count_macs, count_parameters, example_inputs
from dfer_edge.models.smate import mix_clips
from tests.inference.agreement import assert_onnx_equals_torch, relative

ORDERED = ("learned", "vector")
LAYER = 7_087_872
SMALL = {"size": 32, "spatial_depth": 2, "temporal_depth": 2}


def shapes_only(**options: object) -> torch.nn.Module:
    with torch.device("meta"):
        return create_model("smate", **options)


def trained_like(seed: int = 0, **options: object) -> torch.nn.Module:
    """A small network with every parameter far from its initial value, so that a wrong fold shows."""
    torch.manual_seed(seed)
    module = create_model("smate", **{**SMALL, **options}).eval()
    for key, value in module.named_parameters():
        if "norm" in key and key.endswith("weight"):
            torch.nn.init.uniform_(value, 0.5, 1.5)
        elif value.ndim == 1 or key.endswith("positions"):
            torch.nn.init.normal_(value, 0, 0.3)
    return module.double()


def random_clip(batch: int = 2, frames: int = 25, size: int = 32, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, frames, size, size, dtype=torch.float64, generator=generator)


# -- counts -------------------------------------------------------------------------------------------------------


def layer_macs(tokens: int, queries: int | None = None) -> int:
    """One layer on ``tokens``; with ``queries`` = 1 the projections of keys and values run once, see the fold."""
    if queries is None:
        return tokens * 12 * 768**2 + 2 * tokens**2 * 768
    return 12 * 768**2 + 2 * 12 * tokens * 768


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 171_450_631),
        ({"temporal_depth": 4}, 171_450_631 - 8 * LAYER),
        ({"tpe_mode": "none"}, 171_450_631),
        ({"tpe_mode": "learned"}, 171_460_615),
        ({"tpe_mode": "vector"}, 171_450_631 + 768),
    ],
)
def test_parameters(options: dict[str, object], expected: int) -> None:
    assert count_parameters(shapes_only(**options)) == expected


def test_public_encoder_has_114_76_million_parameters() -> None:
    assert round(count_parameters(shapes_only(temporal_depth=4, tpe_mode="learned")) / 1e6, 2) == 114.76


def test_macs_of_the_training_form() -> None:
    module = shapes_only()
    assert count_macs(module, *example_inputs(module.spec)) == 213_251_259_648


@pytest.mark.parametrize(("size", "gmacs"), [(64, "12.51"), (128, "46.16"), (224, "142.20"), (320, "300.72")])
def test_macs_by_crop(size: int, gmacs: str) -> None:
    module = shapes_only(frames=16, size=size)
    assert f"{count_macs(module, *example_inputs(module.spec)) / 1e9:.2f}" == gmacs


@pytest.mark.parametrize("form", FORMS)
def test_inference_form_costs_8_percent_less(form: str) -> None:
    graph, inputs, logits = record(registry.find("smate").spec, form)
    assert graph.macs == 195_847_358_208
    key_and_value_biases, layer_norms = 24 * 2 * 768, 24 * 2 * 2 * 768
    last_norm, tubelet_bias, cls = 2 * 768, 768, 768
    folded = key_and_value_biases + layer_norms + last_norm + tubelet_bias + cls
    assert graph.parameters == 171_450_631 - folded
    assert [value.shape for value in inputs] == [(-1, 3, 25, 224, 224)]
    assert logits.shape == (-1, 7)


def test_a_streamed_tubelet_costs_17_26_gmacs() -> None:
    spec = registry.find("smate").spec
    one, whole = SymbolicGraph(), SymbolicGraph()
    assert step_features(one, [one.input("clip", (3, 2, 224, 224))], spec).shape == (-1, 1, 768)
    features = step_features(whole, [whole.input("clip", spec.input_shape)], spec)
    assert features.shape == (-1, 12, 768)
    assert whole.macs == 12 * one.macs
    head = SymbolicGraph()
    window_head(head, head.input("features", (12, 768)), spec)
    spatial = 196 * 1536 * 768 + 11 * layer_macs(197) + layer_macs(197, queries=1)
    assert one.macs == spatial
    assert head.macs == 11 * layer_macs(13) + layer_macs(13, queries=1) + 7 * 768
    assert whole.macs + head.macs == 195_847_358_208
    assert f"{(one.macs + head.macs) / 1e9:.2f}" == "17.26"


def test_stage_shapes() -> None:
    module, clip = shapes_only(), torch.empty(2, 3, 25, 224, 224, device="meta")
    assert module.embedding(clip).shape == (2, 768, 12, 14, 14)
    assert module.tokens(clip).shape == (2, 12, 196, 768)
    assert module.spatial_positions.shape == (197, 768)
    assert module.tubelet_features(clip).shape == (2, 12, 768)
    assert module.forward_features(clip).shape == (2, 13, 768)
    assert module(clip).shape == (2, 7)


# -- exact folds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "form"), [("add", "3d"), ("add", "2d"), ("none", "shifted"), ("learned", "3d"), ("vector", "2d")]
)
def test_simplify_is_exact(mode: str, form: str) -> None:
    module, clip = trained_like(tpe_mode=mode, alpha=1.7), random_clip()
    with torch.no_grad():
        expected = module(clip)
        assert relative(simplify(module, form)(clip), expected) <= 1e-12
        single = module.float()
        assert relative(simplify(single, form)(clip.float()), single(clip.float())) <= 1e-5


@pytest.mark.parametrize("depth", [1, 5])
def test_simplify_is_exact_at_other_depths(depth: int) -> None:
    module = trained_like(spatial_depth=depth, temporal_depth=depth, frames=5)
    clip = random_clip(frames=5)
    with torch.no_grad():
        expected = module(clip)
        assert relative(simplify(module)(clip), expected) <= 1e-12
        simple = simplify(module.float())
        assert relative(simple(clip.float()), expected) <= 1e-5


def test_features_depend_on_their_two_frames_only() -> None:
    """What a stream caches: one tubelet at a time equals the whole clip."""
    module, clip = trained_like(tpe_mode="learned"), random_clip()
    graph = TorchGraph(simplify(module).named_weights())
    with torch.no_grad():
        whole = step_features(graph, [clip], module.spec)
        assert relative(whole, module.tubelet_features(clip)) <= 1e-12
        parts = [step_features(graph, [clip[:, :, 2 * i : 2 * i + 2]], module.spec) for i in range(12)]
        assert relative(torch.cat(parts, 1), whole) <= 1e-12
        assert relative(window_head(graph, torch.cat(parts, 1), module.spec), module(clip)) <= 1e-12


@pytest.mark.parametrize(("mode", "form"), [*(("add", form) for form in FORMS), ("vector", "2d")])
def test_onnx_forms_agree_with_torch(form: str, mode: str, tmp_path: Path) -> None:
    assert_onnx_equals_torch(create_model("smate", **SMALL, tpe_mode=mode).spec, form, tmp_path / "net.onnx")


@pytest.mark.parametrize("form", FORMS)
def test_last_frame_is_inert(form: str) -> None:
    module, clip = trained_like(), random_clip()
    poisoned = clip.clone()
    poisoned[:, :, 24] = math.nan
    with torch.no_grad():
        assert torch.equal(module(poisoned), module(clip))
        simple = simplify(module, form)
        assert torch.equal(simple(poisoned), simple(clip))
        poisoned[:, :, 23] = math.nan
        assert simple(poisoned).isnan().all()


# -- temporal position encoding -----------------------------------------------------------------------------------


def test_tpe_formulas() -> None:
    sigmoid = [1 / (1 + math.exp(-2.0 * (2 * pos - 13) / 13)) for pos in range(13)]
    np.testing.assert_allclose(temporal_encoding(13, "v1", 2.0, 13), sigmoid, rtol=1e-14)
    np.testing.assert_allclose(temporal_encoding(4, "v2", 2.0, 8), [0, 1 / 8, 4 / 8, 9 / 8], rtol=1e-14)
    np.testing.assert_allclose(temporal_encoding(4, "v2n", 2.0, 8), [0, 1 / 64, 4 / 64, 9 / 64], rtol=1e-14)
    np.testing.assert_allclose(temporal_encoding(13, "v2", 1.0, 13), temporal_encoding(13, "v2n", 1.0, 13), rtol=1e-14)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_tpe_ranges(alpha: float) -> None:
    first = temporal_encoding(13, "v1", alpha, 13)
    assert first[0] == pytest.approx(1 / (1 + math.exp(alpha)))
    assert first[-1] == pytest.approx(1 / (1 + math.exp(-alpha * 11 / 13)))
    normalised = temporal_encoding(13, "v2n", alpha, 13)
    assert normalised[0] == 0
    assert normalised[-1] < 1
    for encoding in (first, normalised, temporal_encoding(13, "v2", alpha, 13)):
        assert (np.diff(encoding) > 0).all()


def test_printed_v2_leaves_the_unit_interval() -> None:
    bound = math.log(13) / math.log(12)
    assert round(bound, 3) == 1.032
    assert temporal_encoding(13, "v2", bound, 13).max() == pytest.approx(1)
    assert temporal_encoding(13, "v2", 2.0, 13).max() == pytest.approx(144 / 13)


def test_printed_tpe_does_nothing() -> None:
    """TPE of any form and slope, and no TPE, give the same logits: layer norm removes a constant over channels."""
    clip = random_clip()
    with torch.no_grad():
        expected = trained_like(tpe_mode="none")(clip)
        for form, alpha in (("v1", 1.0), ("v2", 3.0), ("v2n", 0.5)):
            module = trained_like(tpe_mode="add", tpe_form=form, alpha=alpha)
            assert np.ptp(module.architecture.encoding()) > 0.4
            assert relative(module(clip), expected) <= 1e-12
            assert relative(simplify(module)(clip), expected) <= 1e-12


def test_dropout_lets_printed_tpe_act_in_training_only() -> None:
    clip, logits = random_clip(batch=1), []
    for alpha in (1.0, 3.0):
        module = trained_like(alpha=alpha, dropout=0.5)
        torch.manual_seed(5)
        with torch.no_grad():
            logits.append((module.train()(clip), module.eval()(clip)))
    assert relative(logits[0][1], logits[1][1]) <= 1e-12
    assert relative(logits[0][0], logits[1][0]) > 1e-3


@pytest.mark.parametrize("mode", TPE_MODES)
def test_only_learned_positions_and_the_extension_see_order(mode: str) -> None:
    module, clip = trained_like(tpe_mode=mode), random_clip()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    frames = torch.stack([2 * order, 2 * order + 1], 1).flatten()
    shuffled = clip.clone()
    shuffled[:, :, :24] = clip[:, :, frames]
    with torch.no_grad():
        for network in (module, simplify(module)):
            change = relative(network(shuffled), network(clip))
            assert change > 1e-3 if mode in ORDERED else change <= 1e-12


def test_alpha_acts_in_the_extension() -> None:
    clip = random_clip(batch=1)
    with torch.no_grad():
        logits = [trained_like(tpe_mode="vector", alpha=alpha)(clip) for alpha in (1.0, 3.0)]
    assert relative(*logits) > 1e-3


# -- mixed tokens -------------------------------------------------------------------------------------------------


def mixed_tokens(module: torch.nn.Module, clip: torch.Tensor, augmented: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The paper's formula on tokens [B, t, patches, 768], X [B, t, patches]."""
    tokens = [module.tokens(version) for version in (clip, *augmented.unbind(1))]
    return torch.where(x[..., None], sum(tokens) / len(tokens), tokens[0])


@pytest.mark.parametrize("mixing", ["clip", "token"])
def test_mixed_tokens_are_tokens_of_the_mixed_clip(mixing: str) -> None:
    module, clip = trained_like(), random_clip(batch=3)
    augmented = torch.stack([random_clip(batch=3, seed=seed) for seed in (7, 8, 9)], 1)
    augmented[:, :, :, 24] = math.nan
    if mixing == "clip":
        chosen = torch.tensor([True, False, True])
        x = chosen[:, None, None].expand(3, 12, 4)
    else:
        chosen = torch.rand(3, 12, 2, 2, generator=torch.Generator().manual_seed(4)) < 0.5
        x = chosen.flatten(2)
    with torch.no_grad():
        actual = module.tokens(mix_clips(clip, augmented, chosen))
        assert relative(actual, mixed_tokens(module, clip, augmented, x)) <= 1e-12


@pytest.mark.parametrize("mixing", ["clip", "token"])
def test_mixing_is_drawn_in_training_only(mixing: str) -> None:
    module = trained_like(mixing=mixing, frames=4).train()
    clip = random_clip(batch=128, frames=4)
    augmented = random_clip(batch=256, frames=4, seed=3).unflatten(0, (128, 2))
    everywhere = torch.ones(128, 2, 4, dtype=torch.bool)
    with torch.no_grad():
        original, mixed = module.tokens(clip), mixed_tokens(module, clip, augmented, everywhere)
        tokens = module.tokens(clip, augmented)
        is_mixed = (tokens - mixed).abs().amax(-1) < 1e-9  # [B, t, patches]
        is_original = (tokens - original).abs().amax(-1) < 1e-9
        assert (is_mixed ^ is_original).all()
        # Five standard deviations of 128 draws of P = 0.5.
        assert abs(is_mixed.double().mean().item() - 0.5) < 0.23
        per_clip = is_mixed.flatten(1).double().mean(1)
        assert ((per_clip == 0) | (per_clip == 1)).all().item() == (mixing == "clip")
        assert torch.equal(module.eval().tokens(clip, augmented), original)


def test_mix_probability() -> None:
    clip, augmented = random_clip(frames=4), random_clip(batch=4, frames=4, seed=3).unflatten(0, (2, 2))
    with torch.no_grad():
        for probability in (0, 1):
            module = trained_like(mix_probability=probability, frames=4).train()
            x = torch.full((2, 2, 4), bool(probability))
            expected = module.forward_head(module.forward_features(clip, augmented))
            assert relative(module.tokens(clip, augmented), mixed_tokens(module, clip, augmented, x)) <= 1e-12
            assert torch.equal(module(clip, augmented), expected)
            assert torch.equal(module(clip, augmented), module(clip)) == (probability == 0)


# -- training -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", TPE_MODES)
def test_gradients_reach_every_parameter_but_key_biases(mode: str) -> None:
    module = trained_like(tpe_mode=mode).train()
    loss = torch.nn.functional.cross_entropy(module(random_clip(), random_clip()[:, None]), torch.tensor([0, 3]))
    loss.backward()
    largest = {name: parameter.grad.abs().max().item() for name, parameter in module.named_parameters()}
    for name, value in largest.items():
        if name.endswith("key.bias"):
            assert value < 1e-14
        else:
            assert 1e-9 < value < math.inf, name


def test_gradient_is_the_derivative() -> None:
    """Along a random direction of all parameters: a cut anywhere in the residual stream would show."""
    module, clip = trained_like(tpe_mode="vector", frames=4), random_clip(frames=4)
    parameters = dict(module.named_parameters())
    generator = torch.Generator().manual_seed(6)
    direction = {
        name: torch.randn(value.shape, dtype=value.dtype, generator=generator) for name, value in parameters.items()
    }

    def loss(step: float) -> torch.Tensor:
        moved = {name: value + step * direction[name] for name, value in parameters.items()}
        logits: torch.Tensor = torch.func.functional_call(module, moved, (clip,))
        return logits.square().sum()

    gradients = torch.autograd.grad(loss(0.0), list(parameters.values()))
    along = sum((g * d).sum() for g, d in zip(gradients, direction.values(), strict=True))
    with torch.no_grad():
        numeric = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert along.item() == pytest.approx(numeric.item(), rel=1e-6)


def test_initial_values() -> None:
    torch.manual_seed(0)
    module = create_model("smate", **SMALL, tpe_mode="learned")
    assert module.spatial_positions.std().item() == pytest.approx(0.02, rel=0.1)
    assert module.temporal_positions.std().item() == pytest.approx(0.02, rel=0.1)
    assert module.head.weight.abs().max() > 0
    # Xavier uniform: variance 2 / (fan_in + fan_out).
    assert module.spatial.layers[0].mlp_in.weight.var().item() == pytest.approx(2 / (768 + 3072), rel=0.01)
    assert module.embedding.weight.var().item() == pytest.approx(2 / (768 + 1536), rel=0.01)
    assert all((value == 0).all() for key, value in module.named_parameters() if key.endswith(("bias", "cls")))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tpe_mode": "sine"}, "tpe_mode"),
        ({"tpe_form": "v3"}, "tpe_form"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": math.inf}, "alpha"),
        ({"alpha": "2"}, "alpha"),
        ({"tpe_length": 12}, "tpe_length"),
        ({"spatial_depth": 0}, "depth"),
        ({"temporal_depth": 2.5}, "depth"),
        ({"size": 100}, "size"),
        ({"size": 0}, "size"),
        ({"frames": 1}, "frames"),
        ({"mixing": "frame"}, "mixing"),
        ({"mix_probability": 1.5}, "mix_probability"),
        ({"dropout": -0.1}, "dropout"),
    ],
)
def test_bad_options(options: dict[str, object], match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        shapes_only(**{**SMALL, **options})


def test_bad_inputs() -> None:
    module = shapes_only(**SMALL)
    with pytest.raises(InvalidInput, match=r"25, 32, 32.*25, 64, 64"):
        module(torch.empty(1, 3, 25, 64, 64, device="meta"))
    clip = torch.empty(1, 3, 25, 32, 32, device="meta")
    for augmented in (clip, clip[:, None, :, :24], clip[:, None][:, :0]):
        with pytest.raises(InvalidInput, match="augmented"):
            module.train()(clip, augmented)
