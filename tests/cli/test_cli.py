"""The command line: outputs, exit codes, one-line errors, downloads on loopback."""

from __future__ import annotations

import argparse
import csv
import hashlib
import http.server
import json
import re
import runpy
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch

from dfer_edge.cache import downloads
from dfer_edge.cli.main import main, parser
from dfer_edge.export.onnx_file import export_onnx
from dfer_edge.inference import registry
from dfer_edge.models import create_model
from dfer_edge.sinks.video import VideoSink
from tests.commands import run
from tests.videos import write_video

RANDOM = ["--weights", "random", "--engine", "onnxruntime", "--detector", "haar"]


def test_predict_writes_everything(astronaut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "mp4", "png")}
    outputs = ["--json", files["json"], "--csv", files["csv"], "--overlay", files["mp4"], "--plot", files["png"]]
    code, out, err = run(capsys, "predict", astronaut, *RANDOM, "--window", 1, *outputs)
    assert (code, err) == (0, "")
    assert "summary: " in out
    assert "labels are meaningless" in out
    document = json.loads(files["json"].read_text())
    assert document["frame_count"] == 50
    assert document["recognizer"]["weights"]["name"] == "random"
    rows = list(csv.DictReader(files["csv"].open()))
    assert [row["end_s"] for row in rows] == ["1.000", "1.960"]
    assert sum(float(rows[0][label]) for label in document["recognizer"]["labels"]) == pytest.approx(1, abs=1e-4)
    capture = cv2.VideoCapture(str(files["mp4"]))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 50
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(25, abs=0.01)
    assert capture.read()[1].shape[0] == 512, "a 256-line clip is enlarged to be readable"
    assert cv2.imread(str(files["png"])).shape[1] > 800


