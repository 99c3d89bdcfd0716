"""keypoint_tsa: printed integers, stage shapes, exact folds, streaming (models.md sections 4, 7 and 9)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.inference import FORMS, SymbolicGraph, keypoint, keypoint_pooling, record
from dfer_edge.inference.keypoint_options import Options
from dfer_edge.inference.torch_graph import TorchGraph
from dfer_edge.models import create_model, simplify
from dfer_edge.models.complexity import count_macs, count_parameters, example_inputs
from dfer_edge.models.keypoint import mixed_loss
from dfer_edge.spec import ModelSpec
from tests.inference.agreement import assert_onnx_equals_torch, relative
from tests.inference.keypoint_cases import FEW, SMALL, SPEC, TOLERANCE, faces, trained_like

# Section 4, MACs of a frame; whole numbers follow from the shapes.
BACKBONE_MACS = {"stem": 29_503_488, "layers": (115_605_504, 102_760_448, 411_041_792, 1_644_167_168)}
TRIPLET_MACS = 2 * 49 * (14 * 14 + 2 * 512 * 14)
TEMPORAL_MACS = 107_846_144


def test_parameters_are_the_printed_integers() -> None:
    module = create_model("keypoint_tsa")
    temporal = module.temporal
    parts = {
        module.backbone: 11_176_512,
        module.triplet: 300,
        module.regions.relation: 262_144,
        module.regions.fc: 65_664,
        temporal.blocks: 6_303_744,
    }
    assert {part: count_parameters(part) for part in parts} == parts
    assert temporal.cls.numel() + temporal.position.numel() == 9_216
    assert count_parameters(module.head) + count_parameters(module.auxiliary) == 7_182
    assert count_parameters(module) == 17_824_762
    assert count_parameters(create_model("keypoint_tsa", 11)) == 17_828_866


@pytest.mark.parametrize(
    ("options", "millions"), [({"mlp_width": 512}, 16.25), ({"mlp_width": 768}, 17.04), ({"mlp_width": 2048}, 20.97)]
)
def test_other_mlp_widths_have_the_sizes_of_the_table(options: dict[str, int], millions: float) -> None:
    assert round(count_parameters(create_model("keypoint_tsa", **options)) / 1e6, 2) == millions


def test_own_layer_for_the_global_vector_adds_66_thousand() -> None:
    assert count_parameters(create_model("keypoint_tsa", shared_fc=False)) == 17_824_762 + 512 * 128 + 128


def test_macs_are_the_golden_integers() -> None:
    module = create_model("keypoint_tsa")
    assert count_macs(module, *example_inputs(module.spec)) == 37_035_707_008
    backbone = module.backbone
    shape = (1, 64, 28, 28)
    assert count_macs(backbone.stem_conv, torch.empty(1, 3, 112, 112)) == BACKBONE_MACS["stem"]
    for stage, macs in zip(backbone.stages, BACKBONE_MACS["layers"], strict=True):
        assert count_macs(stage, torch.empty(shape)) == macs
        shape = tuple(stage.to("meta")(torch.empty(shape, device="meta")).shape)
    assert count_macs(module.triplet, torch.empty(shape)) == TRIPLET_MACS
    temporal = count_macs(module.temporal, torch.empty(1, 16, 512)) + count_macs(module.head, torch.empty(1, 512))
    assert temporal == TEMPORAL_MACS


@pytest.mark.parametrize(("strides", "side", "giga"), [((1, 1), 14, 37.0), ((2, 1), 7, 12.3), ((2, 2), 4, 7.9)])
def test_last_strides_have_the_costs_of_the_table(strides: tuple[int, int], side: int, giga: float) -> None:
    module = create_model("keypoint_tsa", last_strides=strides)
    assert round(count_macs(module, *example_inputs(module.spec)) / 1e9, 1) == giga
    assert module.backbone.to("meta")(torch.empty(1, 3, 112, 112, device="meta")).shape == (1, 512, side, side)


def test_stage_shapes() -> None:
    module = create_model("keypoint_tsa").to("meta")
    frames, landmarks = torch.empty(2, 3, 112, 112, device="meta"), torch.empty(2, 68, 2, device="meta")
    backbone = module.backbone
    x = backbone.stem_conv(frames)
    assert x.shape[1:] == (64, 56, 56)
    x = backbone.pool(x)
    assert x.shape[1:] == (64, 28, 28)
    for stage, shape in zip(backbone.stages, [(64, 28, 28), (128, 14, 14), (256, 14, 14), (512, 14, 14)], strict=True):
        x = stage(x)
        assert x.shape[1:] == shape
    assert [gate(x).shape[1:] for gate in module.triplet.gates] == [(1, 14, 14), (512, 1, 14), (512, 14, 1)]
    gated = module.triplet(x)
    assert gated.shape[1:] == (512, 14, 14)
    nodes, whole = module.pooling(gated, landmarks)
    assert (nodes.shape[1:], whole.shape[1:]) == ((18, 512), (512,))
    assert module.regions.node_weights(nodes, whole).shape[1:] == (18, 1)
    assert module.regions.convolve(nodes, torch.empty(2, 18, 1, device="meta")).shape[1:] == (18, 128)
    assert module.regions(nodes, whole).shape[1:] == (512,)
    assert module.temporal(torch.empty(2, 16, 512, device="meta")).shape == (2, 512)
    assert module.forward_features(*example_inputs(SPEC, batch=3)).shape == (3, 16, 512)
    assert module(*example_inputs(SPEC, batch=3)).shape == (3, 7)


def test_folded_parameters() -> None:
    """Auxiliary head and 23 batch norms away, as printed; then what the temporal folds take."""
    norms = [norm for norm in create_model("keypoint_tsa").modules() if isinstance(norm, torch.nn.BatchNorm2d)]
    channels = sum(norm.num_features for norm in norms)
    assert (len(norms), channels) == (23, 4_803)
    # A folded norm of C channels leaves C biases of its 2 C parameters.
    assert 17_824_762 - 7_182 // 2 - channels == 17_816_368
    cls, block, last_block = 512, 4 * 512 - 3 * 512, 4 * 512 - 512
    assert record(SPEC)[0].parameters == 17_816_368 - cls - 2 * block - last_block


def frame_macs(pooling: int) -> int:
    """MACs of one frame in the inference form."""
    region = 512 * 512 + 16 * 512 + 16 * 18 * 512 + 17 * 512 * 128
    return BACKBONE_MACS["stem"] + sum(BACKBONE_MACS["layers"]) + TRIPLET_MACS + pooling + region


GEMM = 19 * 196 * 512
# cls-only last block: 17 tokens' MLP and projections shrink to one, keys and values are absorbed.
LAST_BLOCK = 2 * 512 * 512 + 2 * 8 * 64 * 512 + 2 * 8 * 17 * 512 + 2 * 512 * 1024
FULL_BLOCK = (TEMPORAL_MACS - 7 * 512) // 3


def test_cost_of_a_new_frame_and_of_a_clip() -> None:
    """Streaming computes one frame and the temporal part: 2.42 GMACs before the temporal folds, less after."""
    clip_graph, _, _ = record(SPEC)
    graph = SymbolicGraph()
    keypoint.frame_features(graph, graph.input("frames", (3, 112, 112)), graph.input("landmarks", (68, 2)), SPEC)
    frame = graph.macs
    graph = SymbolicGraph()
    keypoint.window_head(graph, graph.input("features", (16, 512)), SPEC)
    temporal = graph.macs
    assert frame == frame_macs(GEMM)
    assert temporal == 2 * FULL_BLOCK + LAST_BLOCK + 7 * 512
    assert 33_000_000 < TEMPORAL_MACS - temporal < 34_000_000
    assert clip_graph.macs == 16 * frame + temporal
    assert round((frame + TEMPORAL_MACS) / 1e9, 2) == 2.42
    assert round((frame + temporal) / 1e9, 2) == 2.38
    assert round(clip_graph.macs / 1e9, 2) == 37.00
    assert {record(SPEC, form)[0].macs for form in FORMS} == {clip_graph.macs}


OPTIONS: list[dict[str, object]] = [
    {},
    {"last_strides": (2, 1)},
    {"sigma_fraction": 0.3, "norm_heat": True},
    {"node_scale": "column", "self_loop": True},
    {"shared_fc": False, "mlp_width": 96, "final_norm": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_simplify_is_exact(options: dict[str, object]) -> None:
    module = trained_like(**options)
    clip, landmarks = torch.randn(2, 3, FEW, SMALL, SMALL, dtype=torch.float64), faces(2, FEW, SMALL)
    with torch.no_grad():
        expected = module.double()(clip, landmarks)
        assert expected.std() > 0.01
        for dtype, bound in TOLERANCE.items():
            module, inputs = module.to(dtype), (clip.to(dtype), landmarks.to(dtype))
            assert relative(simplify(module)(*inputs), module(*inputs)) <= bound


def test_simplify_is_exact_at_full_size() -> None:
    module = trained_like(size=112, frames=16)
    clip, landmarks = torch.randn(1, 3, 16, 112, 112), faces(1, 16, 112).float()
    with torch.no_grad():
        assert relative(simplify(module)(clip, landmarks), module(clip, landmarks)) <= 1e-5


def test_simplify_leaves_the_module_as_it_is() -> None:
    module = trained_like().double()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    simplify(module)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_pool_through_f_gives_the_same_features() -> None:
    module = trained_like().double()
    graph = TorchGraph(simplify(module).named_weights())
    frames, landmarks = torch.randn(2, 3, SMALL, SMALL, dtype=torch.float64), faces(1, 2, SMALL)[0]
    with torch.no_grad():
        expected = module.frame_features(frames, landmarks)
        for pool in (keypoint_pooling.pool_gated, keypoint_pooling.pool_gemm):
            assert relative(keypoint.frame_features(graph, frames, landmarks, module.spec, pool), expected) <= 1e-12


def test_stream_reuses_frame_features() -> None:
    """Windows that overlap share their frames' vectors: logits equal those of the whole window."""
    module = trained_like().double()
    simplified = simplify(module)
    graph = TorchGraph(simplified.named_weights())
    video, landmarks = torch.randn(1, 3, FEW + 2, SMALL, SMALL, dtype=torch.float64), faces(1, FEW + 2, SMALL)
    with torch.no_grad():
        vectors = [
            keypoint.frame_features(graph, video[:, :, frame], landmarks[:, frame], module.spec)
            for frame in range(FEW + 2)
        ]
        for start in (0, 1, 2):
            window = slice(start, start + FEW)
            streamed = keypoint.window_head(graph, torch.stack(vectors[window], 1), module.spec)
            assert relative(streamed, simplified(video[:, :, window], landmarks[:, window])) <= 1e-12


