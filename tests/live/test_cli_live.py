"""``dfer-edge live`` on a file, into every file sink at once."""

from __future__ import annotations

import csv
import json
import re
import socket
import time
from pathlib import Path

import pytest

from dfer_edge.cli.main import main
from dfer_edge.weights import file as weights
from tests.flow.test_streaming import small


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory, astronaut: Path) -> list[str]:
    path = weights.save(tmp_path_factory.mktemp("weights") / "small.safetensors", small("slowr50_sa").float())
    rest = ["--engine", "onnxruntime", "--precision", "fp32", "--threads", "1", "--detector", "haar"]
    return ["live", str(astronaut), "--weights", str(path), *rest, "--hop", "0.4", "--window", "1"]


def test_files(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    lines, table, video = (tmp_path / name for name in ("o.jsonl", "o.csv", "o.mp4"))
    assert main([*words, "--json", str(lines), "--csv", str(table), "--video", str(video), "--stats"]) == 0
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [round(o["time_s"], 1) for o in found] == [0.0, 0.4, 0.8, 1.2, 1.6]
    assert len(list(csv.DictReader(table.open()))) == 5
    assert video.stat().st_size > 1000
    stats = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (stats["frames"], stats["observations"], stats["dropped"]) == (50, 5, 0)


def test_text_and_errors(words: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main([*words, "--seconds", "60"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert re.fullmatch(r" +0\.00 s  #0 \w+ +0\.\d\d(  onset)?", first), "neither name nor age"
    assert main([words[0], words[1], *words[1:], "--seconds", "1.5", "--realtime"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert re.fullmatch(r" +0\.00 s  .*astronaut.*  #0 \w+ +0\.\d\d +\d+ ms old(  onset)?", first)
    assert main([words[0], "rtsp://a:s3cret@127.0.0.1:9/x", *words[2:], "--no-reconnect"]) == 1
    said = capsys.readouterr().err
    assert "s3cret" not in said
    assert "hint: does the address answer" in said
    assert main([*words, "--csv", "/nowhere/at all.csv"]) == 1
    assert "cannot write /nowhere/at all.csv: No such file or directory" in capsys.readouterr().err
    with pytest.raises(SystemExit) as wrong:
        main([*words, "--hop", "-1"])
    assert wrong.value.code == 2


def test_an_end_for_a_source_that_stalls(words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never says a word
        address = f"http://127.0.0.1:{server.getsockname()[1]}/video"
        begin = time.monotonic()
        assert main([words[0], address, *words[2:], "--seconds", "0.5"]) == 0
    assert time.monotonic() - begin < 60


def test_limits_are_of_a_deadline(words: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main([*words, "--limit-hop", "1"]) == 1
    assert "--deadline-ms" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--deadline-ms", "50", "--limit-precisions", "int7"])
    assert main([*words, "--deadline-ms", "5000", "--limit-hop", "1", "--limit-precisions", "fp32", "--stats"]) == 0
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["hop_s"] == 0.4
    assert main([*words, "--deadline-ms", "5000", "--limit-precisions", "int8"]) == 1
    assert "int8 needs ranges" in capsys.readouterr().err
