"""A Ray cluster, joined or started for as long as it is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from dfer_edge.errors import EngineUnavailable, InvalidInput


@contextlib.contextmanager
def cluster(address: str, workers: int | None = None) -> Iterator[Any]:
    """The module ``ray``, connected: to the cluster that the caller joined already, or else until the ``with`` ends.

    Parameters
    ----------
    address
        ``host:port``, ``auto``, or ``local`` to start one here.
    workers
        CPUs of one that is started; all if None.

    Raises
    ------
    EngineUnavailable
        Without Ray.
    InvalidInput
        If no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        raise EngineUnavailable("a cluster needs Ray", 'pip install "dfer-edge[ray]"') from error
    is_ours = not ray.is_initialized()
    if is_ours:
        _join(ray, address, workers)
    try:
        yield ray
    finally:
        if is_ours:
            ray.shutdown()


def _join(ray: Any, address: str, workers: int | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == "local":
            ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"expected a Ray cluster at {address}: {str(error)[:200]}", "ray start --head") from error
