"""The cache: keyed, locked, published whole, verified; built once by many processes, never broken by a kill."""

from __future__ import annotations

import ast
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dfer_edge import CorruptArtifact, DferError, InvalidInput
from dfer_edge.cache import store as cache
from dfer_edge.cli.main import main

KEY = cache.Key("engines", "slowr50 fp16/2d", {"model": "abc", "gpu": "Orin"})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def build(text: str = "engine"):
    def write(target: Path) -> None:
        (target / "engine.plan").write_text(text)
        (target / "note.json").write_text("{}")

    return write


def never(target: Path) -> None:
    pytest.fail("built again")


def spawn(code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "import sys, time\nfrom dfer_edge import cache\n" + code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def test_an_entry_is_built_once_and_named_by_its_key() -> None:
    first = cache.obtain(KEY, build())
    assert (first / "engine.plan").read_text() == "engine"
    assert cache.obtain(KEY, never) == first
    assert cache.find(KEY) == first
    assert first.name.startswith("slowr50_fp16_2d-")
    others = [
        cache.Key("timing", KEY.label, KEY.fields),
        cache.Key("engines", KEY.label, {**KEY.fields, "gpu": "Thor"}),
        cache.Key("engines", KEY.label, {**KEY.fields, "flags": ""}),
    ]
    assert len({KEY.name, *(key.name for key in others)}) == 4
    assert all(cache.find(key) is None for key in others)


def test_put_replaces() -> None:
    cache.obtain(KEY, build("old"))
    assert (cache.put(KEY, build("new")) / "engine.plan").read_text() == "new"
    assert len(cache.entries()) == 1


def tamper_byte(entry: Path) -> None:
    path = entry / "engine.plan"
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def seal(value: object):
    def change(entry: Path) -> None:
        content = json.loads((entry / "manifest.json").read_text())
        (entry / "manifest.json").write_text(json.dumps(content | {"seal": value}))

    return change


TAMPERINGS = {
    "no seal": (seal(None), "corrupt: its manifest"),
    "number for a seal": (seal(5), "corrupt: its manifest"),
    "seal beyond ASCII": (seal("\u00e9"), "foreign: it was not built by this cache"),
    "half a character for a seal": (seal("\ud800"), "foreign: it was not built by this cache"),
    "another byte": (tamper_byte, "corrupt: engine.plan has another sha256"),
    "cut": (lambda e: (e / "engine.plan").write_text("eng"), "corrupt: expected 6 bytes"),
    "missing": (lambda e: (e / "engine.plan").unlink(), "corrupt: expected the files"),
    "extra file": (lambda e: (e / "extra.so").write_text("code"), "corrupt: expected the files"),
    "no manifest": (lambda e: (e / "manifest.json").unlink(), "corrupt: its manifest"),
    "cut manifest": (lambda e: (e / "manifest.json").write_text("{"), "corrupt: its manifest"),
    "list for a manifest": (lambda e: (e / "manifest.json").write_text("[1]"), "corrupt: its manifest"),
    "forged manifest": (
        lambda e: (e / "manifest.json").write_text((e / "manifest.json").read_text().replace("Orin", "Nano")),
        "foreign: it was not built by this cache",
    ),
}


@pytest.mark.parametrize("case", TAMPERINGS)
def test_what_does_not_verify_is_rebuilt_with_a_line_in_the_log(case: str, caplog: pytest.LogCaptureFixture) -> None:
    tamper, reason = TAMPERINGS[case]
    entry = cache.obtain(KEY, build())
    tamper(entry)
    assert cache.entries()[0].problem().startswith(reason)
    assert cache.find(KEY) is None
    assert reason in caplog.text
    assert (cache.obtain(KEY, build("again")) / "engine.plan").read_text() == "again"
    assert sorted(path.name for path in entry.iterdir()) == ["engine.plan", "manifest.json", "note.json"]


@pytest.mark.parametrize("step", ["read", "file_sha256"])
def test_an_entry_that_is_cleared_while_it_is_read_is_not_found(
    step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entry = cache.obtain(KEY, build())
    real = getattr(cache.cache_manifest, step)

    def meanwhile(path: Path) -> object:
        if step == "read":
            found = real(path)
            shutil.rmtree(entry)
            return found
        shutil.rmtree(entry, ignore_errors=True)
        return real(path)

    monkeypatch.setattr(cache.cache_manifest, step, meanwhile)
    assert cache.find(KEY) is None
    assert "gone while it was read" in caplog.text


def test_a_file_that_is_gone_does_not_read_as_verified() -> None:
    entry = cache.obtain(KEY, build())
    (entry / "engine.plan").unlink()
    with pytest.raises(CorruptArtifact, match=r"expected engine.plan as it was built"):
        cache.cache_manifest.verified_bytes(entry, "engine.plan")


def test_an_entry_of_another_cache_is_foreign(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An engine file is code: one that was built elsewhere is not loaded, though each of its hashes fits."""
    built = cache.obtain(KEY, build("elsewhere"))
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path / "mine"))
    mine = cache.obtain(KEY, build())
    shutil.rmtree(mine)
    shutil.copytree(built, mine)
    assert "not built by this cache" in cache.entries()[0].problem()
    assert (cache.obtain(KEY, build("here")) / "engine.plan").read_text() == "here"


def test_an_entry_under_another_name_is_foreign() -> None:
    entry = cache.obtain(KEY, build())
    other = cache.Key("engines", "other", {"model": "xyz"})
    entry.replace(entry.with_name(other.name))
    assert cache.find(other) is None
    assert "it was built as" in cache.entries()[0].problem()


def test_the_secret_is_for_its_owner_and_a_lost_one_makes_entries_foreign(folder: Path) -> None:
    cache.obtain(KEY, build())
    assert (folder / "secret").stat().st_mode & 0o022 == 0, "others may write the secret"
    (folder / "secret").write_bytes(b"short")
    assert cache.find(KEY) is None
    cache.obtain(KEY, build("again"))
    assert (cache.find(KEY) / "engine.plan").read_text() == "again"


def test_a_build_that_fails_leaves_what_was_there(folder: Path) -> None:
    def fail(target: Path) -> None:
        (target / "engine.plan").write_text("half")
        raise KeyboardInterrupt

    cache.obtain(KEY, build("good"))
    with pytest.raises(KeyboardInterrupt):
        cache.put(KEY, fail)
    assert (cache.find(KEY) / "engine.plan").read_text() == "good"
    assert not list(folder.rglob("scratch-*"))

    def refuse(target: Path) -> None:
        raise InvalidInput("no such network")

    with pytest.raises(InvalidInput, match="no such network"):
        cache.put(KEY, refuse)


def test_processes_that_start_at_once_build_once() -> None:
    code = (
        f"key = cache.Key({KEY.kind!r}, {KEY.label!r}, {dict(KEY.fields)!r})\n"
        "def build(folder):\n"
        "    print('built', flush=True); time.sleep(0.3); (folder / 'engine.plan').write_text('x' * 1000)\n"
        "assert (cache.obtain(key, build) / 'engine.plan').read_text() == 'x' * 1000\n"
    )
    running = [spawn(code) for _ in range(4)]
    outputs = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert "".join(outputs).count("built") == 1


def test_killed_at_random_moments_it_never_leaves_a_loadable_broken_entry() -> None:
    command = [sys.executable, "-m", "tests.cache.killer", "150"]
    root = Path(__file__).resolve().parents[1]
    run = subprocess.run(command, capture_output=True, text=True, cwd=root, env=dict(os.environ), check=False)
    assert run.returncode == 0, run.stderr
    seen = ast.literal_eval(run.stdout)
    # Otherwise no kill fell into a build, or none after one, and nothing was tested.
    assert seen["scratch"] >= 10, seen
    assert seen["present"] >= 10, seen


def test_the_lock_of_a_killed_process_blocks_nobody(folder: Path) -> None:
    code = (
        f"key = cache.Key({KEY.kind!r}, {KEY.label!r}, {dict(KEY.fields)!r})\n"
        "def build(folder):\n"
        "    (folder / 'half').write_text('x'); print('holding', flush=True); time.sleep(60)\n"
        "cache.obtain(key, build)\n"
    )
    holder = spawn(code)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holding\n"
    assert cache.clear() == ([], []), "nothing was published yet"
    assert list((folder / "engines").glob("scratch-*")), "a build that runs keeps its scratch folder"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert list((folder / "engines").glob("*.lock")), "the lock file stays, which is what this test is about"
    start = time.monotonic()
    cache.obtain(KEY, build())
    assert time.monotonic() - start < 30
    assert not list((folder / "engines").glob("scratch-*")), "what the killed process left is gone"


def test_a_lock_that_is_held_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(cache, "_LOCK_TIMEOUT_S", 0.05)
    monkeypatch.setattr(cache, "_QUIET_WAIT_S", 0.05)
    (folder / "engines").mkdir(parents=True)
    with cache.FileLock(folder / "engines" / f"{KEY.name}.lock"), pytest.raises(DferError, match="another process"):
        cache.obtain(KEY, build())


def test_clear_keeps_an_entry_that_is_being_rebuilt(folder: Path) -> None:
    cache.obtain(KEY, build())
    with cache.FileLock(folder / "engines" / f"{KEY.name}.lock"):
        removed, busy = cache.clear()
    assert (len(removed), len(busy)) == (0, 1)
    assert cache.find(KEY) is not None
    removed, busy = cache.clear("engines")
    assert (len(removed), len(busy)) == (1, 0)
    assert cache.entries() == []


def test_clear_keeps_what_was_fetched(folder: Path) -> None:
    cache.obtain(KEY, build())
    (folder / "models").mkdir()
    (folder / "models" / "yunet.onnx").write_text("fetched")
    cache.clear()
    assert (folder / "models" / "yunet.onnx").is_file()


def test_discard_touches_nothing_outside_the_cache(tmp_path: Path, folder: Path) -> None:
    entry = cache.obtain(KEY, build())
    outside = tmp_path / "engines" / "mine"
    outside.mkdir(parents=True)
    assert not cache.discard(outside)
    assert not cache.discard(folder)
    assert outside.is_dir()
    assert cache.discard(entry)
    assert not cache.discard(KEY)


def test_a_full_disk_is_one_clear_error(folder: Path) -> None:
    """The kernel refuses to let the file grow, as a full disk does."""
    code = (
        "import resource\nfrom dfer_edge import DferError\n"
        f"key = cache.Key({KEY.kind!r}, {KEY.label!r}, {dict(KEY.fields)!r})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: cache.obtain(key, lambda folder: (folder / 'engine.plan').write_bytes(bytes(1_000_000)))\n"
        "except DferError as error: print(error)\n"
    )
    output = spawn(code).communicate(timeout=60)[0]
    assert "cannot write to the cache" in output
    assert "dfer-edge cache clear" in output
    assert not list(folder.rglob("*.plan"))
    cache.obtain(KEY, build())


def test_no_space_when_publishing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.cache_manifest, "write", full)
    with pytest.raises(DferError, match=r"No space left.*DFER_EDGE_CACHE"):
        cache.obtain(KEY, build())
    assert not list(folder.rglob("*.plan"))


def test_a_cache_that_cannot_be_written_still_serves_what_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry = cache.obtain(KEY, build())

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cache, "FileLock", refuse)
    assert cache.obtain(KEY, never) == entry
    with pytest.raises(DferError, match="Permission denied"):
        cache.obtain(cache.Key("engines", "new", {}), build())
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DferError, match="cannot write to the cache"):
        cache.obtain(KEY, build())


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    entry = cache.obtain(KEY, build())
    assert main(["cache", "ls"]) == 0
    assert KEY.name in capsys.readouterr().out
    assert main(["cache", "verify"]) == 0
    tamper_byte(entry)
    assert main(["cache", "verify"]) == 1
    assert "corrupt" in capsys.readouterr().out
    assert main(["cache", "verify", "--json", "--kind", "engines"]) == 1
    listed = json.loads(capsys.readouterr().out)["entries"]
    assert [(row["name"], row["problem"][:7], row["fields"]["gpu"]) for row in listed] == [
        (KEY.name, "corrupt", "Orin")
    ]
    assert main(["cache", "clear", "--kind", "networks"]) == 0
    assert main(["cache", "ls", "--json"]) == 0
    assert KEY.name in capsys.readouterr().out
    assert main(["cache", "clear", "--json"]) == 0
    assert not cache.entries()
    assert main(["cache", "ls"]) == 0
    assert "0 entries" in capsys.readouterr().out
