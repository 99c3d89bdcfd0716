"""VGG16 base, SEFER, CBAMFER, AGFER: printed integers, gates, guidance, exact inference form (models.md 3 and 9)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from dfer_edge import labels
from dfer_edge.errors import InvalidInput
from dfer_edge.inference import record, registry, vgg
from dfer_edge.inference.torch_graph import TorchGraph
from dfer_edge.models import create_model, simplify
from dfer_edge.models import vgg as training
from dfer_edge.models.complexity import count_macs, count_parameters, example_inputs
from dfer_edge.spec import ModelSpec
from tests.inference.agreement import assert_onnx_equals_torch, relative

NAMES = ["vgg16_fer", "sefer", "cbamfer", "agfer"]
PARAMETERS = {"vgg16_fer": 442_570_567, "sefer": 442_915_975, "cbamfer": 443_261_680, "agfer": 442_916_434}
PARAMETERS_R16 = {"sefer": 442_614_527, "cbamfer": 442_658_784, "agfer": 442_614_986}
GIGA_MACS = {"vgg16_fer": 15.7745, "sefer": 15.7748, "cbamfer": 15.7768, "agfer": 15.7772}
MACS = {"cbamfer": 15_776_779_936, "agfer": 15_777_193_216}
# With pool5 and R = 16: million parameters, GMACs.
POOL5 = {
    "vgg16_fer": (134.289, 15.4662),
    "sefer": (134.333, 15.4662),
    "cbamfer": (134.377, 15.4679),
    "agfer": (134.334, 15.4686),
}
STAGES = [(64, 224, 1.936), (128, 112, 2.775), (256, 56, 4.624), (512, 28, 4.624), (512, 14, 1.387)]
SITE_LAYERS = {"sefer": 6, "agfer": 13, "cbamfer": 17}
GATE_MODULES = {"sefer": training.SEGate, "cbamfer": training.CBAMGate, "agfer": training.AGGate}

# Odd maps on the way (36, 18, 9, 4, 2), and an fc6 of 8 M parameters instead of 411 M.
SMALL = 36


def on_shapes(name: str, num_classes: int | None = None, **options: object) -> torch.nn.Module:
    with torch.device("meta"):
        return create_model(name, num_classes, **options)


def small_spec(name: str, **options: object) -> ModelSpec:
    return dataclasses.replace(registry.find(name).spec, size=SMALL).with_options(**options)


def trained_like(spec: ModelSpec, seed: int = 0, **options: object) -> training.VGG:
    """A small network with signal in every layer and gates far from constant, so that a wrong form shows."""
    torch.manual_seed(seed)
    module = training.create(spec, **options).eval()
    for key, value in module.named_parameters():
        if key.endswith("bias"):
            torch.nn.init.normal_(value, 0, 0.05)
        else:
            value.data.mul_(3.0 if key.startswith("gates") else 1.5)
    return module


def arch(reduction: int = 2) -> vgg.Architecture:
    return vgg.Architecture("none", reduction, spatial_channels=8, keep_pool5=False, features=0)


def gate_module(name: str, channels: int = 32, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    torch.manual_seed(1)
    module = GATE_MODULES[name](channels, arch())
    for value in module.parameters():
        torch.nn.init.normal_(value, 0, 0.5)
    return module.to(dtype)


def gate_pool(name: str, module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The inference form of one gate site, with the weights of ``module``."""
    graph = TorchGraph({f"gate.{key}": value for key, value in module.state_dict().items()})
    kind = registry.find(name).spec.options["gate"]
    return vgg.gate_pool(graph, x, "gate", dataclasses.replace(arch(), gate=str(kind)))


# -- counts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_the_golden_integers(name: str) -> None:
    module = on_shapes(name)
    graph, _, _ = record(module.spec)
    assert count_parameters(module) == graph.parameters == PARAMETERS[name]
    macs = count_macs(module, *example_inputs(module.spec))
    assert macs == graph.macs
    assert round(macs / 1e9, 4) == GIGA_MACS[name]
    assert macs == MACS.get(name, macs)


@pytest.mark.parametrize("name", list(PARAMETERS_R16))
def test_reduction_16(name: str) -> None:
    assert count_parameters(on_shapes(name, reduction=16)) == PARAMETERS_R16[name]


