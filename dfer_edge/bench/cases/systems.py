"""Systems under test of one network: the printed network in torch, and every engine on the same weights."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfer_edge import engines
from dfer_edge.bench.cases.correctness import Feed
from dfer_edge.bench.plan import split_key
from dfer_edge.engines.base import LOGITS, FloatArray
from dfer_edge.engines.tensorrt.gate import gate_feed
from dfer_edge.errors import EngineUnavailable, PrecisionUnavailable
from dfer_edge.export import onnx_file as export
from dfer_edge.inference import Form, record, registry
from dfer_edge.system import cpu
from dfer_edge.weights import file as weights_files
from dfer_edge.weights.file import Weights

if TYPE_CHECKING:
    from torch import nn

    from dfer_edge.calibration.qdq import Scheme

# Ranges from noise: enough to time int8, never enough to use it.
_SPEED_CLIPS = 16
SPEED_ONLY = "ranges from noise: speed only"


@dataclasses.dataclass
class Subject:
    """Something that maps a feed to logits, and how to let go of it."""

    case: str
    precision: str
    run: Callable[[Feed], FloatArray]
    config: dict[str, Any]
    close: Callable[[], None] = lambda: None


class Network:
    """One network with fixed weights, in whatever form a system needs.

    Parameters
    ----------
    key
        See :data:`dfer_edge.bench.plan.SHIPPED`.
    folder
        For exported files; removed by the caller.
    threads
        Of every system.
    calibration
        Ranges for int8; if None those beside the weights, else some from noise, marked.
    """

    def __init__(self, key: str, folder: Path, threads: int, calibration: Path | None = None) -> None:
        self.key, self._folder, self._threads, self._calibration = key, folder, threads, calibration
        self.model, self._weights_name = split_key(key)

    @functools.cached_property
    def module(self) -> nn.Module:
        """The printed network in training form, in evaluation mode, fp32.

        Raises
        ------
        EngineUnavailable
            Without torch.
        """
        try:
            import torch
        except ImportError as error:
            raise EngineUnavailable("torch is not installed", 'pip install "dfer-edge[torch]"') from error
        torch.manual_seed(0)
        torch.set_num_threads(self._threads)
        entry, given = registry.find(self.model), self._weights_name != "random"
        source = weights_files.resolve(self.model, self._weights_name) if given else None
        module: nn.Module = entry.training().create(source.spec if source else entry.spec)
        if source:
            weights_files.load_into(module, source)
        return module.eval()

    @functools.cached_property
    def source(self) -> Weights:
        """The weights that every system gets: the module's where torch is there, so that all can be compared."""
        if self._weights_name != "random":
            return weights_files.resolve(self.model, self._weights_name)
        try:
            return dataclasses.replace(export.of_module(self.module), name="random")
        except EngineUnavailable:
            return weights_files.resolve(self.model, "random")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Inputs without the batch axis."""
        from dfer_edge.inference.parts import input_shapes

        return input_shapes(self.source.spec)

    def feed(self, batch: int) -> Feed:
        """Seeded noise of ``batch`` samples: the same bytes for every system."""
        return gate_feed(self.shapes, batch, seed=1)

    @property
    def config(self) -> dict[str, Any]:
        """What all rows of the network say."""
        spec = self.source.spec
        pixels = {"frames": spec.frames, "size": spec.size} if spec.input == "clip" else {"size": spec.size}
        weights = "random: labels mean nothing" if self._weights_name == "random" else self._weights_name
        return {"network": self.key, "model": self.model, **pixels, "weights": weights, "threads": self._threads}

    def path(self, form: Form) -> Path:
        """The network as ONNX in a form; written once for forms that are the same graph."""
        kind = form if _forms_differ(self.source) else "2d"
        path = self._folder / f"{kind}.onnx"
        if not path.exists():
            export.write(self.source, path, kind)
        return path

    def engine(self, case: str, name: str, precision: str) -> Subject:
        """An engine, loaded.

        Raises
        ------
        EngineUnavailable, PrecisionUnavailable
            If this machine has not got it.
        """
        if why := engines.reasons(name) or engines.precision_reasons(name)[precision]:
            raise (EngineUnavailable if engines.reasons(name) else PrecisionUnavailable)(why)
        device = "cuda" if engines.runs_on_gpu(name, "cpu") or precision == "fp16" else "cpu"
        if (name, precision) == ("torch", "bf16") and not cpu.has_bf16():
            # torch would have it on a CUDA device; on this processor it emulates the products, for minutes.
            raise PrecisionUnavailable("torch bf16 is measured on the CPU, and this processor has no bf16 products")
        form = engines.best_form(engines.Choice(name, precision), self.source.spec)
        path, note = (self._int8(form, name)) if precision == "int8" else (self.path(form), "")
        loaded = engines.load_engine(path, name, precision, device, self._threads)
        config = {**self.config, "engine": name, "precision": precision, "form": form, "device": device}
        config |= {"ranges": note} if note else {}
        return Subject(case, precision, lambda feed: loaded.infer(feed)[LOGITS], config, loaded.close)

    def eager(self, case: str, compiled: bool = False) -> Subject:
        """The printed network in torch, as one runs it without this package; with ``compiled``, by torch.compile."""
        import torch

        call: Any = torch.compile(self.module) if compiled else self.module

        def run(feed: Feed) -> FloatArray:
            with torch.inference_mode():
                logits: FloatArray = call(*(torch.from_numpy(value) for value in feed.values())).numpy()
            return logits

        config = {**self.config, "engine": "torch-compile" if compiled else "torch-eager", "precision": "fp32"}
        return Subject(case, "fp32", run, {**config, "form": "printed", "device": "cpu"})

    def _int8(self, form: Form, engine: str) -> tuple[Path, str]:
        from dfer_edge.calibration import RangeTable, calibrate, quantize
        from dfer_edge.export.loading import SCHEMES

        ranges = self._calibration or weights_files.ranges_beside(self.model, self._weights_name)
        if ranges is not None and self._weights_name != "random":
            table, note = RangeTable.load(ranges), f"from {ranges.name}"
            table.require(weights_files.identity(self.source), self.key)
        else:
            clips = [gate_feed(self.shapes, 1, seed) for seed in range(2, 2 + _SPEED_CLIPS)]
            table, note = calibrate(self.path(form), clips, "minmax", threads=self._threads), SPEED_ONLY
        scheme: Scheme = SCHEMES.get(engine, "symmetric")
        return quantize(self.path(form), table, self._folder / f"int8-{scheme}.onnx", scheme), note

    @property
    def bytes(self) -> int:
        """Of the weights in fp32."""
        return 4 * record(self.source.spec, "2d")[0].parameters


def _forms_differ(source: Weights) -> bool:
    first, second = (record(source.spec, form)[0].nodes for form in ("2d", "3d"))
    return first != second


def reference(network: Network) -> tuple[list[Feed], FloatArray]:
    """The gate's inputs and what ONNX Runtime in fp32, which every installation has, says of them."""
    from dfer_edge.bench.cases.correctness import feeds

    inputs = feeds(network.shapes)
    subject = network.engine("", "onnxruntime", "fp32")
    try:
        return inputs, np.concatenate([subject.run(feed) for feed in inputs])
    finally:
        subject.close()