def test_overlay_draws_the_box_on_the_face(astronaut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "o.mp4"
    _, out, _ = run(capsys, "predict", astronaut, *RANDOM, "--overlay", target, "--json")
    left, top, right, bottom = (round(2 * edge) for edge in json.loads(out)["observations"][0]["box"])
    capture = cv2.VideoCapture(str(target))
    capture.set(cv2.CAP_PROP_POS_FRAMES, json.loads(out)["prediction"]["frame_indices"][4])
    image = capture.read()[1].astype(int)
    # The accent colour is far more blue than red (BGR here) along the box and not within the face.
    edge = np.concatenate([image[top : top + 2, left:right], image[bottom : bottom + 2, left:right]]).reshape(-1, 3)
    face = image[top + 20 : bottom - 20, left + 20 : right - 20].reshape(-1, 3)
    assert (edge[:, 0] - edge[:, 2]).mean() > 80
    assert (face[:, 0] - face[:, 2]).mean() < 0


def test_json_alone_on_stdout(astronaut: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "predict", astronaut, *RANDOM, "--json")
    assert code == 0
    assert json.loads(out)["prediction"]["weights"]["name"] == "random"


def test_no_face_is_one_line_and_code_one(media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "predict", media / "video" / "no_face.mp4", *RANDOM)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "no face in any of the 95 frames" in err


def bad_inputs(folder: Path) -> dict[str, list[object]]:
    whole = write_video(folder / "whole.mp4", list(range(0, 400, 40)))
    (folder / "cut.mp4").write_bytes(whole.read_bytes()[:900])
    (folder / "text.mp4").write_text("this is no video\n")
    (folder / "weights.pth").write_bytes(b"PK\x03\x04 pickle")
    (folder / "cut.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{")
    cv2.imwrite(str(folder / "tiny.png"), np.zeros((1, 1, 3), np.uint8))
    return {
        "missing": [folder / "none.mp4"],
        "text": [folder / "text.mp4"],
        "truncated": [folder / "cut.mp4"],
        "tiny": [folder / "tiny.png"],
        "pickle": [whole, "--weights", folder / "weights.pth"],
        "broken weights": [whole, "--weights", folder / "cut.safetensors"],
        "no weights": [whole, "--model", "smate", "--weights", "default"],
        "no engine": [whole, "--weights", "random", "--engine", "tensorrt"],
        "no precision": [whole, "--weights", "random", "--engine", "onnxruntime", "--precision", "fp16"],
        "no detector": [whole, "--weights", "random", "--detector", "retina"],
        "no folder": [whole, "--weights", "random", "--csv", folder / "none" / "x.csv"],
        "empty path": [""],
        "onto the source": [whole, "--overlay", whole],
        "onto each other": [whole, "--csv", folder / "x", "--json", folder / "x"],
        "onto a folder": [whole, "--csv", folder],
        "wrong device": [whole, "--engine", "onnxruntime", "--device", "cuda"],
        "fixed batch": [whole, "--model", "slowr50", "--weights", folder / "three.onnx", "--engine", "onnxruntime"],
    }


BAD = (
    "missing",
    "text",
    "truncated",
    "tiny",
    "pickle",
    "broken weights",
    "no weights",
    "no engine",
    "no precision",
    "no detector",
    "no folder",
    "empty path",
    "onto the source",
    "onto each other",
    "onto a folder",
    "wrong device",
    "fixed batch",
)


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_never_a_traceback(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = bad_inputs(tmp_path)[case]
    if case == "fixed batch":
        export_onnx("slowr50", tmp_path / "three.onnx", weights="random", batch=3, form="2d")
    defaults = [] if "--weights" in arguments else ["--weights", "random"]
    code, out, err = run(capsys, "predict", *arguments, *defaults)
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert lines[0].startswith("dfer-edge: ")
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("  hint: "))


WRONG_USAGE = [
    [],
    ["predict"],
    ["fly"],
    ["models"],
    ["predict", "x", "--model", "vgg"],
    ["predict", "x", "--overlay", "x.avi"],
    ["predict", "x", "--plot", "x.xyz"],
    *(["predict", "x", "--window", value] for value in ("-3", "0", "nan", "abc", "1e-8")),
    *(["predict", "x", "--threads", value] for value in ("0", "1.5", "100000", "9" * 20)),
]


@pytest.mark.parametrize("arguments", WRONG_USAGE)
def test_wrong_usage_is_code_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "usage: " in err


def test_partly_random_weights_say_so_in_every_result(
    astronaut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = create_model("slowr50")
    state = {key: value for key, value in module.state_dict().items() if not key.startswith("head.")}
    public = {own: key for own, key in registry.find("slowr50").training().public_keys().items() if own in state}
    torch.save({key: state[own] for own, key in public.items()}, tmp_path / "backbone.pth")
    target = tmp_path / "partial.safetensors"
    assert run(capsys, "models", "convert", tmp_path / "backbone.pth", target, "--model", "slowr50")[0] == 0
    where = ["--model", "slowr50", "--engine", "onnxruntime", "--detector", "haar"]
    code, out, _ = run(capsys, "predict", astronaut, "--weights", target, *where)
    assert code == 0
    assert f"(2 of {len(module.state_dict())} tensors random): labels are meaningless" in out


def test_interrupted_overlay_leaves_no_video(tmp_path: Path) -> None:
    target = tmp_path / "o.mp4"

    def interrupted() -> None:
        with VideoSink(target, 25) as sink:
            sink.write(np.zeros((64, 64, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        main(["predict", str(tmp_path / "none.mp4"), "--weights", "random", "--debug"])


def test_export_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", "slowr50", tmp_path / "s.onnx", "--weights", "random", "--engine", "onnxruntime", "--json"]
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert json.loads(out)["form"] == "2d"
    assert (tmp_path / "s.onnx").stat().st_size > 100e6


def test_doctor_says_what_is_there_and_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["engines"]["onnxruntime"].startswith("yes: fp32")
    assert found["engines"]["tensorrt"].startswith("no: ")
    assert "fetch yunet" in found["detectors"]["yunet"]
    assert found["detectors"]["auto"].startswith("yes: ships with the package")
    assert Path(found["paths"]["dfer_edge.kernels"]).is_dir()
    code, out, _ = run(capsys, "doctor")
    assert "processor" in out


def test_models_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "models", "list")[1].startswith("slowr50_sa")
    assert json.loads(run(capsys, "models", "list", "--json")[1])[0]["input"] == [3, 8, 196, 196]


# -- downloads ----------------------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 1000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; ``limit`` cuts the answer, ``ranges`` switches resuming off."""

    limit: int | None = None
    ranges = True
    garbled = False
    content = CONTENT
    seen: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        if self.garbled:
            self.wfile.write(b"no answer of this protocol\r\n\r\n")
            return
        wanted = self.headers.get("Range")
        self.seen.append(wanted)
        start = int(wanted.split("=")[1].rstrip("-")) if wanted and self.ranges else 0
        self.send_response(206 if wanted and self.ranges else 200)
        body = self.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.limit])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setenv("DFER_EDGE_CACHE", str(tmp_path))
    digest = hashlib.sha256(CONTENT).hexdigest()
    file = downloads.RemoteFile("yunet", "net.onnx", "http://127.0.0.1:9/none", digest, len(CONTENT), "MIT")
    monkeypatch.setitem(downloads.FILES, "yunet", file)
    for name, value in (("limit", None), ("ranges", True), ("garbled", False), ("content", CONTENT), ("seen", [])):
        monkeypatch.setattr(Server, name, value)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/net.onnx"
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetch_verifies_and_is_done_once(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        code, out, _ = run(capsys, "models", "fetch", "yunet", "--url", address, "--json")
        assert code == 0
        assert Path(json.loads(out)["path"]).read_bytes() == CONTENT
    assert Server.seen == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_fetch_resumes(
    address: str, ranges: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Server, "limit", 100_000)
    code, _, err = run(capsys, "models", "fetch", "yunet", "--url", address)
    assert code == 1
    assert "ended after 100000 of 256000 bytes" in err
    monkeypatch.setattr(Server, "limit", None)
    monkeypatch.setattr(Server, "ranges", ranges)
    monkeypatch.setenv("DFER_EDGE_YUNET_URL", address)
    assert run(capsys, "models", "fetch", "yunet")[0] == 0
    assert Server.seen == [None, "bytes=100000-"]


def test_fetch_from_what_is_no_web_server_is_one_line(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Server, "garbled", True)
    for url in (address, address.replace("/net", "/a b")):
        code, _, err = run(capsys, "models", "fetch", "yunet", "--url", url)
        assert code == 1
        assert re.search(r"could not fetch yunet from .*: .*(no answer of this protocol|control characters)", err)


def test_fetch_refuses_other_bytes(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Server, "content", CONTENT[::-1])
    code, _, err = run(capsys, "models", "fetch", "yunet", "--url", address)
    assert code == 1
    assert "expected sha256" in err
    assert not list((tmp_path / "models").glob("net.onnx*[!k]")), "nothing that could be loaded is left"


def test_fetch_offline_says_where_to_put_the_file(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "models", "fetch", "yunet")
    assert code == 1
    assert "offline?" in err
    assert "DFER_EDGE_YUNET" in err
    for wrong in ("ftp://127.0.0.1/x", "no address"):
        code, _, err = run(capsys, "models", "fetch", "yunet", "--url", wrong)
        assert code == 1
        assert "http or https" in err


def test_the_package_runs_as_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["dfer_edge", "models", "list", "--json"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("dfer_edge", run_name="__main__")
    assert stop.value.code == 0
    assert "slowr50_sa" in capsys.readouterr().out


def test_no_command_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert (code, out) == (2, "")
    assert err.startswith("usage: dfer-edge")
    assert all(word in err for word in ("predict", "live", "doctor"))


def test_helps_are_plain_text() -> None:
    def texts(one: argparse.ArgumentParser) -> Iterator[str]:
        yield one.format_help()
        for action in one._actions:
            if isinstance(action, argparse._SubParsersAction):
                for inner in action.choices.values():
                    yield from texts(inner)

    found = list(texts(parser()))
    assert len(found) > 17
    assert not [text for text in found if "``" in text or ":func:" in text]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("rtsp://admin:secret@127.0.0.1:9/cam", "dfer-edge live"),
        ("0", "dfer-edge live 0"),
        ("http://a/v?token=secret", "live"),
    ],
)
def test_live_sources_are_sent_to_the_live_command_without_their_passwords(
    source: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "predict", source, *RANDOM)
    assert code == 1
    assert said in err
    assert "secret" not in err
