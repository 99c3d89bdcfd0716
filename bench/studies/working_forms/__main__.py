r"""The four parts of the papers that do nothing, and their working forms, in pairs.

    dfer-edge synth --count 700 --frames 8 --seed 1601 --out MOTION
    dfer-edge synth --count 210 --frames 16 --seed 777 --out HELDOUT
    dfer-edge synth --images --count 6000 --seed 3001 --out IMAGES
    python -m bench.studies.working_forms --train MOTION --images IMAGES --test HELDOUT --people REAL --keep FEATURES \
        --out FORMS.json

Forms of one pair learn from the same renders in the same order from the same seed; whatever they share starts equal.
Only the part under test and what follows it learn, on the shipped trunk (000, 001, 004); the networks of 002, which has
no weights, are a quarter as wide. Judged are held-out renders, and real people, whom nothing is trained on. Differences
below the spread of the seeds are none.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bench.studies.working_forms.fit import directions, either_way, fit, judged, probabilities
from bench.studies.working_forms.pairs import PAIRS, Pair
from bench.studies.working_forms.seen import Seen, people, rendered
from bench.studies.working_forms.table import page, table
from dfer_edge.errors import DferError
from dfer_edge.system.provenance import versions
from dfer_edge.system.whole_files import write_text
from dfer_edge.training.recipes import Stage
from dfer_edge.training.table import find_recipe

_CKPLUS = "ckplus_seq640"

Scores = dict[str, dict[str, float]]


def measured(pair: Pair, form: str, train: Seen, tests: Mapping[str, Seen], seed: int) -> Scores:
    """Test -> figures, of one form and seed."""
    network = fit(pair.forms[form], train, seed, pair.epochs, pair.rate, pair.loss, pair.losses, pair.bf16)
    found: Scores = {}
    for test, seen in tests.items():
        if pair.loss is either_way:
            found[test] = dict(directions(network, seen))
            if _CKPLUS in seen.sets:  # the one set whose sequences run from calm to the apex
                found["ck+"] = dict(directions(network, seen.of(_CKPLUS)))
        else:
            found[test] = judged(probabilities(network, seen.inputs), seen)
    return found


def main(words: list[str] | None = None) -> int:
    """Train, judge, write and print; 2 for what is asked wrongly."""
    given = _parser().parse_args(words)
    torch.set_num_threads(given.threads)
    document: dict[str, Any] = {"pairs": [], "provenance": versions()}
    if given.out and given.out.is_file():
        document = json.loads(given.out.read_text())
    try:
        for name in given.pairs:
            _complete(document, name, given)
        if given.out:
            write_text(given.out.with_suffix(".md"), page(document))
        print(table(document))
    except DferError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _complete(document: dict[str, Any], name: str, given: argparse.Namespace) -> None:
    """Measure what ``document`` has not of the pair ``name``; the file is written after every form."""
    pair = PAIRS[name]()
    train, tests = _data(pair, given)
    done = next((one for one in document["pairs"] if one["name"] == name), None)
    if done is None:
        done = {
            "name": name,
            "paper": pair.paper,
            "part": pair.part,
            "seeds": [],
            "epochs": pair.epochs,
            "rate": pair.rate,
            "inputs": len(train.labels),
            "tests": {key: len(one.labels) for key, one in tests.items()},
        }
        document["pairs"].append(done)
    for seed in range(given.seeds):
        if seed == len(done["seeds"]):
            done["seeds"].append({})
        for form in pair.forms:
            if form not in done["seeds"][seed]:
                done["seeds"][seed][form] = measured(pair, form, train, tests, seed)
                if given.out:
                    write_text(given.out, json.dumps(document, indent=1) + "\n")


def _data(pair: Pair, given: argparse.Namespace) -> tuple[Seen, dict[str, Seen]]:
    """What the pair learns from and is judged by, kept in ``--keep``."""
    stage: Stage = find_recipe("finetune", "slowr50_sa").stages[0]
    folder = given.images if pair.reads == "images" else given.train
    makers = {
        "train": lambda: rendered(folder, pair.spec, stage, pair.encode, given.draws, given.most),
        "renders": lambda: rendered(given.test, pair.spec, stage, pair.encode, 0),
    }
    if given.people is not None:
        makers["people"] = lambda: people(given.people, pair.spec, pair.encode, given.sets)
    found = {name: _kept(given.keep / f"{pair.reads}-{name}.pt", make) for name, make in makers.items()}
    return found.pop("train"), found


def _kept(path: Path, make: Callable[[], Seen]) -> Seen:
    if path.is_file():
        return Seen(*torch.load(path, weights_only=True))
    seen = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save((seen.inputs.half(), seen.labels, seen.sets, seen.lost), path)
    return seen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="rendered clips to learn from")
    parser.add_argument("--images", type=Path, required=True, help="rendered images to learn from, for 002")
    parser.add_argument("--test", type=Path, required=True, help="rendered clips of other people")
    parser.add_argument("--people", type=Path, help="folder of sets of real people: they judge alone")
    parser.add_argument("--sets", nargs="*", default=(), help="these sets of it only")
    parser.add_argument("--pairs", nargs="+", choices=tuple(PAIRS), default=list(PAIRS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--most", type=int, default=0, help="clips of a folder that are read at most (0: all)")
    parser.add_argument("--draws", type=int, default=1, help="augmented draws of every clip")
    parser.add_argument(
        "--keep",
        type=Path,
        required=True,
        help="features lie there, and are taken from there whatever is asked: name another for other data, draws "
        "or counts; those of people are not published",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="results; those that are there are not made anew")
    return parser


if __name__ == "__main__":
    sys.exit(main())