def test_auxiliary_head_serves_the_loss_only() -> None:
    module = trained_like().double()
    clip, landmarks = torch.randn(1, 3, FEW, SMALL, SMALL, dtype=torch.float64), faces(1, FEW, SMALL)
    target = torch.tensor([3])
    with torch.no_grad():
        before = [
            module(clip, landmarks),
            simplify(module)(clip, landmarks),
            module.training_loss(clip, landmarks, target),
        ]
        module.auxiliary.classifier.weight.fill_(float("nan"))
        after = [
            module(clip, landmarks),
            simplify(module)(clip, landmarks),
            module.training_loss(clip, landmarks, target),
        ]
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[1], before[1])
    assert after[2].isnan()
    assert not before[2].isnan()


def test_loss_mixes_a_fifth_of_the_auxiliary_head() -> None:
    auxiliary, logits, target = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, math.log(3)]]), torch.tensor([1])
    assert mixed_loss(auxiliary, logits, target).item() == pytest.approx(0.2 * math.log(2) + 0.8 * math.log(4 / 3))
    assert mixed_loss(auxiliary, logits, target, (1.0, 0.0)).item() == pytest.approx(math.log(2))
    module = trained_like()
    features = torch.randn(2, FEW, 512)
    expected = features.mean(1) @ module.auxiliary.classifier.weight.T + module.auxiliary.classifier.bias
    assert relative(module.forward_auxiliary(features), expected) <= 1e-5


