"""A real server: many clients at once, then garbage; it stays fair, alive and small."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("websockets")
pytest.importorskip("httpx")

import httpx
from websockets.sync.client import connect

from dfer_edge.weights import file as weights
from tests.flow.test_streaming import small

pytestmark = pytest.mark.slow
CLIENTS, FRAMES, MALFORMED = 32, 10, 500


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    path = weights.save(tmp_path / "small.safetensors", small("slowr50_sa").float())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "import sys; from dfer_edge.cli.main import main; sys.exit(main())"
    words = ["serve", "--port", str(port), "--weights", str(path), "--engine", "onnxruntime", "--precision", "fp32"]
    words += ["--threads", "1", "--detector", "haar", "--per-minute", "1000000"]
    process = subprocess.Popen([sys.executable, "-c", code, *words])
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    yield f"127.0.0.1:{port}", process
    process.kill()
    process.wait()


def resident_kb(process: subprocess.Popen) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def test_many_clients_then_garbage_then_goodbye(
    server: tuple[str, subprocess.Popen], astronaut_frames: list[np.ndarray]
) -> None:
    address, process = server
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(astronaut_frames[0], cv2.COLOR_RGB2BGR))[1].tobytes()
    medians: dict[int, float] = {}
    faults: list[object] = []

    def client(number: int) -> None:
        taken = []
        try:
            with connect(f"ws://{address}/v1/stream", open_timeout=60) as stream:
                for frame in range(FRAMES):
                    begin = time.monotonic()
                    stream.send(jpeg)
                    answer = json.loads(stream.recv(timeout=120))
                    taken.append(time.monotonic() - begin)
                    assert answer["frame"] == frame, answer
            medians[number] = float(np.median(taken))
        except BaseException as error:
            faults.append(error)

    workers = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not faults
    assert len(medians) == CLIENTS
    assert max(medians.values()) < 5 * min(medians.values()), "fair"
    print(f"latency of {CLIENTS} clients, s: {min(medians.values()):.2f} to {max(medians.values()):.2f}")

    rng = np.random.default_rng(1)
    kinds = ["video/mp4", "multipart/form-data; boundary=x", "application/json", "", "image/jpeg"]
    with httpx.Client(base_url=f"http://{address}", timeout=60) as http:
        before = 0
        for number in range(MALFORMED):
            body = rng.bytes(int(rng.integers(0, 5000)))
            answer = http.post("/v1/predict", content=body, headers={"content-type": kinds[number % len(kinds)]})
            assert 400 <= answer.status_code < 500, answer.text
            if number == MALFORMED // 5:
                before = resident_kb(process)
        with connect(f"ws://{address}/v1/stream", open_timeout=60) as stream:
            for _ in range(MALFORMED):
                stream.send(rng.bytes(200))
                assert "error" in json.loads(stream.recv(timeout=60))
        assert http.get("/healthz").status_code == 200
    after = resident_kb(process)
    print(f"resident memory, MB: {before / 1024:.0f} then {after / 1024:.0f}")
    assert after < 1.1 * before
    with connect(f"ws://{address}/v1/stream", open_timeout=60):
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) in (0, -15, 143), "open streams do not hold it up"
