"""R(2+1)D-18 with spatio-temporal attention: integers, stage shapes, exact folds (models.md sections 5, 7, 9)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from dfer_edge.inference import FORMS, record, registry
from dfer_edge.models import create_model, simplify
from dfer_edge.models import r2plus1d as training
from dfer_edge.models.complexity import count_macs, count_parameters, example_inputs
from dfer_edge.spec import ModelSpec
from tests.inference.agreement import assert_onnx_equals_torch, disturb_norms, relative

NAME = "r2plus1d_sta"
CUMULATIVE = [("stages.0", 0.460), ("stages.1", 1.930), ("stages.2", 7.805)]
ATTENTION, HEAD, LOSS_BRANCH, CENTERS = 164_481, 1_799, 412_164_288, 7 * 256
TRAINED, WITHOUT_LOSS_BRANCH = 420_136_961, 7_970_881
MACS, COLLAPSED_MACS, TRAINING_GMACS = 38_183_285_504, 38_041_706_752, 38.595
STAGE_GMACS = [0.765, 22.196, 10.032, 5.016]
STAGE_SHAPES = [(64, 16, 56, 56), (64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14)]
# The collapsed row counts the two products of the 7 x 256 classifier with a 256 x 256 value matrix inside the forward
# pass; folding does them once, so that a clip never pays for them.
MERGE_MACS = 2 * 7 * 256 * 256
NORM_CHANNELS = 5_969
VARIANTS = [
    {},
    {"att_share": True},
    {"att_scale": True},
    {"classifier_input": "flatten"},
    {"classifier_input": "flatten", "att_share": True},
]
# What a form changes, the trunk, no option does: the first in every form, the others in one, each in turn.
LABELS = {"labels": tuple("abcdefghijk")}
CASES = [({}, form) for form in FORMS]
CASES += [(options, FORMS[number % len(FORMS)]) for number, options in enumerate([*VARIANTS[1:], LABELS])]


def small_spec(size: int = 32, frames: int = 6, **options: object) -> ModelSpec:
    spec = dataclasses.replace(registry.find(NAME).spec, size=size, frames=frames)
    return spec.with_options(**options)


def trained_like(spec: ModelSpec, seed: int = 0, **options: object) -> training.R2Plus1D:
    """Batch norms far from the identity and gamma at 0.7, so that a wrong fold shows."""
    torch.manual_seed(seed)
    module = training.create(spec, gamma=0.7, **options).eval()
    disturb_norms(module)
    return module


# -- counts and shapes ----------------------------------------------------------------------------------------


def test_parameters_are_the_printed_integers() -> None:
    module = create_model(NAME)
    assert count_parameters(module) == WITHOUT_LOSS_BRANCH
    assert count_parameters(module.attention) == ATTENTION
    assert count_parameters(module.classifier) == HEAD
    total = count_parameters(module.stem)
    for name, millions in CUMULATIVE:
        total += count_parameters(module.get_submodule(name))
        assert round(total / 1e6, 3) == millions
    assert total == WITHOUT_LOSS_BRANCH - ATTENTION - HEAD


def test_training_graph_has_420_million_parameters() -> None:
    with torch.device("meta"):
        module = create_model(NAME, loss_branch=True)
    assert count_parameters(module) == TRAINED
    assert module.loss_branch.centers.shape == (7, 256)
    assert count_parameters(module.loss_branch) - CENTERS == LOSS_BRANCH
    assert [layer.out_features for layer in module.loss_branch.context if isinstance(layer, nn.Linear)] == [
        2048,
        512,
        64,
    ]
    # Batch norm needs two samples in training.
    p, labels = torch.empty(2, 256, 4, 14, 14), torch.zeros(2, dtype=torch.int64)
    macs = MACS + count_macs(module.loss_branch, p, labels) // 2
    assert round(macs / 1e9, 3) == TRAINING_GMACS


@pytest.mark.parametrize("share", [False, True])
def test_macs_of_the_training_form(share: bool) -> None:
    """Both readings of the attention cost the same."""
    module = create_model(NAME, att_share=share)
    assert count_macs(module, *example_inputs(module.spec)) == MACS


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [False, True])
def test_counts_of_the_inference_form(form: str, share: bool) -> None:
    graph, _, logits = record(registry.find(NAME).spec.with_options(att_share=share), form)
    assert logits.shape == (-1, 7)
    assert graph.macs == COLLAPSED_MACS - MERGE_MACS
    # Out: 2 values with bias, 2 key biases, gamma, a norm's scale for each channel. In: two 7 x 256 matrices.
    removed = 2 * (256 * 256 + 256) + 2 * 32 + 1 + NORM_CHANNELS
    assert graph.parameters == WITHOUT_LOSS_BRANCH - removed + 2 * 7 * 256
    assert round((graph.parameters + NORM_CHANNELS) / 1e6, 3) == 7.843
    assert round(graph.parameters / 1e6, 3) == 7.837


class Collapsed(nn.Module):
    """The collapse as models.md writes it, on a training form: weights are merged inside the forward pass."""

    def __init__(self, module: training.R2Plus1D) -> None:
        super().__init__()
        self.module = module

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        f = self.module.trunk(clip)
        head, attention = self.module.classifier, self.module.attention
        logits = head(f.mean((2, 3, 4)))
        for axis, order in ((attention.space, (0, 2, 3, 1)), (attention.time, (0, 3, 2, 1))):
            tokens = f.flatten(3).permute(order)  # [B, G, N, 256]
            column = axis.attention_map(f).mean(2, keepdim=True)  # [B, G, 1, N]
            pooled = (column @ tokens).mean((1, 2))
            merged = head.weight @ axis.value.weight.flatten(1)
            bias = (head.weight * axis.value.bias).sum(1)
            logits = logits + attention.gamma * (nn.functional.linear(pooled, merged) + bias)
        return logits


def test_collapsed_macs_are_the_golden_ones_with_the_merge_inside() -> None:
    module = create_model(NAME)
    assert count_macs(Collapsed(module), *example_inputs(module.spec)) == COLLAPSED_MACS


def test_stage_shapes_and_macs() -> None:
    module = create_model(NAME).to("meta")
    x = torch.empty(1, 3, 16, 112, 112, device="meta")
    for stage, shape, gmacs in zip([module.stem, *module.stages], STAGE_SHAPES, STAGE_GMACS, strict=True):
        assert round(count_macs(stage, x) / 1e9, 3) == gmacs
        x = stage(x)
        assert x.shape[1:] == shape
    assert module.forward_features(torch.empty(2, 3, 16, 112, 112, device="meta")).shape == (2, 256, 4, 14, 14)
    assert training.feature_shape(module.spec) == (256, 4, 14, 14)


@pytest.mark.parametrize(("size", "frames"), [(112, 16), (33, 6), (40, 5), (17, 1)])
def test_feature_shape_rounds_up(size: int, frames: int) -> None:
    spec = small_spec(size, frames)
    module = training.create(spec).to("meta")
    features = module.forward_features(torch.empty(1, *spec.input_shape, device="meta"))
    assert features.shape[1:] == training.feature_shape(spec)


def test_28_batch_norms_of_5969_channels() -> None:
    norms = [m for m in create_model(NAME).modules() if isinstance(m, nn.BatchNorm3d)]
    assert (len(norms), sum(norm.num_features for norm in norms)) == (28, NORM_CHANNELS)


# -- exactness ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "form"), [case for case in CASES if case[0] is not LABELS])
def test_simplify_is_exact(form: str, options: dict[str, object]) -> None:
    """Fixed size for the flat classifier, else odd frames and unequal sides."""
    module = trained_like(small_spec(**options)).double()
    shape = (6, 32, 32) if "classifier_input" in options else (5, 41, 25)
    clip = torch.randn(2, 3, *shape, dtype=torch.float64)
    with torch.no_grad():
        expected = module(clip)
        assert relative(simplify(module, form)(clip), expected) <= 1e-12
        single = module.float()
        assert relative(simplify(single, form)(clip.float()), single(clip.float())) <= 1e-5
        module.double().attention.gamma.zero_()
        assert relative(module(clip), expected) > 1e-3, "the attention does not act: nothing was compared"


def test_forms_agree_at_the_input_size_of_the_paper() -> None:
    module = trained_like(registry.find(NAME).spec)
    clip = torch.randn(1, 3, 16, 112, 112)
    with torch.no_grad():
        expected = module(clip)
        assert [relative(simplify(module, form)(clip), expected) <= 1e-5 for form in FORMS] == [True] * 3


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_forms_agree_for_any_number_of_frames(frames: int) -> None:
    """Temporal strides drop the last frame or not; a shortcut keeps frames 0, 2, 4, ... in every form."""
    module = trained_like(small_spec(17, frames)).double()
    clip = torch.randn(2, 3, frames, 17, 24, dtype=torch.float64)
    with torch.no_grad():
        expected = module(clip)
        assert [relative(simplify(module, form)(clip), expected) <= 1e-12 for form in FORMS] == [True] * 3


def test_the_written_collapse_agrees_too() -> None:
    module = trained_like(small_spec()).double()
    clip = torch.randn(2, 3, 6, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        assert relative(Collapsed(module)(clip), module(clip)) <= 1e-12


def test_key_biases_do_not_act() -> None:
    module = trained_like(small_spec()).double()
    clip = torch.randn(1, 3, 6, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = module(clip)
        module.attention.space.key.bias.add_(3)
        module.attention.time.key.bias.sub_(3)
        assert relative(module(clip), expected) <= 1e-12
        module.attention.space.query.bias.add_(3)
        assert relative(module(clip), expected) > 1e-6


@pytest.mark.parametrize(("options", "form"), CASES)
def test_onnx_forms_agree_with_torch(form: str, options: dict[str, object], tmp_path: Path) -> None:
    spec = small_spec(size=33, **{key: value for key, value in options.items() if key != "labels"})
    spec = spec.with_labels(options.get("labels", spec.labels))
    assert_onnx_equals_torch(spec, form, tmp_path / "net.onnx")


@pytest.mark.parametrize("form", FORMS)
def test_openvino_compiles_maps_that_places_share(form: str, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    spec = small_spec(size=33, att_share=True)
    path = tmp_path / "net.onnx"
    assert_onnx_equals_torch(spec, form, path)
    clip = np.random.default_rng(20).standard_normal((1, *spec.input_shape), np.float32)
    expected = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {spec.input: clip})[0]
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    actual = core.compile_model(path, "CPU")(clip)[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"att_share": True}])
def test_logits_do_not_move_with_the_loss_branch(options: dict[str, object]) -> None:
    spec = small_spec(17, 5, **options)
    module = trained_like(spec, loss_branch=True, loss_widths=(24, 16, 8))
    clip, labels = torch.randn(2, 3, 5, 17, 17), torch.tensor([1, 2])
    module(clip).sum().backward()
    assert all(value.grad is None for value in module.loss_branch.parameters())
    with torch.no_grad():
        logits, folded, loss = module(clip), simplify(module)(clip), module.training_loss(clip, labels)
        for value in module.loss_branch.parameters():
            value.add_(torch.randn_like(value))
        assert torch.equal(module(clip), logits)
        assert torch.equal(simplify(module)(clip), folded)
        assert not torch.equal(module.training_loss(clip, labels), loss)
    assert set(simplify(module).named_weights()) == set(record(spec)[0].weights)


def test_gamma_starts_at_zero_and_then_p_is_f() -> None:
    module = create_model(NAME).eval()
    clip = torch.randn(2, 3, 6, 32, 32)
    with torch.no_grad():
        assert torch.equal(module.forward_features(clip), module.trunk(clip))
        module.attention.gamma.fill_(0.7)
        assert not torch.allclose(module.forward_features(clip), module.trunk(clip))


def test_flat_classifier_reads_200704_features() -> None:
    module = create_model(NAME, classifier_input="flatten")
    assert count_parameters(module.classifier) == 200_704 * 7 + 7
    graph, _, _ = record(module.spec)
    assert graph.parameters == WITHOUT_LOSS_BRANCH - HEAD + 200_704 * 7 + 7 - 2 * 32 - 1 - NORM_CHANNELS
    assert graph.macs == MACS - 256 * 7 + 200_704 * 7
