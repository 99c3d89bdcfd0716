"""What servers and containers do to a process: other users, read-only folders, quotas, no home."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dfer_edge.cache import store as cache
from dfer_edge.cache.store import Key
from dfer_edge.system import settings

NOBODY = 65534
KEY = Key("networks", "net", {"of": "this"})


def build(folder: Path) -> None:
    (folder / "file").write_bytes(b"content")


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache that every user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="dfer-edge-test-"))
    folder.chmod(0o755)
    monkeypatch.setenv("DFER_EDGE_CACHE", str(folder / "cache"))
    monkeypatch.setattr(cache, "_REFUSED", {})
    settings.temporary_cache.cache_clear()
    yield folder
    settings.temporary_cache.cache_clear()
    shutil.rmtree(folder)


@contextlib.contextmanager
def somebody_else() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_cache_baked_by_root_is_used_by_others(shared: Path) -> None:
    baked = cache.obtain(KEY, build)
    with somebody_else():
        assert cache.obtain(KEY, lambda folder: pytest.fail("built again")) == baked


@pytest.mark.parametrize("unreadable", ["cache", "secret"])
def test_a_cache_that_may_not_be_written_is_left_alone(
    shared: Path, unreadable: str, caplog: pytest.LogCaptureFixture
) -> None:
    baked = cache.obtain(KEY, build)
    (shared / "cache" / "secret").chmod(0o600)
    if unreadable == "secret":
        (shared / "cache").chmod(0o777)
    with somebody_else():
        own = cache.obtain(KEY, build)
        assert own != baked
        assert (own / "file").read_bytes() == b"content"
        assert cache.obtain(KEY, lambda folder: pytest.fail("built twice")) == own
        assert cache.discard(own)
    assert "DFER_EDGE_CACHE" in caplog.text
    assert cache.find(KEY) == baked


def test_entries_used_longest_ago_go(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(number: int) -> Path:
        return cache.obtain(
            Key("networks", "net", {"number": str(number)}), lambda f: (f / "file").write_bytes(bytes(1000))
        )

    monkeypatch.setenv("DFER_EDGE_CACHE_MB", "0.0025")
    first, second = entry(1), entry(2)
    os.utime(first, (1e9 + 1, 1e9 + 1))
    os.utime(second, (1e9, 1e9))
    third = entry(3)
    assert [folder.is_dir() for folder in (first, second, third)] == [True, False, True]
    monkeypatch.setenv("DFER_EDGE_CACHE_MB", "0")
    last = entry(4)
    assert [folder.is_dir() for folder in (first, third, last)] == [False, False, True], "what is in use goes last"
    monkeypatch.setenv("DFER_EDGE_CACHE_MB", "much")
    with pytest.raises(ValueError, match="DFER_EDGE_CACHE_MB"):
        entry(5)


def test_a_tilde_in_the_environment_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/people/somebody")
    monkeypatch.setenv("DFER_EDGE_CACHE", "~/cache")
    monkeypatch.setenv("DFER_EDGE_LANDMARKS", "~/net.onnx")
    assert settings.cache_folder() == Path("/people/somebody/cache")
    assert settings.landmarks_override() == Path("/people/somebody/net.onnx")


def test_no_home_and_no_user_name(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("DFER_EDGE_CACHE", raising=False)
    # What the library says where neither HOME nor the list of users knows a home folder.
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: f"~/.cache/{name}")
    settings.temporary_cache.cache_clear()
    folder = settings.cache_folder()
    assert folder.is_dir()
    assert folder.is_absolute()
    assert settings.cache_folder() == folder
    assert "no home folder" in caplog.text
    settings.temporary_cache.cache_clear()
    folder.rmdir()
