"""Samples to batches: every draw is seeded by (seed, stage, epoch, clip), so any worker makes the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from dfer_edge.errors import DferError, InvalidInput
from dfer_edge.faces.aligned import box_of
from dfer_edge.flow import preprocess
from dfer_edge.flow.clips import look, positions, towards_apex
from dfer_edge.inference.keypoint_graph import fill_missing
from dfer_edge.kernels.clip_to_tensor import normalise
from dfer_edge.spec import ModelSpec
from dfer_edge.training.data.samples import ClipDataset, LostFace, Sample, UnreadableClip
from dfer_edge.training.geometry import Region, cut, draw_regions, levelled, move_points
from dfer_edge.training.pixels import ENLARGE, GREY, SHRINK, augment
from dfer_edge.training.recipes import Stage
from dfer_edge.training.sampling import draw_frames
from dfer_edge.types import Box, Image, Points

Array = npt.NDArray[Any]
Batch = dict[str, torch.Tensor]

# A clip that does not read is replaced by the next of its class, this often in a row.
_SUBSTITUTES = 20


@dataclasses.dataclass(frozen=True)
class Key:
    """One draw of one clip: its position and the seeds of its augmentation, empty for none."""

    index: int
    seeds: tuple[int, ...] = ()


class Reader(Dataset[dict[str, Any]]):
    """Reads, crops and augments clips; what workers run.

    Parameters
    ----------
    data
        The clips.
    spec
        Of the network, with the stage's frames and size: the one preprocessing.
    stage
        Augmentation; used for keys with seeds, others get the fixed crop of validation.
    """

    def __init__(self, data: ClipDataset, spec: ModelSpec, stage: Stage) -> None:
        self.data, self.spec, self.stage = data, spec, stage

    def __getitem__(self, key: Key) -> dict[str, Any]:
        rng = np.random.default_rng(key.seeds) if key.seeds else None
        lost: int | None = None
        skipped: list[tuple[str, str]] = []
        for index in self._candidates(key.index, substitutes=rng is not None):
            try:
                sample = self.data.read(index, lambda length: self._frames(length, rng))
            except UnreadableClip as error:
                skipped.append((self.data.describe(index), error.message))
                lost = int(self.data.targets[index]) if isinstance(error, LostFace) else None
                continue
            arrays = self._augmented(sample, rng) if rng is not None else self._fixed(sample)
            return {**arrays, "label": np.int64(sample.label), "skipped": skipped}
        if rng is not None:
            raise InvalidInput(f"expected clips that read, {len(skipped)} in a row do not: {skipped[0]}")
        return {"skipped": skipped, "lost": lost}

    def _candidates(self, index: int, substitutes: bool) -> Iterator[int]:
        yield index
        if substitutes:
            same = np.flatnonzero(self.data.targets == self.data.targets[index])
            start = int(np.searchsorted(same, index))
            for step in range(1, min(_SUBSTITUTES, len(same))):
                yield int(same[(start + step) % len(same)])

    def _frames(self, length: int, rng: np.random.Generator | None) -> Sequence[int]:
        if rng is None:
            # Which frames are nearest the apex is known once all are cut.
            return range(length) if self.spec.sampling == "apex" else positions(length, self.spec)
        sampling = self.stage.sampling
        if length < sampling.min_frames:
            raise UnreadableClip(f"expected clips of at least {sampling.min_frames} frames, got {length}")
        return draw_frames(sampling, length, self.spec.frames, rng)

    def _augmented(self, sample: Sample, rng: np.random.Generator) -> dict[str, Array]:
        faces, boxes = [preprocess.frame_box(frame) for frame in sample.frames], self._boxes(sample)
        if boxes is not None:
            faces = [preprocess.square(box, self.spec.face_margin) for box in boxes]
        regions = draw_regions(self.stage.crop, faces, self.spec.crop_share, sample.landmarks, rng)
        regions = levelled(regions, sample.landmarks) if self.spec.level and boxes is not None else regions
        flip = bool(rng.random() < self.stage.crop.flip)
        crops = self._cut(sample, regions, flip, rng)
        points = None
        if sample.landmarks is not None:
            pairs = zip(sample.landmarks, regions, strict=True)
            points = np.stack([move_points(p, r.matrix(self.spec.size, flip), flip) for p, r in pairs])
        arrays = self._targets(sample, points, flip)
        if self.stage.mixed:
            arrays["augmented"] = np.stack(
                [self._shown(self._version(number, sample, regions, flip, rng)) for number in self._versions()]
            )
        return {"clip": self._shown(augment(crops, self.stage.pixels, rng)), **arrays}

    def _shown(self, crops: Image) -> Array:
        return normalise(preprocess.in_pixels_of(crops, self.spec), self.spec)

    def _versions(self) -> range:
        return range(len(self.stage.mixed))

    def _version(
        self, number: int, sample: Sample, regions: list[Region], flip: bool, rng: np.random.Generator
    ) -> Image:
        """One of the further versions for mixed tokens; the first is the geometric one."""
        angles = self.stage.mixed_rotation_deg
        if number == 0 and angles:
            angle = float(rng.choice(angles) * rng.choice((-1.0, 1.0)))
            regions = [dataclasses.replace(region, rotation_deg=region.rotation_deg + angle) for region in regions]
        return augment(self._cut(sample, regions, flip, rng), self.stage.mixed[number], rng)

    def _cut(self, sample: Sample, regions: list[Region], flip: bool, rng: np.random.Generator) -> Image:
        # A recipe that varies the sharpness varies the filters too; others take the one rule of preprocessing.
        varied = self.stage.pixels.resample > 0
        down = int(rng.choice(SHRINK)) if varied else cv2.INTER_AREA
        up = int(rng.choice(ENLARGE)) if varied else cv2.INTER_LINEAR
        pairs = zip(sample.frames, regions, strict=True)
        return np.stack([cut(frame, region, self.spec.size, flip, down, up) for frame, region in pairs])

    def _fixed(self, sample: Sample) -> dict[str, Array]:
        """Validation: the crops of inference, through :mod:`dfer_edge.flow.preprocess`."""
        boxes, size = self._boxes(sample), self.spec.size
        marks = [None] * len(sample.frames) if sample.landmarks is None else list(sample.landmarks)
        regions = [
            preprocess.region(preprocess.frame_box(frame), self.spec, cropped=True)
            if boxes is None
            else preprocess.region(boxes[number], self.spec, points=marks[number])
            for number, frame in enumerate(sample.frames)
        ]
        crops = np.stack([preprocess.cut(f, region, size) for f, region in zip(sample.frames, regions, strict=True)])
        if self.spec.sampling == "apex":
            kept = towards_apex(positions(len(crops), self.spec), [look(crop) for crop in crops])
            sample, crops, regions = sample.at(kept), crops[kept], [regions[place] for place in kept]
        clip = self._shown(crops)
        if self.stage.pixels.grey == 1.0:
            # As the network's first layer reads colours once grey is folded into it, on export.
            clip = np.repeat(np.tensordot(GREY, clip, (0, 0))[None], 3, axis=0)
        points = None
        if sample.landmarks is not None:
            pairs = zip(sample.landmarks, regions, strict=True)
            points = np.stack([preprocess.points_in_crop(p, region, size) for p, region in pairs])
        return {"clip": clip, **self._targets(sample, points, flip=False)}

    def _boxes(self, sample: Sample) -> Sequence[Box] | None:
        """Around which crops lie: boxes that were found, or laid by known points; None reads face crops as they are."""
        if sample.boxes is None and self.spec.face_box == "landmarks" and sample.landmarks is not None:
            return [box_of(points) for points in sample.landmarks]
        return sample.boxes

    def _targets(self, sample: Sample, points: Points | None, flip: bool) -> dict[str, Array]:
        arrays: dict[str, Array] = {}
        if points is not None:
            arrays["landmarks"] = fill_missing(points, self.spec.size).astype(np.float32)
        if sample.units is not None:
            # [T, U, 2] has a left and a right half, which a flip exchanges; [T, U] is their mean.
            units = sample.units[..., ::-1] if flip and sample.units.ndim == 3 else sample.units
            arrays["units"] = np.ascontiguousarray(units.reshape(len(units), -1))
        if sample.intensity is not None:
            arrays["intensity"] = sample.intensity
        return arrays


class _Fetcher(Dataset[Any]):
    """A reader whose errors are values: torch would wrap one that a worker raises in its whole traceback."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __getitem__(self, key: Key) -> dict[str, Any] | DferError:
        try:
            return self._reader[key]
        except DferError as error:
            return error


