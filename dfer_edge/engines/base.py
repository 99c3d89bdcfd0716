"""The one engine contract: a file goes in, ``infer`` maps named arrays to named arrays."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from dfer_edge import cpu
from dfer_edge.errors import CorruptArtifact, InvalidInput
from dfer_edge.spec import ModelSpec

FloatArray = npt.NDArray[np.float32]
LOGITS = "logits"


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
    """

    precision: str = "fp32"
    device: str = "cpu"
    threads: int | None = None

    @property
    def thread_count(self) -> int:
        return self.threads or cpu.available_cores()


class Engine(abc.ABC):
    """A loaded network. Public methods check, subclasses do.

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
    metadata
        All ``dfer_edge.*`` entries of the file.
    """

    name: str

    def __init__(self, path: Path, options: EngineOptions) -> None:
        self.path, self.options = path, options
        self.metadata = self._load()
        if "dfer_edge.spec" not in self.metadata:
            self.close()
            raise CorruptArtifact(
                f"expected an ONNX file with dfer_edge metadata, got {path} without", "dfer-edge export"
            )
        self.spec = ModelSpec.from_json(self.metadata["dfer_edge.spec"])

    @abc.abstractmethod
    def _load(self) -> dict[str, str]:
        """Make the file ready to run; return its metadata."""

    @abc.abstractmethod
    def _infer(self, feed: dict[str, FloatArray]) -> FloatArray:
        """Logits [B, K] of a checked feed."""

    def _close(self) -> None:  # noqa: B027 - most engines free by reference count
        """Give back what garbage collection would not."""

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Input name -> shape without the batch axis."""
        pixels = "clip" if self.spec.input == "clip" else "image"
        shapes = {pixels: self.spec.input_shape}
        return shapes | ({"landmarks": (self.spec.frames, self.spec.landmarks, 2)} if self.spec.landmarks else {})

    def infer(self, feed: Mapping[str, npt.NDArray[Any]]) -> dict[str, FloatArray]:
        """Run the network.

        Parameters
        ----------
        feed
            Input name -> array [B, ...] of ``input_shapes``, float32, any B >= 1, the same for all inputs.

        Returns
        -------
        ``{"logits": float32 [B, K]}``, an array of the caller's own.

        Raises
        ------
        InvalidInput
            For a missing or unknown name, another shape or dtype, or a closed engine.
        """
        if self.metadata is None:
            raise InvalidInput("expected an open engine, got one that was closed")
        return {LOGITS: self._infer(self._checked(feed))}

    def _checked(self, feed: Mapping[str, npt.NDArray[Any]]) -> dict[str, FloatArray]:
        expected = self.input_shapes
        if set(feed) != set(expected):
            raise InvalidInput(f"expected inputs {sorted(expected)}, got {sorted(feed)}")
        batches = {np.shape(value)[0] if np.ndim(value) else 0 for value in feed.values()}
        if len(batches) != 1 or batches == {0}:
            raise InvalidInput(f"expected one batch size of at least 1 for all inputs, got {sorted(batches)}")
        for name, shape in expected.items():
            actual, dtype = np.shape(feed[name])[1:], getattr(feed[name], "dtype", None)
            if actual != shape or dtype != np.float32:
                raise InvalidInput(f"expected {name} as float32 [B, {_csv(shape)}], got {dtype} [B, {_csv(actual)}]")
        return {name: np.ascontiguousarray(feed[name]) for name in expected}

    def info(self) -> dict[str, Any]:
        """Engine, precision, device and threads, JSON-safe."""
        return {"engine": self.name, **dataclasses.asdict(self.options), "threads": self.options.thread_count}

    def close(self) -> None:
        """Free the network; a second call does nothing."""
        self._close()
        self.metadata = None  # type: ignore[assignment] # marks a closed engine

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _csv(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
