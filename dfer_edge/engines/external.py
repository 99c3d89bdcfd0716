"""Weights that lie beside an ONNX file: mapped, so that a network of gigabytes is never in memory twice."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from dfer_edge.cache.hashing import file_sha256
from dfer_edge.errors import CorruptArtifact
from dfer_edge.inference.onnx_writer import DATA_SHA256

_LOG = logging.getLogger("dfer_edge")


def mapped_bytes(path: Path) -> int:
    """Size of the weights beside ``path``; 0 if they are inside."""
    data = path.with_name(f"{path.name}.data")
    return data.stat().st_size if data.is_file() else 0


def check_weights(path: Path, metadata: Mapping[str, str]) -> None:
    """Hold the weights beside ``path`` against the hash that its metadata carry.

    Files from elsewhere carry none: they pass, with a line in the log.

    Raises
    ------
    CorruptArtifact
        If the weights were changed after the file was written.
    """
    if not mapped_bytes(path):
        return
    data = path.with_name(f"{path.name}.data")
    expected = metadata.get(DATA_SHA256)
    if expected is None:
        _LOG.info("%s carries no hash of its weights: %s is used as it is", path, data.name)
    elif (actual := file_sha256(data)) != expected:
        message = f"expected weights with sha256 {expected} beside {path.name}, got {actual} in {data}"
        raise CorruptArtifact(message, "export it again")


def tensor_array(tensor: TensorProto, folder: Path) -> npt.NDArray[np.float32]:
    """An initializer as float32, mapped copy-on-write where it lies outside the file."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return np.array(numpy_helper.to_array(tensor), np.float32)
    entry = {pair.key: pair.value for pair in tensor.external_data}
    # ONNX forbids paths that lead out of the folder; the name alone is what the writer puts.
    location = folder / Path(entry["location"]).name
    return np.memmap(location, np.float32, "c", int(entry["offset"]), tuple(tensor.dims))


def inside(tensor: TensorProto, folder: Path) -> TensorProto:
    """A copy of an initializer that holds its values itself, wherever they lay."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return TensorProto.FromString(tensor.SerializeToString())
    return numpy_helper.from_array(np.ascontiguousarray(tensor_array(tensor, folder)), tensor.name)


def header(path: Path) -> onnx.ModelProto:
    """The model without its external weights."""
    return onnx.load(path, load_external_data=False)
