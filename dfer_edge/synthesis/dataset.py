"""Sets of rendered clips: iterable, indexable, rendered in worker processes, the same bytes for any number of them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np

from dfer_edge.errors import InvalidInput
from dfer_edge.synthesis.clip import SHARES, ClipSettings, SyntheticClip
from dfer_edge.synthesis.face_model import load_face_model
from dfer_edge.synthesis.recipes import CLASSES
from dfer_edge.synthesis.renderer import FaceRenderer

EMOTIONS = CLASSES[:7]


class SyntheticClips:
    """Rendered clips with labels, landmarks and action units.

    Labels go round the classes asked for, so that any ``len(classes)`` clips in a row are balanced.

    Parameters
    ----------
    count
        Number of clips.
    seed
        Clip ``i`` depends on (seed, i) and the settings alone.
    frames, size, **settings
        Fields of :class:`ClipSettings`; ``frames=1`` gives single images.
    workers
        Processes that render while the caller works; 0 renders in the caller's process.
    classes
        Names among ``CLASSES``; the seven of DFEW by default. ``label`` stays the index into ``CLASSES``.
    model
        Path of the face model; None reads ``DFER_EDGE_FACE_MODEL``.

    Raises
    ------
    InvalidInput
        A negative or zero count, an unknown class, a size or length out of range.
    SourceNotFound, CorruptArtifact
        The face model is missing or unreadable.
    """

    def __init__(
        self,
        count: int,
        seed: int = 0,
        frames: int = 16,
        size: int = 112,
        workers: int = 0,
        classes: Sequence[str] = EMOTIONS,
        model: str | Path | None = None,
        **settings: float | int | None,
    ) -> None:
        if count < 1 or workers < 0 or seed < 0:
            raise InvalidInput(f"expected count >= 1, workers >= 0, seed >= 0; got {count}, {workers}, {seed}")
        unknown = [name for name in classes if name not in CLASSES]
        if unknown or not classes:
            raise InvalidInput(f"expected classes among {', '.join(CLASSES)}, got {', '.join(unknown) or 'none'}")
        self.count, self.seed, self.workers = count, seed, workers
        self.classes = tuple(classes)
        self.settings = ClipSettings(frames=frames, size=size, **settings)  # type: ignore[arg-type]
        self._labels = [CLASSES.index(name) for name in self.classes]
        self._model_path = None if model is None else str(model)
        self._renderer: FaceRenderer | None = None
        load_face_model(model)  # a wrong path is told here, not in a worker

    def __len__(self) -> int:
        return self.count

    def label(self, index: int) -> int:
        """Label of clip ``index``: each round of classes in its own order."""
        round_, place = divmod(index, len(self._labels))
        order = np.random.default_rng([2, self.seed, round_]).permutation(len(self._labels))
        return self._labels[int(order[place])]

    def __getitem__(self, index: int) -> SyntheticClip:
        if not -self.count <= index < self.count:
            raise IndexError(f"clip {index} of {self.count}")
        index %= self.count
        if self._renderer is None:
            self._renderer = FaceRenderer(load_face_model(self._model_path))
        return self._renderer.clip((self.seed, index), self.label(index), self.settings)

    def __iter__(self) -> Iterator[SyntheticClip]:
        return self.range(0, self.count)

    def range(self, start: int, stop: int) -> Generator[SyntheticClip, None, None]:
        """Clips ``start`` to ``stop - 1`` in order, rendered by the workers."""
        if self.workers == 0:
            yield from (self[index] for index in range(start, stop))
            return
        from dfer_edge.synthesis.workers import render

        yield from render(self, start, stop)

    def job(self) -> dict[str, object]:
        """What a worker process needs to make an equal set, as JSON.

        Shares of zero are left out: they draw nothing, and folders begun before there were any can be completed.
        """
        settings = {name: value for name, value in vars(self.settings).items() if name not in SHARES or value}
        return {
            "count": self.count,
            "seed": self.seed,
            "classes": list(self.classes),
            "model": self._model_path,
            **settings,
        }
