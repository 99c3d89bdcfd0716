"""The one engine contract: a file goes in, ``infer`` maps named arrays to named arrays."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from dfer_edge.errors import CorruptArtifact, EngineUnavailable, InvalidInput, PrecisionUnavailable
from dfer_edge.inference import pixels
from dfer_edge.inference.parts import FEATURES, LOGITS, PARTS, Part, check_feed, input_shapes, output_name
from dfer_edge.spec import ModelSpec
from dfer_edge.system import cpu
from dfer_edge.system.call_lock import CallLock

__all__ = ["LOGITS", "Engine", "EngineOptions", "Feed", "FloatArray", "Kept"]

FloatArray = npt.NDArray[np.float32]
Feed = dict[str, npt.NDArray[Any]]
"""Input name -> contiguous array [B, ...] of the dtype that the engine's file takes."""

FASTER: frozenset[tuple[str, str, str, str]] = frozenset()
"""Network, engine, device and precision in which its fused kernel was measured to win (bench/studies/kernel_places.py):
none, by more than the noise, on a CPU; on a GPU none was measured yet."""


@dataclasses.dataclass(eq=False)
class Kept:
    """Features of one step where an engine keeps them, in the memory that its device reads.

    Attributes
    ----------
    owner
        The engine that computed them; once it is closed they are gone.
    value
        As the engine holds them; freed with this object.
    """

    owner: Engine
    value: Any


@dataclasses.dataclass(frozen=True)
class EngineOptions:
    """How an engine runs.

    Attributes
    ----------
    precision
        ``fp32``, ``bf16``, ``fp16`` or ``int8``; never ``auto`` at this level.
    device
        ``cpu`` or ``cuda``.
    threads
        CPU threads of one inference; the cores this process may use if None.
    kernels
        Fused kernels of :mod:`dfer_edge.kernels` inside the network, where an engine can take them: ``auto`` where they
        were measured to be faster, ``all``, or ``none``.
    """

    precision: str = "fp32"
    device: str = "cpu"
    threads: int | None = None
    kernels: Literal["auto", "all", "none"] = "auto"

    @property
    def thread_count(self) -> int:
        return self.threads or cpu.available_cores()

    def runs_kernel(self, network: str, engine: str) -> bool:
        """Whether an engine is to run the fused kernel that has a place in a network."""
        faster = (network, engine, self.device, self.precision) in FASTER
        return self.kernels == "all" or (self.kernels == "auto" and faster)


