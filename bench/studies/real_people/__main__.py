"""The command line of the ruler; see the package."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.studies import real_people
from bench.studies.real_people import peers
from bench.studies.real_people.faces import finders
from bench.studies.real_people.judge import by_set, names, paired, sequences, summary
from bench.studies.real_people.run import Run, measure, read
from bench.studies.real_people.samples import Sample, digest, find
from bench.studies.real_people.table import table
from dfer_edge.errors import DferError, InvalidInput
from dfer_edge.labels import DFEW
from dfer_edge.recognizer import Recognizer
from dfer_edge.system.provenance import versions


def main(words: list[str] | None = None) -> int:
    """Measure, write and print; 2 for a folder that is absent or half cut and for anything else that is asked wrongly.

    Returns
    -------
    The exit status.
    """
    given = _parser().parse_args(words)
    try:
        if given.threads is not None:
            _limit(given.threads)
        runs = _runs(given)
        if given.out is not None and given.model:
            given.out.write_text(json.dumps(_document(runs[0], runs[1:]), indent=1) + "\n", encoding="utf-8")
        print(table(runs))
    except DferError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=real_people.__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="folders of sets; means are over the sets of each")
    parser.add_argument("--model", help="network to run; without it, a table of --against alone")
    parser.add_argument("--weights", default="default", help="default, random or a file")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--detector", default="auto", help="auto, haar, yunet or a YuNet file")
    parser.add_argument("--landmarks", default="auto", help="auto or a landmark file")
    parser.add_argument("--threads", type=int, help="of the engine, the detectors and the decoder")
    parser.add_argument("--sets", nargs="*", default=(), help="these sets only")
    parser.add_argument("--any-size", action="store_true", help="do not ask that the validation part be whole")
    parser.add_argument("--no-frames", action="store_true", help="do not see frames of sequences each for itself")
    parser.add_argument("--name", help="heading of the column")
    parser.add_argument("--peers", type=Path, help="folder with peers.json and crops.json")
    parser.add_argument("--against", type=Path, nargs="*", default=(), help="runs written before: columns beside")
    parser.add_argument("--cache", type=Path, help="where boxes and points are kept; the SDK's cache if not given")
    parser.add_argument("--out", type=Path, help="JSON file of the run")
    return parser


def _limit(threads: int) -> None:
    import cv2

    if threads < 1:
        raise InvalidInput(f"expected at least one thread, got {threads}")
    cv2.setNumThreads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)


def _runs(given: argparse.Namespace) -> list[Run]:
    saved = [read(path) for path in given.against]
    if not given.model:
        if not saved:
            raise InvalidInput("expected --model NAME, or --against FILE to lay saved runs side by side")
        return saved
    if not given.folders:
        raise InvalidInput("expected a folder of sets, got none")
    samples = [s for folder in given.folders for s in find(folder, DFEW, given.sets, given.any_size)]
    detector, landmarks = finders(samples, given.detector, given.landmarks, given.threads, given.cache)
    recognizer = Recognizer(
        given.model,
        given.weights,
        given.engine,
        given.precision,
        detector=detector,
        threads=given.threads,
        landmark_detector=landmarks,
    )
    info = recognizer.info()
    name = given.name or f"{given.model} {info['weights']['name']} {info['engine']}/{info['precision']}"
    try:
        run = measure(recognizer, samples, name, not given.no_frames, _progress)
    finally:
        detector.memory.save()
        landmarks.memory.save()
    run = dataclasses.replace(run, provenance={**_provenance(info, samples), **run.provenance})
    return [run, *saved, *(peers.read(given.peers, samples) if given.peers else [])]


def _provenance(info: dict[str, Any], samples: Sequence[Sample]) -> dict[str, Any]:
    keys = ("model", "weights", "engine", "precision", "device", "threads", "detector", "face_box", "landmark_detector")
    return {**versions(), **{key: info[key] for key in keys}, "files_sha256": digest(samples)}


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total}", end="" if done < total else "\n", file=sys.stderr, flush=True)


def _document(run: Run, beside: Sequence[Run]) -> dict[str, Any]:
    """The run with its figures, and against those beside it."""
    groups = {
        group: {
            "mean": summary(run, group),
            "sets": {name: dataclasses.asdict(judged) for name, judged in by_set(run, group).items()},
            "sequences": sequences(run, group),
            "against": {
                other.name: paired(other, run, group) for other in beside if group in names(other.rows, "group")
            },
        }
        for group in names(run.rows, "group")
    }
    content = run.to_dict()
    rows = content.pop("rows")
    return {**content, "groups": groups, "rows": rows}


if __name__ == "__main__":
    sys.exit(main())