def collate(items: Sequence[Any]) -> tuple[Batch, list[tuple[str, str]]] | DferError:
    """Tensors by name, batch first, and the clips that were skipped with the reason; or the first error.

    ``lost`` int64 [n]: classes of the clips of validation in which no face was found, if there are any.
    """
    for item in items:
        if isinstance(item, DferError):
            return item
    skipped = [entry for item in items for entry in item["skipped"]]
    read = [item for item in items if "clip" in item]
    names = [name for name in (read[0] if read else ()) if name != "skipped" and all(name in item for item in read)]
    batch = {name: torch.from_numpy(np.stack([item[name] for item in read])) for name in names}
    if lost := [item["lost"] for item in items if item.get("lost") is not None]:
        batch["lost"] = torch.tensor(lost)
    return batch, skipped


def read_batches(
    reader: Reader, batches: Sequence[Sequence[Key]], workers: int
) -> Iterator[tuple[Batch, list[tuple[str, str]]]]:
    """Batches of keys, in order, read by worker processes (0: in this one), each with the clips that were skipped.

    Raises
    ------
    InvalidInput
        As :class:`Reader`, if too many clips in a row do not read.
    """
    # One thread: workers are forked, and one that inherits OpenCV's pool without its threads would wait for them for
    # ever. And no IPP: neither with it nor over threads does OpenCV promise the same pixels twice.
    cv2.setNumThreads(1)
    cv2.ipp.setUseIPP(False)
    loader = DataLoader(
        _Fetcher(reader),
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=collate,
        prefetch_factor=4 if workers else None,
    )
    # Begun here, not at the first batch: torch draws a seed for the workers, and steps seed their generators later.
    return _unpacked(iter(loader))


def _unpacked(batches: Iterator[Any]) -> Iterator[tuple[Batch, list[tuple[str, str]]]]:
    for batch in batches:
        if isinstance(batch, DferError):
            raise batch
        yield batch


def epoch_keys(count: int, seeds: tuple[int, ...], batch: int, rank: int, world: int) -> list[list[Key]]:
    """Batches of one process in an epoch: a permutation of all clips, dealt out in turn; the rest is dropped.

    Parameters
    ----------
    count
        Clips.
    seeds
        Of the permutation; with the clip's index, those of its augmentation.
    batch
        Clips a step of one process.
    rank, world
        Which process of how many.
    """
    order = np.random.default_rng(seeds).permutation(count)
    steps = count // (batch * world)
    mine = order[: steps * batch * world].reshape(steps, batch, world)[:, :, rank]
    return [[Key(int(index), (*seeds, int(index) + 1)) for index in step] for step in mine]


def validation_keys(count: int, batch: int) -> list[list[Key]]:
    """All clips in order, without augmentation."""
    return [[Key(index) for index in range(start, min(start + batch, count))] for start in range(0, count, batch)]
