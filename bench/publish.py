"""Measure this machine and write all that is published: results, page, figures, claims, README table, boards' pages.

python -m bench.publish [--threads 2] [--data FOLDER_OF_LABELLED_STILLS] [--again]

With ``--again`` the suite runs twice, the second time into a temporary folder, and the two runs are compared.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import boards, readme
from dfer_edge.bench.provenance import device_name

ROOT = Path(__file__).parents[1]


def call(*words: str) -> int:
    """A command of ours, as a user types it; returns its exit code."""
    print("$ dfer-edge", *words, flush=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", "dfer_edge.cli.main", *words], env=environment, check=False).returncode


def main() -> int:
    """Run; 1 if a case failed or two runs do not agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--data")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--again", action="store_true")
    arguments = parser.parse_args()
    folder = Path("bench") / "results" / device_name()
    words = ["bench", "--threads", arguments.threads, "--loadgen"]
    words += ["--data", arguments.data] if arguments.data else []
    words += ["--quick"] if arguments.quick else []
    begin = time.monotonic()
    code = call(*words, "--out", str(folder))
    print(f"the suite took {(time.monotonic() - begin) / 60:.1f} minutes")
    code |= call("bench", "claims", "--results", str(folder / "bench.jsonl"), "--out", str(folder))
    readme.write()
    boards.write()
    if arguments.again:
        with tempfile.TemporaryDirectory() as other:
            call(*words, "--out", other)
            code |= call("bench", "compare", str(folder / "bench.jsonl"), str(Path(other) / "bench.jsonl"))
    return code


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
