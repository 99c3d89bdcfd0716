"""Names that are imported on use, and old names of modules that moved.

>>> from dfer_edge._names import MOVED
>>> MOVED["dfer_edge.streaming"]
'dfer_edge.flow.streaming'
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

# Modules of 0.1 and where they are; the old names go with 0.4.
MOVED = {
    f"dfer_edge.{old}": f"dfer_edge.{new}"
    for old, new in (
        ("artifacts", "export.artifacts"),
        ("board", "system.board"),
        ("cache_manifest", "cache.manifest"),
        ("camera", "sources.camera"),
        ("clips", "flow.clips"),
        ("convert", "weights.convert"),
        ("cpu", "system.cpu"),
        ("downloads", "cache.downloads"),
        ("engines.build_progress", "engines.tensorrt.build_progress"),
        ("engines.tensorrt_build", "engines.tensorrt.build"),
        ("engines.tensorrt_engine", "engines.tensorrt.engine"),
        ("engines.tensorrt_library", "engines.tensorrt.library"),
        ("engines.tensorrt_rtx_engine", "engines.tensorrt.rtx_engine"),
        ("engines.tensorrt_runner", "engines.tensorrt.runner"),
        ("evaluation.inside", "evaluation.explain"),
        ("face_geometry", "faces.geometry"),
        ("frames", "sources.frames"),
        ("loading", "export.loading"),
        ("models.registry", "inference.registry"),
        ("pictures", "sources.pictures"),
        ("pipeline", "flow.pipeline"),
        ("postprocess", "flow.postprocess"),
        ("preprocess", "flow.preprocess"),
        ("provenance", "system.provenance"),
        ("self_test", "doctor.self_test"),
        ("settings", "system.settings"),
        ("streaming", "flow.streaming"),
        ("summary", "flow.summary"),
        ("synthesis.film", "synthesis.sensor"),
        ("triton_repository", "export.triton_repository"),
        ("video", "sources.video"),
        ("weights_compact", "weights.compact"),
        ("weights_trunk", "weights.trunk"),
    )
}


def lazy(package: str, homes: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose names are imported on use.

    Parameters
    ----------
    package
        Its ``__name__``.
    homes
        Names by the submodule that has them.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def getattr_(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{home_of[name]}"), name)

    return getattr_, lambda: sorted(home_of)


class _Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the module itself under its old name, with a DeprecationWarning."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is {new} now; the old name goes with 0.4", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        # The import system is about to write the old name's spec on the module.
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None  # noqa: S101 (set by the import system)
        module.__spec__ = module.__spec__.loader_state


def install() -> None:
    """Lets ``import`` find moved modules; once."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