def test_cbamfer_has_a_tenth_of_a_per_cent_more_parameters_than_agfer() -> None:
    """Without pool5, R = 2 alone prints so; with it R = 4 and 8 do: the printed figure does not tell R."""
    for reduction in (2, 4, 8, 16):
        cbam, ag = (count_parameters(on_shapes(name, reduction=reduction)) for name in ("cbamfer", "agfer"))
        assert cbam - ag == 689_024 // reduction + 734
        assert (f"{100 * (cbam / ag - 1):.1f}" == "0.1") == (reduction == 2)
    for reduction in (4, 8):
        cbam, ag = (
            count_parameters(on_shapes(name, reduction=reduction, keep_pool5=True)) for name in ("cbamfer", "agfer")
        )
        assert f"{100 * (cbam / ag - 1):.1f}" == "0.1"


@pytest.mark.parametrize("name", NAMES)
def test_counts_with_pool5(name: str) -> None:
    options = {} if name == "vgg16_fer" else {"reduction": 16}
    module = on_shapes(name, keep_pool5=True, **options)
    million, giga = POOL5[name]
    assert round(count_parameters(module) / 1e6, 3) == million
    assert round(count_macs(module, *example_inputs(module.spec)) / 1e9, 4) == giga
    assert module.forward_features(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 512, 7, 7)


def test_the_original_vgg16_is_an_option_away() -> None:
    assert count_parameters(on_shapes("vgg16_fer", 1000, keep_pool5=True)) == 138_357_544


@pytest.mark.parametrize("name", NAMES)
def test_stage_shapes_and_costs(name: str) -> None:
    module, shapes = on_shapes(name), []
    for stage in module.stages:
        stage.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    features = module.forward_features(torch.empty(2, 3, 224, 224, device="meta"))
    assert shapes == [(2, channels, side, side) for channels, side, _ in STAGES]
    assert features.shape == (2, 512, 14, 14)
    inputs = [3, *(channels for channels, *_ in STAGES)]
    for stage, channels, (_, side, giga) in zip(module.stages, inputs, STAGES, strict=False):
        assert round(count_macs(stage, torch.empty(1, channels, side, side)) / 1e9, 3) == giga
    assert module.head.fc6.weight.shape == (4096, 100_352)
    assert round(count_macs(module.head, torch.empty(1, 100_352)) / 1e9, 3) == 0.428


@pytest.mark.parametrize("name", list(SITE_LAYERS))
def test_gate_sites_have_the_printed_number_of_layers(name: str) -> None:
    """41 + 3 x 13 = 80 layers for AGFER and 41 + 3 x 17 = 92 for CBAMFER, reshapes not counted."""

    def layers(which: str) -> int:
        return sum(node.op != "Reshape" for node in record(registry.find(which).spec)[0].nodes)

    assert layers(name) - layers("vgg16_fer") == 3 * SITE_LAYERS[name]


