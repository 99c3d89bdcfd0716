"""Scenic's layout, against the factorised encoder written out on Flax-shaped arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfer_edge.errors import InvalidInput
from dfer_edge.models import create_model
from dfer_edge.models.scenic import from_public, to_public
from dfer_edge.models.simplified import state_arrays
from dfer_edge.models.smate import public_keys

Params = dict[str, np.ndarray]


def scenic_shapes(layers: tuple[int, int], patches: int, tubelets: int) -> dict[str, tuple[int, ...]]:
    """Flax parameter shapes of ViViT-B/16x2 FE with a token classifier of 7 classes."""
    shapes = {"embedding/kernel": (2, 16, 16, 3, 768), "embedding/bias": (768,)}
    shapes |= {"output_projection/kernel": (768, 7), "output_projection/bias": (7,)}
    for name, depth, tokens in zip(("Spatial", "Temporal"), layers, (patches + 1, tubelets + 1), strict=True):
        encoder = f"{name}Transformer"
        shapes[f"cls_{encoder}"] = (1, 1, 768)
        shapes[f"{encoder}/posembed_input/pos_embedding"] = (1, tokens, 768)
        norms = [f"{encoder}/encoder_norm"]
        for layer in range(depth):
            block = f"{encoder}/encoderblock_{layer}"
            norms += [f"{block}/LayerNorm_0", f"{block}/LayerNorm_1"]
            attention = f"{block}/MultiHeadDotProductAttention_0"
            for part in ("query", "key", "value"):
                shapes |= {f"{attention}/{part}/kernel": (768, 12, 64), f"{attention}/{part}/bias": (12, 64)}
            shapes |= {f"{attention}/out/kernel": (12, 64, 768), f"{attention}/out/bias": (768,)}
            shapes |= {f"{block}/MlpBlock_0/Dense_0/kernel": (768, 3072), f"{block}/MlpBlock_0/Dense_0/bias": (3072,)}
            shapes |= {f"{block}/MlpBlock_0/Dense_1/kernel": (3072, 768), f"{block}/MlpBlock_0/Dense_1/bias": (768,)}
        shapes |= {f"{norm}/{part}": (768,) for norm in norms for part in ("scale", "bias")}
    return shapes


@pytest.fixture
def params(rng: np.random.Generator) -> Params:
    shapes = scenic_shapes((2, 1), patches=4, tubelets=2)
    return {path: 0.03 * rng.standard_normal(shape) + path.endswith("scale") for path, shape in shapes.items()}


def norm(p: Params, path: str, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return unit * p[f"{path}/scale"] + p[f"{path}/bias"]


def attend(p: Params, path: str, x: np.ndarray) -> np.ndarray:
    query, key, value = (
        np.einsum("bnc,chd->bnhd", x, p[f"{path}/{part}/kernel"]) + p[f"{path}/{part}/bias"]
        for part in ("query", "key", "value")
    )
    scores = np.exp(np.einsum("bqhd,bkhd->bhqk", query, key) / 8)
    context = np.einsum("bhqk,bkhd->bqhd", scores / scores.sum(-1, keepdims=True), value)
    return np.einsum("bqhd,hdc->bqc", context, p[f"{path}/out/kernel"]) + p[f"{path}/out/bias"]


def encode(p: Params, name: str, depth: int, x: np.ndarray) -> np.ndarray:
    cls = np.broadcast_to(p[f"cls_{name}"], (len(x), 1, 768))
    x = np.concatenate([cls, x], 1) + p[f"{name}/posembed_input/pos_embedding"]
    for layer in range(depth):
        block = f"{name}/encoderblock_{layer}"
        x = x + attend(p, f"{block}/MultiHeadDotProductAttention_0", norm(p, f"{block}/LayerNorm_0", x))
        mlp = f"{block}/MlpBlock_0"
        y = norm(p, f"{block}/LayerNorm_1", x) @ p[f"{mlp}/Dense_0/kernel"] + p[f"{mlp}/Dense_0/bias"]
        y = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
        x = x + y @ p[f"{mlp}/Dense_1/kernel"] + p[f"{mlp}/Dense_1/bias"]
    return norm(p, f"{name}/encoder_norm", x)[:, 0]


def vivit(p: Params, clip: np.ndarray) -> np.ndarray:
    """Logits of [B, T, H, W, 3], H = W = 32, T = 4."""
    tubelets = clip.reshape(-1, 2, 2, 2, 16, 2, 16, 3)
    tokens = np.einsum("btahxwyc,axyce->bthwe", tubelets, p["embedding/kernel"]) + p["embedding/bias"]
    features = encode(p, "SpatialTransformer", 2, tokens.reshape(-1, 4, 768))
    cls = encode(p, "TemporalTransformer", 1, features.reshape(-1, 2, 768))
    return cls @ p["output_projection/kernel"] + p["output_projection/bias"]


def imported(params: Params) -> torch.nn.Module:
    options = {"size": 32, "frames": 4, "spatial_depth": 2, "temporal_depth": 1, "tpe_mode": "learned"}
    module = create_model("smate", **options).double().eval()
    converted = from_public(params)
    keys = {own: path for own, path in public_keys().items() if path in params}
    module.load_state_dict({own: converted[path] for own, path in keys.items()})
    return module


def test_imported_weights_compute_what_scenic_computes(params: Params, rng: np.random.Generator) -> None:
    clip = rng.standard_normal((2, 4, 32, 32, 3))
    expected = vivit(params, clip)
    with torch.no_grad():
        actual = imported(params)(torch.from_numpy(clip.transpose(0, 4, 1, 2, 3).copy())).numpy()
    assert np.abs(actual - expected).max() <= 1e-12 * np.abs(expected).max()


def test_round_trip(params: Params) -> None:
    back = to_public(state_arrays(imported(params)))
    assert back.keys() == params.keys()
    for path, value in params.items():
        np.testing.assert_array_equal(back[path], value, err_msg=path, strict=True)


def test_every_tensor_of_the_network_has_a_public_name() -> None:
    with torch.device("meta"):
        state = create_model("smate", tpe_mode="learned").state_dict()
    keys = public_keys()
    assert keys.keys() == state.keys()
    assert set(keys.values()) == set(scenic_shapes((12, 12), patches=196, tubelets=12))


def test_another_width_is_refused(params: Params) -> None:
    path = "SpatialTransformer/encoderblock_0/MultiHeadDotProductAttention_0/query/kernel"
    with pytest.raises(InvalidInput, match=r"query/kernel.*1024"):
        from_public({path: np.zeros((1024, 16, 64))})