def test_every_parameter_learns_from_the_start() -> None:
    """Fresh weights: w = ReLU(V W_l v_g) is alive for every node of every frame, and every gradient is finite."""
    torch.manual_seed(6)
    module = create_model("keypoint_tsa", size=SMALL).train()
    clip, landmarks = torch.randn(2, 3, 16, SMALL, SMALL), faces(2, 16, SMALL).float()
    alive: list[torch.Tensor] = []
    module.regions.node_weights = spy(module.regions.node_weights, alive)
    module.training_loss(clip, landmarks, torch.tensor([1, 4])).backward()
    assert alive[0].shape == (32, 18, 1)
    assert (alive[0] > 0).all()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def spy(function: Callable[..., torch.Tensor], seen: list[torch.Tensor]) -> Callable[..., torch.Tensor]:
    def wrapped(*arguments: torch.Tensor) -> torch.Tensor:
        seen.append(function(*arguments))
        return seen[-1]

    return wrapped


def test_onnx_agrees_with_torch(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, frames=3)
    assert_onnx_equals_torch(spec, "3d", tmp_path / "net.onnx", lambda batch: faces(batch, 3, 112).float())


@pytest.mark.parametrize(
    "options",
    [
        {"last_strides": (1, 3)},
        {"last_strides": 1},
        {"sigma_fraction": 0},
        {"sigma_fraction": True},
        {"norm_heat": 1},
        {"self_loop": "no"},
        {"node_scale": "both"},
        {"shared_fc": None},
        {"mlp_width": 0},
        {"mlp_width": 1024.0},
        {"final_norm": 0},
        {"size": 16},
        {"dropout": 0.5},
    ],
    ids=str,
)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(options))):
        create_model("keypoint_tsa", **options)


def test_options_travel_in_the_spec() -> None:
    spec = ModelSpec.from_json(create_model("keypoint_tsa", last_strides=(2, 1), size=SMALL).spec.to_json())
    assert Options.of(spec).last_strides == (2, 1)
    assert (spec.size, spec.landmarks) == (SMALL, 68)
    with pytest.raises(InvalidInput, match="expected the options"):
        Options.of(dataclasses.replace(spec, options={}))


@pytest.mark.parametrize(
    ("clip", "landmarks"),
    [
        ((1, 3, 8, 112, 112), (1, 8, 68, 2)),
        ((1, 3, 16, 64, 64), (1, 16, 68, 2)),
        ((2, 3, 16, 112, 112), (1, 16, 68, 2)),
    ],
)
def test_wrong_shapes_are_refused(clip: tuple[int, ...], landmarks: tuple[int, ...]) -> None:
    module = create_model("keypoint_tsa").to("meta")
    with pytest.raises(InvalidInput, match="expected a clip"):
        module(torch.empty(clip, device="meta"), torch.empty(landmarks, device="meta"))
