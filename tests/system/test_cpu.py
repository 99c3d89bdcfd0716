"""Cores that a container leaves to a process."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from dfer_edge.system import cpu
from dfer_edge.system.cpu import quota


def test_quotas_of_containers(tmp_path: Path) -> None:
    membership, root = tmp_path / "cgroup", tmp_path / "fs"
    inner = root / "a" / "b"
    inner.mkdir(parents=True)
    membership.write_text("0::/a/b\n")
    assert quota(membership, root) == math.inf
    (inner / "cpu.max").write_text("max 100000\n")
    assert quota(membership, root) == math.inf
    (root / "a" / "cpu.max").write_text("150000 100000\n")
    assert quota(membership, root) == 1.5
    (root / "cpu.max").write_text("50000 100000\n")
    assert quota(membership, root) == 0.5
    assert quota(tmp_path / "none", root) == math.inf


@pytest.mark.parametrize("mounted", ["cpu", "cpu,cpuacct"])
def test_quotas_of_version_1(tmp_path: Path, mounted: str) -> None:
    membership, group = tmp_path / "cgroup", tmp_path / "fs" / mounted / "docker" / "x"
    group.mkdir(parents=True)
    membership.write_text(f"5:memory:/docker/y\n4:{mounted}:/docker/x\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    (group / "cpu.cfs_quota_us").write_text("-1\n")
    assert quota(membership, tmp_path / "fs") == math.inf
    (group / "cpu.cfs_quota_us").write_text("200000\n")
    assert quota(membership, tmp_path / "fs") == 2


def test_cores_are_those_of_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "quota", lambda *_: 0.3)
    assert cpu.available_cores() == 1
    monkeypatch.setattr(cpu, "quota", lambda *_: math.inf)
    assert cpu.available_cores() == len(os.sched_getaffinity(0))