# -- gates ------------------------------------------------------------------------------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def correlate(planes: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Zero-padded 'same' convolution of [C, H, W], tap by tap."""
    k = weight.shape[-1]
    height, width = planes.shape[1:]
    padded = np.pad(planes, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    taps = [
        np.einsum("oc,chw->ohw", weight[:, :, i, j], padded[:, i : i + height, j : j + width])
        for i in range(k)
        for j in range(k)
    ]
    return sum(taps) + bias[:, None, None]


def formula(name: str, w: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The gate as models.md writes it, on one map [C, H, W]."""

    def mlp(pooled: np.ndarray, which: str) -> np.ndarray:
        hidden = np.maximum(w[f"{which}.fc1.weight"] @ pooled + w[f"{which}.fc1.bias"], 0)
        return w[f"{which}.fc2.weight"] @ hidden + w[f"{which}.fc2.bias"]

    def conv(planes: np.ndarray, which: str) -> np.ndarray:
        return correlate(planes, w[f"{which}.weight"], w[f"{which}.bias"])

    gap, gmp = x.mean((1, 2)), x.max((1, 2))
    if name == "sefer":
        return x * sigmoid(mlp(gap, "channel"))[:, None, None]
    if name == "cbamfer":
        y = x * sigmoid(mlp(gap, "average") + mlp(gmp, "maximum"))[:, None, None]
        return y * sigmoid(conv(np.stack([y.max(0), y.mean(0)]), "spatial"))
    a = sigmoid(mlp(gap, "channel"))
    s = sigmoid(conv(np.maximum(conv(x.mean(0)[None], "spatial1"), 0), "spatial2"))
    return x * sigmoid(np.einsum("c,hw->chw", a, s[0]))


@pytest.mark.parametrize("name", list(GATE_MODULES))
def test_gates_are_the_printed_formulas(name: str) -> None:
    module = gate_module(name)
    # Positive, as after ReLU, with channels of different weight in the two images.
    x = torch.rand(2, 32, 11, 6, dtype=torch.float64) * torch.rand(2, 32, 1, 1, dtype=torch.float64)
    weights = {key: value.numpy() for key, value in module.state_dict().items()}
    expected = torch.from_numpy(np.stack([formula(name, weights, image) for image in x.numpy()]))
    with torch.no_grad():
        assert relative(module(x), expected) <= 1e-14
        # The gate reads the image, so hidden units are alive.
        assert relative((expected / x).flip(0), expected / x) > 1e-2
        assert relative(gate_pool(name, module, x), functional.max_pool2d(expected, 2)) <= 1e-14


def test_ag_gate_lies_between_sigmoid_0_and_sigmoid_1() -> None:
    module = gate_module("agfer")
    with torch.no_grad():
        gate = module.gate(torch.relu(torch.randn(4, 32, 12, 12, dtype=torch.float64)))
        assert gate.shape == (4, 32, 12, 12)
        assert gate.min() > 0.5
        assert gate.max() < 0.7311
        # Saturated both ways: the bounds are reached, not passed.
        for bias, bound in ((-50.0, 0.5), (50.0, 0.7311)):
            module.channel.fc2.bias.fill_(bias)
            module.spatial2.bias.fill_(bias)
            gate = module.gate(torch.zeros(1, 32, 4, 4, dtype=torch.float64))
            assert torch.allclose(gate, torch.full_like(gate, bound), atol=1e-4)


def test_three_ag_gates_leave_about_18_per_cent_at_the_start() -> None:
    torch.manual_seed(0)
    gates = [training.AGGate(channels, arch()) for channels in (128, 256, 512)]
    with torch.no_grad():
        factors = [gate.gate(torch.rand(1, gate.channel.fc2.out_features, 8, 8)).mean().item() for gate in gates]
    assert np.prod(factors) == pytest.approx(0.18, abs=0.02)


def test_weights_start_after_glorot_with_zero_bias() -> None:
    torch.manual_seed(0)
    for layer, fans in ((training.Conv(16, 32), (16 + 32) * 9), (training.Linear(64, 100), 64 + 100)):
        training.draw(layer, "glorot")
        bound = (6 / fans) ** 0.5
        assert 0.98 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert torch.count_nonzero(layer.bias) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_se_gate_commutes_with_max_pooling_bit_for_bit(dtype: torch.dtype) -> None:
    module = gate_module("sefer", 64, dtype)
    # Negative values, ties and an odd side: nothing may depend on the ReLU before the gate.
    x = torch.randn(3, 64, 29, 30).mul(4).to(dtype)
    x[:, :, ::2] = x[:, :, ::2].round()
    with torch.no_grad():
        before = functional.max_pool2d(module(x), 2)
        assert torch.equal(gate_pool("sefer", module, x), before)
        assert before.isfinite().all()
        assert before.unique().numel() > 1000


@pytest.mark.parametrize("name", list(GATE_MODULES))
def test_gradients_reach_every_gate(name: str) -> None:
    module = trained_like(small_spec(name)).train()
    logits = module(torch.randn(4, 3, SMALL, SMALL))
    functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    gates = {key: value.grad for key, value in module.named_parameters() if key.startswith("gates")}
    assert {key.split(".")[1] for key in gates} == {"1", "2", "3"}
    for key, gradient in gates.items():
        assert torch.isfinite(gradient).all(), key
        assert gradient.abs().max() > 0, key


# -- inference form ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "keep_pool5"), [*((name, False) for name in NAMES), ("agfer", True)])
def test_simplify_is_exact(name: str, keep_pool5: bool) -> None:
    module = trained_like(small_spec(name, keep_pool5=keep_pool5))
    images = torch.randn(2, 3, SMALL, SMALL)
    with torch.no_grad():
        single = module(images)
        assert relative(simplify(module)(images), single) <= 1e-5
        expected = module.double()(images.double())
        assert relative(simplify(module)(images.double()), expected) <= 1e-12
        # Logits that hang on the image, or the comparison says little.
        assert relative(module(images.double().flip(0)), expected) > 1e-2


def test_fold_copies_nothing_and_keeps_dtypes() -> None:
    spec = small_spec("cbamfer")
    state = {key: np.zeros(1, np.float16) for key in record(spec)[0].weights}
    folded = vgg.fold({**state, "optimizer.step": np.zeros(1)}, spec)
    assert set(folded) == set(state)
    assert all(folded[key] is state[key] for key in state)
    state.pop("head.fc6.weight")
    with pytest.raises(InvalidInput, match=r"head\.fc6\.weight"):
        vgg.fold(state, spec)


@pytest.mark.parametrize("name", NAMES)
def test_onnx_agrees_with_torch(name: str, tmp_path: Path) -> None:
    assert_onnx_equals_torch(small_spec(name), "3d", tmp_path / "net.onnx")


# -- public weights ---------------------------------------------------------------------------------------------


def torchvision_layout(fc6_inputs: int) -> torch.nn.Module:
    """Keys and order of layers of torchvision's vgg16 (configuration D), for another map than 7 x 7."""
    layers: list[torch.nn.Module] = []
    channels = 3
    for out in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        layers += [torch.nn.Conv2d(channels, out, 3, padding=1), torch.nn.ReLU()] if out else [torch.nn.MaxPool2d(2)]
        channels = out or channels
    fc6, fc7, fc8 = torch.nn.Linear(fc6_inputs, 4096), torch.nn.Linear(4096, 4096), torch.nn.Linear(4096, 1000)
    relu, drop = torch.nn.ReLU(), torch.nn.Dropout()
    classifier = torch.nn.Sequential(fc6, relu, drop, fc7, relu, drop, fc8)
    return torch.nn.ModuleDict({"features": torch.nn.Sequential(*layers), "classifier": classifier})


def test_public_weights_compute_the_same_logits() -> None:
    torch.manual_seed(0)
    public = torchvision_layout(512).eval()
    spec = small_spec("vgg16_fer", keep_pool5=True).with_labels(tuple(map(str, range(1000))))
    module, keys = training.create(spec).eval(), training.public_keys()
    state = public.state_dict()
    assert set(keys.values()) == set(state)
    module.load_state_dict({own: state[key] for own, key in keys.items()})
    images = torch.randn(2, 3, SMALL, SMALL)
    with torch.no_grad():
        expected = public["classifier"](public["features"](images).flatten(1))
        assert relative(module(images), expected) <= 1e-6


@pytest.mark.parametrize(("keep_pool5", "misfits"), [(False, ["head.fc6.weight"]), (True, [])])
def test_only_fc6_of_the_public_weights_misfits_without_pool5(keep_pool5: bool, misfits: list[str]) -> None:
    with torch.device("meta"):
        public = torchvision_layout(512 * 7 * 7).state_dict()
    for name in NAMES:
        own = on_shapes(name, 1000, keep_pool5=keep_pool5).state_dict()
        keys = training.public_keys()
        assert [key for key in keys if own[key].shape != public[keys[key]].shape] == misfits
        assert set(own) - set(keys) == {key for key in own if key.startswith("gates")}


# -- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate": "eca"}, "gate"),
        ({"reduction": 0}, "reduction"),
        ({"reduction": 3}, "divides 128, got 3"),
        ({"reduction": 2.0}, "reduction"),
        ({"reduction": True}, "reduction"),
        ({"spatial_channels": 0}, "spatial_channels"),
        ({"keep_pool5": 1}, "keep_pool5"),
        ({"dropout": 1.0}, "dropout"),
        ({"guidance": "hull"}, "guidance"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        on_shapes("agfer", **options)


@pytest.mark.parametrize(("size", "keep_pool5"), [(15, False), (31, True)])
def test_images_too_small_for_the_poolings_are_refused(size: int, keep_pool5: bool) -> None:
    spec = dataclasses.replace(small_spec("agfer", keep_pool5=keep_pool5), size=size)
    with pytest.raises(InvalidInput, match="pixels"):
        record(spec)
    record(dataclasses.replace(spec, size=size + 1))


def test_the_base_takes_a_gate_with_the_same_defaults() -> None:
    base = registry.find("vgg16_fer").spec
    for name in GATE_MODULES:
        spec = registry.find(name).spec
        assert vgg.architecture(base.with_options(gate=spec.options["gate"])) == vgg.architecture(spec)


def test_input_spec() -> None:
    spec = registry.find("agfer").spec
    assert (spec.input_shape, spec.frames) == ((3, 224, 224), 8)
    assert spec.labels == labels.AFEW
    assert list(spec.labels) == sorted(spec.labels)
    assert ModelSpec.from_json(spec.to_json()) == spec
    # 0 after preprocessing is a colour that a photograph has: black and white lie on both sides of it.
    assert all(mean - 0 > 0 > mean - 1 for mean in spec.mean)