class Engine(abc.ABC):
    """A loaded network. Public methods check, subclasses do.

    Threads may share one: calls take turns, each has all ``threads`` of the engine. After a fork the child may go on
    with it, or gets an EngineUnavailable that says why not. Pickled, it is its file and options.

    Parameters
    ----------
    path
        An ONNX file written by :func:`dfer_edge.export.export_onnx`.
    options
        Precision, device and threads.

    Attributes
    ----------
    spec
        Of the network in the file.
    part
        What of it the file holds: all, or a part for streaming (:mod:`dfer_edge.inference.parts`).
    weights_sha256
        Of the weights that the file was written from.
    takes_pixels
        Whether the file reads uint8 crops and normalises them itself (:mod:`dfer_edge.inference.pixels`).
    input_shapes, input_dtypes
        Input name -> shape without the batch axis, and dtype: float32, but uint8 of crops.
    batch
        The batch size that the file is fixed to; None if it takes any.
    metadata
        All ``dfer_edge.*`` entries of the file.
    kernels
        Fused kernels that run inside the network.
    """

    name: str
    kernels: tuple[str, ...] = ()
    keeps_on_device: ClassVar[bool] = False
    """Whether :meth:`keep` leaves features in the memory of a GPU."""

    def __init__(self, path: Path, options: EngineOptions) -> None:
        from dfer_edge.engines.external import check_weights  # onnx, which listing engines does not need

        self.path, self.options = path, options
        self._calls, self._process = CallLock(), os.getpid()
        self.metadata = self._load()
        if "dfer_edge.spec" not in self.metadata:
            self.close()
            raise CorruptArtifact(
                f"expected an ONNX file with dfer_edge metadata, got {path} without", "dfer-edge export"
            )
        try:
            check_weights(path, self.metadata)
        except CorruptArtifact:
            self.close()
            raise
        self._require_precision()
        self.spec = ModelSpec.from_json(self.metadata["dfer_edge.spec"])
        self.part = part_of(self.metadata)
        self.weights_sha256 = self.metadata.get("dfer_edge.weights_sha256", "")
        self.takes_pixels = pixels.are_taken(self.metadata)
        shapes = input_shapes(self.spec, self.part)
        self.input_shapes = pixels.pixel_shapes(shapes) if self.takes_pixels else shapes
        self.input_dtypes = pixels.dtypes(shapes, self.takes_pixels)
        fixed = self.metadata.get("dfer_edge.batch", "dynamic")
        self.batch = None if fixed == "dynamic" else int(fixed)

    def _require_precision(self) -> None:
        found = self.metadata.get("dfer_edge.precision", "fp32")
        if (found == "int8") != (self.options.precision == "int8"):
            self.close()
            hint = "dfer-edge calibrate, then dfer-edge export --int8" if found != "int8" else "ask for precision int8"
            message = f"expected a file for precision {self.options.precision}, got one of precision {found}"
            raise PrecisionUnavailable(f"{message}: {self.path}", hint)

    @abc.abstractmethod
    def _load(self) -> dict[str, str]:
        """Make the file ready to run; return its metadata."""

    @abc.abstractmethod
    def _infer(self, feed: Feed) -> FloatArray:
        """The file's one output, of a checked feed: logits [B, K], or features [B, 1, ...]."""

    def _close(self) -> None:  # noqa: B027 - most engines free by reference count
        """Give back what garbage collection would not."""

    def _lost_by_fork(self) -> str:
        """Why a child made by a fork cannot go on with what its parent loaded; empty if it can."""
        return "a CUDA context does not survive a fork" if self.options.device == "cuda" else ""

    def infer(self, feed: Mapping[str, npt.NDArray[Any]]) -> dict[str, FloatArray]:
        """Run the network or the part of it that the file holds.

        Parameters
        ----------
        feed
            Input name -> array [B, ...] of ``input_shapes`` and ``input_dtypes``, any B >= 1, the same for all inputs.

        Returns
        -------
        ``{"logits": float32 [B, K]}``, or ``{"features": float32 [B, 1, ...]}`` of a features part; an array of the
        caller's own.

        Raises
        ------
        InvalidInput
            For a missing or unknown name, another shape or dtype, or a closed engine.
        EngineUnavailable
            In a child made by a fork, where the engine does not survive one.
        """
        checked = self._checked(feed)
        with self._calls:
            self._require_open()
            return {output_name(self.part): self._infer(checked)}

    def _checked(self, feed: Mapping[str, npt.NDArray[Any]]) -> Feed:
        check_feed(feed, self.input_shapes, self.input_dtypes)
        checked = {name: np.ascontiguousarray(feed[name]) for name in self.input_shapes}
        rows = len(next(iter(checked.values())))
        if self.batch not in (None, rows):
            raise InvalidInput(f"expected a batch of {self.batch}, to which {self.path} is fixed; got {rows}")
        self._require_own_process()
        return checked

    def _require_open(self) -> None:
        if self.metadata is None:
            raise InvalidInput("expected an open engine, got one that was closed")

    def keep(self, feed: Mapping[str, npt.NDArray[Any]]) -> list[Kept]:
        """Features of each row of ``feed``, which only a features part computes, left where the engine has them.

        Parameters, errors: as of :meth:`infer`.
        """
        checked = self._checked(feed)
        if self.part != "features":
            raise InvalidInput(f"expected the features part of a network, got {self.part}")
        with self._calls:
            self._require_open()
            return self._keep(checked)

    def infer_kept(self, windows: Sequence[Sequence[Kept]]) -> FloatArray:
        """Logits [B, K] of windows of steps that :meth:`keep` of the features part returned; of a head only.

        Parameters
        ----------
        windows
            B windows, oldest step first; all of as many steps as the network's windows have. A step may come twice.

        Raises
        ------
        InvalidInput
            For another part, windows of another length, none, or steps whose engine was closed.
        EngineUnavailable
            As of :meth:`infer`.
        """
        if self.part != "head":
            raise InvalidInput(f"expected the head of a network, got {self.part}")
        steps = next(iter(self.input_shapes.values()))[0]
        if not windows or any(len(window) != steps for window in windows):
            raise InvalidInput(f"expected windows of {steps} steps, got {[len(window) for window in windows]}")
        self._require_own_process()
        with contextlib.ExitStack() as turn:
            # Closing an engine gives the memory of its features back: not before they were read.
            owners = {kept.owner for window in windows for kept in window}
            for engine in sorted({self, *owners}, key=lambda engine: engine._calls.number):
                turn.enter_context(engine._calls)
            self._require_open()
            if any(owner.metadata is None for owner in owners):
                raise InvalidInput("expected features of an open engine, got some of one that was closed")
            return self._infer_kept(windows)

    def _keep(self, feed: Feed) -> list[Kept]:
        # A copy each: a row that is kept must not keep the others.
        return [Kept(self, row.copy()) for row in self._infer(feed)[:, 0]]

    def _infer_kept(self, windows: Sequence[Sequence[Kept]]) -> FloatArray:
        stacked = np.stack([np.stack([kept.value for kept in window]) for window in windows])
        return self._infer({FEATURES: stacked})

    def _require_own_process(self) -> None:
        if os.getpid() != self._process and (reason := self._lost_by_fork()):
            raise EngineUnavailable(
                f"expected engine {self.name} in the process that loaded it, got a fork of it: {reason}",
                'load it in the child, or start processes with multiprocessing.get_context("spawn")',
            )

    def __reduce__(self) -> tuple[type[Engine], tuple[Path, EngineOptions]]:
        return type(self), (self.path, self.options)

    def info(self) -> dict[str, Any]:
        """Engine, precision, device, threads and the fused kernels that run inside the network, JSON-safe."""
        options = dataclasses.asdict(self.options) | {"threads": self.options.thread_count}
        return {"engine": self.name, **options, "kernels": list(self.kernels)}

    def close(self) -> None:
        """Free the network; a second call does nothing."""
        with self._calls:
            self._close()
            self.metadata = None  # type: ignore[assignment] # marks a closed engine

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def part_of(metadata: Mapping[str, str]) -> Part:
    """The part of a network that a file with this metadata holds; files without the entry hold all.

    Raises
    ------
    CorruptArtifact
        For a part that does not exist.
    """
    name = metadata.get("dfer_edge.part", "whole")
    for part in PARTS:
        if part == name:
            return part
    raise CorruptArtifact(f"expected a part out of {', '.join(PARTS)} in the file's metadata, got {name!r}")
