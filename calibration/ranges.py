"""Ranges: one pass over the clips with ONNX Runtime, a streaming histogram a tensor, then a method's thresholds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from dfer_edge.calibration import clip_set
from dfer_edge.calibration.clip_set import ClipSet, Feed, Progress
from dfer_edge.calibration.data import from_folder
from dfer_edge.calibration.graph import GraphIndex, read
from dfer_edge.calibration.histogram import METHODS, Histogram
from dfer_edge.calibration.placement import plan
from dfer_edge.calibration.table import Range, RangeTable
from dfer_edge.engines.base import part_of
from dfer_edge.engines.external import mapped_bytes
from dfer_edge.errors import CalibrationError, InvalidInput
from dfer_edge.inference.parts import input_shapes
from dfer_edge.spec import ModelSpec
from dfer_edge.system import cpu
from dfer_edge.system.onnx_session import cpu_session

# Activations of one clip that are held at once; tensors beyond that wait for another run of the clip.
_GROUP_BYTES = 384 << 20

DEFAULT_METHOD = "entropy"


def calibrate(
    onnx_path: str | Path,
    clips: str | Path | ClipSet | Sequence[Feed],
    method: str = DEFAULT_METHOD,
    exclude: Sequence[str] = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> RangeTable:
    """Ranges of a network's activations on real clips.

    Parameters
    ----------
    onnx_path
        A float network written by :func:`dfer_edge.export.export_onnx`; the ranges fit all of its conv forms.
    clips
        A folder of videos of faces, a :class:`dfer_edge.calibration.ClipSet`, or a list of engine inputs.
    method
        ``minmax`` clips nothing; ``percentile`` clips 0.01 % of the values; ``entropy`` loses least information;
        ``mse`` makes the least mean squared error.
    exclude
        Names of weights whose layers stay float.
    threads
        CPU threads; the cores this process may use if None.
    progress
        Called with clips done and clips in all.

    Raises
    ------
    CalibrationError
        For unfit clips (:func:`dfer_edge.calibration.clip_set.check`), operators outside of ONNX, or a layer whose
        input is NaN or infinite; the message names it.
    InvalidInput
        For a method that does not exist.
    """
    if method not in METHODS:
        raise InvalidInput(f"expected a method out of {', '.join(METHODS)}; got {method!r}")
    path = Path(onnx_path)
    model = read(path)
    index = GraphIndex(model, path)
    notes = index.metadata()
    shapes = _input_shapes(index, notes)
    if isinstance(clips, (str, Path)):
        clips = from_folder(clips, ModelSpec.from_json(notes.get("dfer_edge.spec", "")))
    digest = clip_set.check(clips, shapes)
    histograms = collect(path, index, clips, threads, progress)
    ranges = {place: _range(histogram, method) for place, histogram in histograms.items()}
    return RangeTable(
        model=notes.get("dfer_edge.model", path.stem),
        model_sha256=index.identity(),
        weights=notes.get("dfer_edge.weights", "unknown"),
        data_sha256=digest,
        clips=len(clips),
        method=method,
        ranges=ranges,
        exclude=tuple(sorted(exclude)),
    )


def _input_shapes(index: GraphIndex, notes: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    if "dfer_edge.spec" in notes:
        return input_shapes(ModelSpec.from_json(notes["dfer_edge.spec"]), part_of(notes))
    shapes = index.shapes()
    return {name: shapes[name][1:] for name in index.inputs}


def _range(histogram: Histogram, method: str) -> Range:
    return Range(histogram.low, histogram.high, float(METHODS[method](histogram)))


def collect(
    path: Path,
    index: GraphIndex,
    clips: ClipSet | Sequence[Feed],
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Histogram]:
    """Histogram of each place, of every layer that could be int8: exclusions can change without another pass."""
    places = plan(index).places()
    wanted = {tensor for origins in places.values() for tensor in origins}
    # In the order of computation: the first that is not finite is the culprit.
    tensors = [name for name in (*index.inputs, *index.producers) if name in wanted]
    histograms = {place: Histogram() for place in places}
    touched = {tensor: [place for place, origins in places.items() if tensor in origins] for tensor in tensors}
    with Observer(path, index, tensors, threads) as observer:
        for number, feed in enumerate(clips):
            for tensor, values in observer.run(feed):
                for place in touched[tensor]:
                    if not histograms[place].add(values):
                        layer, _, port = place.rpartition(":")
                        where = f"the {port} of layer {layer} (tensor {tensor}, clip {number})"
                        raise CalibrationError(f"expected finite activations, got NaN or infinity in {where}")
            if progress:
                progress(number + 1, len(clips))
    return histograms


@dataclasses.dataclass
class Observer:
    """Runs a network and shows tensors inside of it, in groups that bound the memory of one run.

    ``simulate``: compute Q/DQ pairs as they are written, in float.
    """

    path: Path
    index: GraphIndex
    tensors: Sequence[str]
    threads: int | None
    simulate: bool = False

    def __enter__(self) -> Observer:
        model = onnx.ModelProto()
        model.CopyFrom(self.index.model)
        shapes = self.index.shapes()
        inside = [name for name in self.tensors if name not in self.index.inputs]
        declared = {value.name for value in model.graph.output}
        model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inside if name not in declared)
        self._groups = _groups({name: 4 * abs(math.prod(shapes.get(name, (1,)))) for name in inside})
        # Beside the network, not in memory: its weights may lie in a file of their own there.
        self._file = self.path.with_name(f".{self.path.name}.observed")
        try:
            self._file.write_bytes(model.SerializeToString())
            threads = self.threads or cpu.available_cores()
            self._session: Any = cpu_session(
                str(self._file), self.path, threads, prepack=not mapped_bytes(self.path), simulate=self.simulate
            )
        except OSError as error:
            raise CalibrationError(f"cannot write beside {self.path}: {error}", "copy it to another folder") from error
        finally:
            self._file.unlink(missing_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._session = None

    def run(self, feed: Feed) -> Iterator[tuple[str, Any]]:
        """Each tensor and its values, row by row: the images of a clip are one batch."""
        for number in range(len(next(iter(feed.values())))):
            row = {name: value[number : number + 1] for name, value in feed.items()}
            yield from ((name, row[name]) for name in self.tensors if name in self.index.inputs)
            for group in self._groups:
                values = dict(zip(group, self._session.run(group, row), strict=True))
                # One at a time: what was counted is freed before the next is copied.
                yield from ((name, values.pop(name)) for name in group)


def _groups(sizes: Mapping[str, int]) -> list[list[str]]:
    groups: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if not groups or size > room:
            groups.append([])
            room = _GROUP_BYTES
        groups[-1].append(name)
        room -= size
    return groups
