"""Parts of keypoint_tsa against independent writings of their definitions (models.md sections 4 and 9)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from dfer_edge.inference import keypoint_pooling
from dfer_edge.inference.folding import fold_norm
from dfer_edge.inference.keypoint_graph import MIRROR_NODES, mirror
from dfer_edge.inference.keypoint_options import Options
from dfer_edge.inference.torch_graph import TorchGraph
from dfer_edge.models import create_model
from dfer_edge.models.keypoint import KeyPointPooling, RegionGraph, TemporalBlock, TripletAttention, public_keys
from dfer_edge.models.simplified import state_arrays
from tests.inference.agreement import relative
from tests.inference.keypoint_cases import SPEC, TOLERANCE, faces, trained_like


def literal_pooling(
    features: torch.Tensor, landmarks: torch.Tensor, size: int, sigma: float, norm: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """v_j and v_g as in the specification: one 2-D Gaussian, one product and one mean for each node."""
    points = [17, 19, 21, 36, 39, 22, 24, 26, 42, 45, 27, 30, 48, 51, 54, 57]
    side = features.shape[-1]
    nodes = [landmarks[:, point] for point in points]
    nodes += [(landmarks[:, a] + landmarks[:, b] + landmarks[:, c]) / 3 for a, b, c in ((3, 31, 41), (13, 35, 46))]
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    pooled = []
    for node in nodes:
        u, v = ((node + 0.5) * side / size - 0.5).unbind(-1)
        square = (columns - u[:, None, None]) ** 2 + (rows - v[:, None, None]) ** 2
        heat = torch.exp(-square / (2 * sigma**2))[:, None]  # [N, 1, S, S]
        total = (features * heat).sum((2, 3))
        pooled.append(total / heat.sum((2, 3)) if norm else total / side**2)
    return torch.stack(pooled, 1), features.mean((2, 3))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("count", "channels", "side"), [(2, 512, 14), (3, 7, 5), (1, 1, 1)])
def test_pooling_three_ways(dtype: torch.dtype, norm: bool, count: int, channels: int, side: int) -> None:
    """Literal, one product (training form) and gates folded in (inference form); and the latter through F."""
    torch.manual_seed(side)
    options = dataclasses.replace(Options.of(SPEC), norm_heat=norm)
    triplet = TripletAttention().eval()
    for gate in triplet.gates:
        torch.nn.init.uniform_(gate.norm.weight, 0.5, 1.5)
        gate.norm.running_mean.normal_(0, 0.3)
    x = torch.rand(count, channels, side, side, dtype=torch.float64)
    landmarks = faces(1, count, 112, seed=side)[0]
    state = state_arrays(triplet.double())
    weights = {}
    for axis in range(3):
        weights |= fold_norm(state, f"gates.{axis}.conv", f"gates.{axis}.norm", f"gates.{axis}")
    graph = TorchGraph({name: torch.from_numpy(value).to(dtype) for name, value in weights.items()})
    with torch.no_grad():
        expected = literal_pooling(triplet(x), landmarks, 112, 0.1 * side, norm)
        x, landmarks = x.to(dtype), landmarks.to(dtype)
        actual = KeyPointPooling(options, 112)(triplet.to(dtype)(x), landmarks)
        profiles = keypoint_pooling.gaussian_profiles(graph, landmarks, 112, side, options)
        gates = keypoint_pooling.triplet_gates(graph, x)
        for pool in (keypoint_pooling.pool_gated, keypoint_pooling.pool_gemm):
            pooled = pool(graph, x, gates, *profiles)
            order = np.argsort(keypoint_pooling.ORDER)
            assert relative(pooled[:, :18][:, order], expected[0]) <= TOLERANCE[dtype]
            assert relative(pooled[:, 18], expected[1]) <= TOLERANCE[dtype]
    for ours, literal in zip(actual, expected, strict=True):
        assert relative(ours, literal) <= TOLERANCE[dtype]


def test_local_vectors_have_six_per_cent_of_the_global_scale() -> None:
    """2 pi sigma^2 / 196 for a landmark well inside; 1 if divided by the heat."""
    ones, centre = torch.ones(1, 1, 14, 14), torch.full((1, 68, 2), 55.5)
    for norm, scale in ((False, 2 * math.pi * 1.4**2 / 196), (True, 1.0)):
        pooling = KeyPointPooling(dataclasses.replace(Options.of(SPEC), norm_heat=norm), 112)
        nodes, whole = pooling(ones, centre)
        assert torch.allclose(nodes, torch.full((1, 18, 1), scale), rtol=1e-4)
        assert torch.allclose(whole, torch.ones(1, 1))


def test_landmarks_far_outside_stay_finite() -> None:
    for norm in (False, True):
        options = dataclasses.replace(Options.of(SPEC), norm_heat=norm)
        far = torch.full((1, 68, 2), 5e3)
        nodes, _ = KeyPointPooling(options, 112)(torch.ones(1, 2, 14, 14), far)
        profiles = keypoint_pooling.gaussian_profiles(TorchGraph({"": far}), far, 112, 14, options)
        assert all(value.isfinite().all() for value in (nodes, *profiles))


def test_triplet_attention_against_its_definition() -> None:
    """Permute the pooled axis to the front, stack max and mean, convolve, permute back."""
    torch.manual_seed(2)
    triplet = TripletAttention().eval().double()
    x = torch.randn(2, 11, 5, 5, dtype=torch.float64)
    gated = torch.zeros_like(x)
    for axis, gate in zip((1, 2, 3), triplet.gates, strict=True):
        gate.norm.running_mean.normal_(0, 0.3)
        front = x.movedim(axis, 1)
        stacked = torch.cat([front.max(1, keepdim=True).values, front.mean(1, keepdim=True)], 1)
        map_ = torch.sigmoid(
            (F.conv2d(stacked, gate.conv.weight, padding=3) - gate.norm.running_mean) / (1 + 1e-5) ** 0.5
        )
        gated += (front * map_).movedim(1, axis)
    assert relative(triplet(x), gated / 3) <= 1e-12


def test_mirrored_face_swaps_the_sides() -> None:
    """Flipping features and landmarks permutes the nodes, and swaps left and right in the fused vector."""
    module = trained_like(size=112).double()
    features, landmarks = torch.rand(3, 512, 14, 14, dtype=torch.float64), faces(1, 3, 112)[0]
    flipped = torch.from_numpy(mirror(landmarks.numpy(), 112))
    with torch.no_grad():
        nodes, whole = module.pooling(features, landmarks)
        mirrored, same = module.pooling(features.flip(-1), flipped)
        assert relative(mirrored, nodes[:, list(MIRROR_NODES)]) <= 1e-12
        fused, swapped = module.regions(nodes, whole), module.regions(mirrored, same)
    left, right, mouth, face = fused.split(128, 1)
    assert relative(left, right) > 0.01
    assert relative(swapped, torch.cat([right, left, mouth, face], 1)) <= 1e-12


def test_bridge_rows_are_inert_after_the_layer_and_alive_before() -> None:
    regions = RegionGraph(Options.of(SPEC)).double()
    nodes, whole = torch.rand(2, 18, 512, dtype=torch.float64), torch.rand(2, 512, dtype=torch.float64)

    def fused_with_poison(node: int) -> torch.Tensor:
        """Fused vectors with NaN in row ``node`` of what the layer gives for V."""

        def poison(_: torch.nn.Module, __: object, output: torch.Tensor) -> None:
            if output.ndim == 3:
                output[:, node] = float("nan")

        handle = regions.fc.register_forward_hook(poison)
        fused: torch.Tensor = regions(nodes, whole)
        handle.remove()
        return fused

    with torch.no_grad():
        expected = regions(nodes, whole)
        for node in range(18):
            assert torch.equal(fused_with_poison(node), expected) == (node in (10, 11))
        for bridge in (10, 11):
            changed = nodes.clone()
            changed[:, bridge] += 1
            assert relative(regions(changed, whole), expected) > 1e-4


@pytest.mark.parametrize("scale", ["row", "column"])
def test_graph_convolution_against_its_equations(scale: str) -> None:
    """w = ReLU((V W_l) v_g) and V' = ReLU(FC((w * A) V + V)), node by node, with the edges of the specification."""
    torch.manual_seed(4)
    regions = RegionGraph(dataclasses.replace(Options.of(SPEC), node_scale=scale)).double()
    torch.nn.init.normal_(regions.relation.weight, 0.01, 0.05)
    nodes, whole = torch.rand(1, 18, 512, dtype=torch.float64), torch.rand(1, 512, dtype=torch.float64)
    text = (
        "0-1 1-2 3-4 0-3 2-4 5-6 6-7 8-9 5-8 7-9 2-10 5-10 4-10 8-10 10-11 11-13 "
        "12-13 13-14 14-15 15-12 3-16 12-16 11-16 9-17 14-17 11-17"
    )
    neighbours: dict[int, set[int]] = {node: set() for node in range(18)}
    for edge in text.split():
        a, b = map(int, edge.split("-"))
        neighbours[a].add(b)
        neighbours[b].add(a)
    with torch.no_grad():
        weights = torch.relu(nodes[0] @ regions.relation.weight @ whole[0])
        for node, others in neighbours.items():
            scales = {other: weights[node] if scale == "row" else weights[other] for other in others}
            heard = sum(scales[other] * nodes[0, other] for other in others) / len(others)
            expected = torch.relu(regions.fc(heard + nodes[0, node]))
            actual = regions.convolve(nodes, regions.node_weights(nodes, whole))[0, node]
            assert relative(actual, expected) <= 1e-12


