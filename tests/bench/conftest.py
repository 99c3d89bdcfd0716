"""A run pins the process: every test gives the cores back."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _cores() -> Iterator[None]:
    before, threads = os.sched_getaffinity(0), os.environ.get("OMP_NUM_THREADS")
    yield
    os.sched_setaffinity(0, before)
    if threads is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    else:
        os.environ["OMP_NUM_THREADS"] = threads
