"""The same rows from many processes: Ray Data, one recogniser a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dfer_edge.label.rows import Row, Setup, rows_of
from dfer_edge.system.ray_cluster import cluster


class _Worker:
    """Lives in a process of the cluster; one file a call, its rows as JSON."""

    def __init__(self, root: str, setup: Setup) -> None:
        self._root, self._setup = Path(root), setup
        self._recognizer = setup.recognizer()

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        rows = rows_of(self._recognizer, self._root, item["file"], self._setup.window_s)
        return {"file": item["file"], "rows": json.dumps(rows)}


def labelled_on_ray(
    root: Path, names: list[str], setup: Setup, address: str, workers: int | None
) -> Iterator[list[Row]]:
    """The rows of every file, in no order, as workers finish them.

    Parameters
    ----------
    root
        Seen by all workers under this path.
    names
        Files below it.
    setup
        Of each worker's recogniser.
    address
        Of the cluster; ``local`` starts one of ``workers`` CPUs.
    workers
        At most so many at once; as many as the cluster has CPUs if None.

    Raises
    ------
    EngineUnavailable
        Without Ray.
    InvalidInput
        If no cluster answers.
    """
    with cluster(address, workers) as ray:
        most = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        ray.data.DataContext.get_current().enable_progress_bars = False
        # Ray starts a worker that died again, and does its file again.
        items = ray.data.from_items([{"file": name} for name in names], override_num_blocks=min(len(names), 16 * most))
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, len(names)))
        labelled = items.map(
            _Worker,
            fn_constructor_args=(str(root.resolve()), setup),
            compute=pool,
            num_cpus=1,
        )
        for found in labelled.iter_rows():
            yield json.loads(found["rows"])
