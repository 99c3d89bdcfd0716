"""A row of a paper's table on rendered faces: ``python reproduce_paper.py renders/ out/``.

It says nothing of real faces. ``renders/`` is what ``dfer-edge synth --count 60 --clips --out renders`` wrote. With
``dfew:/data/DFEW`` instead of it and without ``quick`` and ``small`` this is the paper's run: days on a GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dfer_edge.reproduce import Job, find_paper, run
from dfer_edge.reproduce.report import write


def main(renders: str, out: str) -> None:
    paper = find_paper("003")
    job = Job(paper, {"*": f"shards:{renders}"}, Path(out), variants=("full",), small=True, quick=True)
    results = run(job, lambda what, done, total: print(f"{done} of {total}: {what}"))
    for path in write(job, results):
        print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
