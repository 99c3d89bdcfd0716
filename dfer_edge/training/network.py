"""The network of a run: made for the recipe's last size, and set to each stage's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors
import torch
from torch import nn

from dfer_edge.errors import CorruptArtifact, InvalidInput, WeightsNotFound
from dfer_edge.inference import registry
from dfer_edge.labels import canonical, position
from dfer_edge.models import require_torch
from dfer_edge.models.backbone import require_backbone
from dfer_edge.models.input_size import fit_spec
from dfer_edge.models.keypoint import BasicBlock
from dfer_edge.models.r2plus1d import R2Plus1D, ResidualBlock
from dfer_edge.models.simplified import spec_of
from dfer_edge.models.slowr50 import Bottleneck
from dfer_edge.spec import ModelSpec
from dfer_edge.training.pixels import GREY
from dfer_edge.training.recipes import Recipe, Stage
from dfer_edge.weights import file as weights
from dfer_edge.weights.public import read_public


def build_network(
    model: str,
    recipe: Recipe,
    class_names: Sequence[str],
    base: ModelSpec | None = None,
    default: ModelSpec | None = None,
) -> nn.Module:
    """A network in training form with the recipe's options, class names, input size, crop and sampling.

    Parameters
    ----------
    model, recipe, class_names
        See there.
    base
        Spec of the weights that it will start from: what the recipe does not name stays as it was.
    default
        In place of the network's own, e.g. with smaller inputs.

    Raises
    ------
    InvalidInput
        For an option or a size that the network cannot have, class names that are not distinct, or an unknown
        ``face_box`` or ``sampling``.
    """
    entry = registry.find(model)
    if len({canonical(name) for name in class_names}) != len(class_names) or len(class_names) < 2:
        raise InvalidInput(f"expected two or more distinct class names, got {list(class_names)}")
    spec = recipe.crops(base or default or entry.spec, trained=base is not None).with_labels(tuple(class_names))
    if recipe.reads_grey:
        spec = dataclasses.replace(spec, mean=_of_grey(spec.mean), std=_of_grey(spec.std))
    options = dict(recipe.options)
    architecture = {name: options.pop(name) for name in list(options) if name in spec.options}
    require_torch("creating a network")
    network: nn.Module = entry.training().create(spec.with_options(**architecture), **options)
    if recipe.weak_residuals and base is None:
        scale_residuals(network, 0.0)
    return network


def _of_grey(channels: tuple[float, float, float]) -> tuple[float, float, float]:
    """One number for all channels, weighed as grey is: what :func:`fold_grey` needs."""
    grey = round(float(np.dot(GREY, channels)), 4)
    return grey, grey, grey


def scale_residuals(network: nn.Module, factor: float) -> None:
    """Multiply the last norm of every residual branch; 0 makes each block the identity at first.

    As in Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1. A fresh network of 16 blocks amplifies the
    rounding of bf16 until its gradient points elsewhere: cosine 0.18 with fp32's for SlowR50, 0.995 at a factor of 0.1.
    """
    for module in network.modules():
        if isinstance(module, (Bottleneck, BasicBlock, ResidualBlock)):
            last = module.norm_c if isinstance(module, Bottleneck) else _last_norm(module)
            with torch.no_grad():
                last.weight.mul_(factor)


def _last_norm(block: BasicBlock | ResidualBlock) -> nn.BatchNorm2d | nn.BatchNorm3d:
    return block.norm_b if isinstance(block, BasicBlock) else block.conv_b.temporal_norm


def fold_grey(network: nn.Module) -> None:
    """Make a network that learnt from grey pixels read colour ones as their luma: exact, in the first convolution.

    Trained on three equal channels, a layer knows the sum of its kernels over them only; each channel then gets its
    share of the luma of that sum. Padding is 0 in every channel, so it stays what it was.

    Raises
    ------
    InvalidInput
        If the channels are normalised differently, or the first layer does not read three channels.
    """
    first = require_one_scale(network)
    with torch.no_grad():
        total = first.weight.sum(1, keepdim=True)
        luma = torch.from_numpy(GREY).to(total)
        first.weight.copy_(total * luma.view(1, 3, *[1] * (total.ndim - 2)))


def require_one_scale(network: nn.Module) -> nn.Conv2d | nn.Conv3d:
    """The first layer of a network whose three channels have one mean and deviation; else InvalidInput."""
    spec = spec_of(network)
    first = next(layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Conv3d)))
    if len({*spec.mean}) > 1 or len({*spec.std}) > 1 or first.in_channels != 3:
        raise InvalidInput(
            f"expected three channels with one mean and deviation to fold grey into, got {first.in_channels} channels, "
            f"mean {spec.mean}, std {spec.std}",
            "train with stages.pixels.grey below 1",
        )
    return first


def freeze(network: nn.Module, names: Sequence[str], thawed: Sequence[str] = ()) -> None:
    """Let the parts ``names`` of ``network`` learn no more, and those of ``thawed`` again.

    Their batch norms keep the statistics that they have in evaluation mode only: see :func:`train_mode`.

    Raises
    ------
    InvalidInput
        If the network has no such part, or none that learns is left.
    """
    parts = dict(network.named_modules())
    for name in (*thawed, *names):
        if not name or name not in parts:
            known = ", ".join(part for part in parts if part and part.count(".") < 2)
            raise InvalidInput(f"expected parts of {spec_of(network).name} to freeze, got {name!r}", f"one of {known}")
    for name in thawed:
        parts[name].requires_grad_(True)
    for name in names:
        parts[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InvalidInput(f"expected parts that learn, got all frozen: {', '.join(names)}")


def train_mode(module: nn.Module, network: nn.Module, frozen: Sequence[str]) -> None:
    """Training mode for ``module``, which holds ``network``, but for frozen parts."""
    module.train()
    for name in frozen:
        network.get_submodule(name).eval()


def inference_part(network: nn.Module) -> nn.Module:
    """``network`` without what only its training loss reads, in place: what a weights file holds."""
    if isinstance(network, R2Plus1D):
        network.loss_branch = None
    return network


def stage_spec(network: nn.Module, stage: Stage) -> ModelSpec:
    """What the network reads in a stage; tells the network where it needs to know."""
    spec = spec_of(network)
    return fit_spec(network, stage.frames or spec.frames, stage.size or spec.size)


def trained_spec(model: str, source: str | Path) -> ModelSpec | None:
    """Spec of the weights that :func:`start_from` would read; None for a public backbone, which has none.

    Raises
    ------
    InvalidInput, CorruptArtifact, WeightsNotFound
    """
    if source != "default" and _foreign_state(Path(source)) is not None:
        return None
    return weights.resolve(model, source).spec


def start_from(network: nn.Module, source: str | Path) -> str:
    """Copy weights into ``network``, where names and shapes agree; rows of classes by the names of the classes.

    Parameters
    ----------
    network
        Training form.
    source
        ``"default"`` for the shipped weights, or a path: a file of ours, full or compact, or a public backbone
        as :func:`dfer_edge.weights.public.read_public` reads it.

    Returns
    -------
    A line about what was copied, and which classes stay random.

    Raises
    ------
    InvalidInput, CorruptArtifact, WeightsNotFound
    """
    foreign = None if source == "default" else _foreign_state(Path(source))
    if foreign is not None:
        report = weights.import_backbone(network, foreign)
        require_backbone(network, report)
        return str(report)
    found = weights.resolve(spec_of(network).name, "default") if source == "default" else weights.load(source)
    loaded = {key: torch.from_numpy(np.array(value)) for key, value in (found.state or {}).items()}
    own = network.state_dict()
    # numpy has no contiguous scalars: counters come back as [1].
    loaded = {key: value.reshape(()) if key in own and own[key].ndim == 0 else value for key, value in loaded.items()}
    mapped, note = _by_class(network, loaded, found.spec.labels)
    loaded |= mapped
    fitting = {key: value for key, value in loaded.items() if key in own and own[key].shape == value.shape}
    if not fitting:
        raise InvalidInput(f"expected weights of {spec_of(network).name}, nothing in {source} fits")
    network.load_state_dict(own | fitting)
    return f"{len(fitting)} of {len(own)} tensors from {found.name}{note}"


def _by_class(
    network: nn.Module, loaded: Mapping[str, torch.Tensor], labels: tuple[str, ...]
) -> tuple[dict[str, torch.Tensor], str]:
    """Tensors with a row a class, with the rows of ``labels`` where the network has those classes; and a note."""
    names = spec_of(network).labels
    if tuple(map(canonical, names)) == tuple(map(canonical, labels)):
        return {}, ""
    places = [position(name, labels) for name in names]
    mapped = {}
    for key in class_tensors(network):
        if key in loaded and len(loaded[key]) == len(labels):
            rows = network.state_dict()[key].clone()
            for row, place in enumerate(places):
                if place is not None:
                    rows[row] = loaded[key][place].to(rows)
            mapped[key] = rows
    fresh = [name for name, place in zip(names, places, strict=True) if place is None]
    return mapped, f"; classes by name, {', '.join(fresh) or 'none'} of them random"


def class_tensors(network: nn.Module) -> list[str]:
    """Keys of the state with a row a class: the last linear layers, and centres of classes."""
    count = spec_of(network).num_classes
    layers = [n for n, m in network.named_modules() if isinstance(m, nn.Linear) and m.out_features == count]
    state = network.state_dict()
    keys = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    return [key for key in state if key in keys or key.endswith("loss_branch.centers")]


def _foreign_state(path: Path) -> dict[str, torch.Tensor] | None:
    """Tensors of a file that is not ours; None if it is."""
    if not path.is_file():
        raise WeightsNotFound(f"expected a weights file, found nothing at {path}")
    if path.suffix != ".safetensors":
        return read_public(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("format") in (weights.FORMAT, weights.COMPACT_FORMAT):
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (safetensors.SafetensorError, OSError) as error:
        raise CorruptArtifact(f"expected a safetensors file, got {path} which does not read: {error}") from error