def test_temporal_block_is_a_pre_norm_transformer_layer() -> None:
    torch.manual_seed(5)
    block = TemporalBlock(1024).double()
    layer = torch.nn.TransformerEncoderLayer(
        512, 8, 1024, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    with torch.no_grad():
        for norm in (block.norm_a, block.norm_b):
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        layer.self_attn.in_proj_weight.copy_(block.qkv.weight)
        layer.self_attn.in_proj_bias.zero_()
        pairs = [(layer.self_attn.out_proj, block.out), (layer.linear1, block.fc_a), (layer.linear2, block.fc_b)]
        for theirs, ours in [*pairs, (layer.norm1, block.norm_a), (layer.norm2, block.norm_b)]:
            theirs.load_state_dict(ours.state_dict())
        tokens = torch.randn(2, 17, 512, dtype=torch.float64)
        assert relative(block(tokens), layer(tokens)) <= 1e-12


def public_shapes() -> dict[str, tuple[int, ...]]:
    """Layout of torchvision's resnet18 without fc."""

    def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
        vectors = {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
        return {**vectors, f"{name}.num_batches_tracked": ()}

    shapes = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    channels = 64
    for layer, width in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name = f"layer{layer}.{block}"
            shapes |= {f"{name}.conv1.weight": (width, channels, 3, 3), **norm(f"{name}.bn1", width)}
            shapes |= {f"{name}.conv2.weight": (width, width, 3, 3), **norm(f"{name}.bn2", width)}
            if channels != width:
                shapes |= {
                    f"{name}.downsample.0.weight": (width, channels, 1, 1),
                    **norm(f"{name}.downsample.1", width),
                }
            channels = width
    return shapes


def public_resnet18(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """torchvision's resnet18 up to layer4, from its state dict."""

    def conv_norm(x: torch.Tensor, conv: str, norm: str, stride: int) -> torch.Tensor:
        weight = state[f"{conv}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        return F.batch_norm(x, mean, variance, state[f"{norm}.weight"], state[f"{norm}.bias"])

    x = F.max_pool2d(torch.relu(conv_norm(x, "conv1", "bn1", 2)), 3, 2, 1)
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = torch.relu(conv_norm(x, f"{name}.conv1", f"{name}.bn1", stride))
            y = conv_norm(y, f"{name}.conv2", f"{name}.bn2", 1)
            if f"{name}.downsample.0.weight" in state:
                x = conv_norm(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            x = torch.relu(x + y)
    return x


def test_public_keys_carry_torchvisions_resnet18() -> None:
    """Every tensor of the public layout has one place here, and the backbone then computes what resnet18 computes."""
    torch.manual_seed(7)
    keys, shapes = public_keys(), public_shapes()
    # Its classifier has a place with the option kept_fc alone.
    keys = {key: public for key, public in keys.items() if not public.startswith("fc.")}
    module = create_model("keypoint_tsa", last_strides=(2, 2)).eval()
    own = module.state_dict()
    assert sorted(keys.values()) == sorted(shapes)
    assert {public: tuple(own[key].shape) for key, public in keys.items()} == shapes
    assert set(keys) == {key for key in own if key.startswith("backbone.")}
    state = {
        key: torch.rand(shape) + 0.5 if len(shape) < 2 else 0.05 * torch.randn(shape) for key, shape in shapes.items()
    }
    module.load_state_dict({key: state[public] for key, public in keys.items()}, strict=False)
    frames = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert relative(module.backbone(frames), public_resnet18(state, frames)) <= 1e-5
