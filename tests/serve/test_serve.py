"""The server over HTTP and WebSocket, in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")
pytest.importorskip("httpx")

import anyio
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from dfer_edge import InvalidInput, Recognizer
from dfer_edge.serve import Config
from dfer_edge.serve.app import Server, create_app
from dfer_edge.serve.decoding import decode_image
from dfer_edge.serve.limits import Rate
from dfer_edge.weights import file as weights
from tests.flow.test_streaming import small

HERE = "http://127.0.0.1:8000"
STREAM = "ws://127.0.0.1:8000/v1/stream"


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    """A small network, the detector of every installation."""
    path = weights.save(tmp_path_factory.mktemp("weights") / "small.safetensors", small("slowr50_sa").float())
    return Recognizer("slowr50_sa", path, "onnxruntime", precision="fp32", detector="haar", threads=1)


def client_of(recognizer: Recognizer, **options: Any) -> TestClient:
    return TestClient(create_app(recognizer, Config(**options)), base_url=HERE, raise_server_exceptions=False)


@pytest.fixture
def client(recognizer: Recognizer) -> Iterator[TestClient]:
    with client_of(recognizer) as found:
        yield found


@pytest.fixture(scope="module")
def jpeg(astronaut_frames: list[np.ndarray]) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(astronaut_frames[0], cv2.COLOR_RGB2BGR))[1].tobytes()


def metric(client: TestClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


# -- HTTP -------------------------------------------------------------------------------------------------------------


def test_a_video_as_body_or_form_and_frames(client: TestClient, astronaut: Path, jpeg: bytes) -> None:
    video = astronaut.read_bytes()
    plain = client.post("/v1/predict?window=1", content=video, headers={"content-type": "video/mp4"})
    assert plain.status_code == 200, plain.text
    found = plain.json()
    assert found["frame_count"] == 50
    assert [round(o["time_s"], 2) for o in found["observations"]] == [1.0, 1.96]
    form = client.post("/v1/predict?window=1", files={"video": ("a.mp4", video)})
    assert form.json()["prediction"]["probabilities"] == found["prediction"]["probabilities"]
    frames = client.post("/v1/predict", files=[("frames", ("f.jpg", jpeg))] * 3)
    assert frames.json()["frame_count"] == 3


def test_nothing_is_written_to_disk(
    recognizer: Recognizer, astronaut: Path, jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even by the parser of forms, which sends a megabyte to a temporary file by itself."""
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rolled: list[object] = []
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", lambda self: rolled.append(self))
    with client_of(recognizer) as client:
        large = [("frames", (f"{k}.jpg", jpeg + bytes(2 << 20))) for k in range(2)]
        assert client.post("/v1/predict", files=large).status_code == 200
    assert not rolled
    assert not list(tmp_path.iterdir())


def test_models_health_metrics_documents_and_page(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "key": False}
    assert client.get("/v1/models").json()["model"] == "slowr50_sa"
    assert 'dfer_requests_total{path="/healthz",status="200"}' in client.get("/metrics").text
    document = client.get("/openapi.json").json()
    assert {"/v1/predict", "/v1/stream", "/v1/models", "/healthz", "/metrics"} <= set(document["paths"])
    docs = client.get("/docs").text
    assert "/v1/predict" in docs
    assert "`" not in docs
    page = client.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for path in ("/", "/page.js", "/page.css", "/docs"):
        text = client.get(path).text
        assert "http://" not in text
        assert "https://" not in text.replace('"https:"', ""), "no external assets"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "video/mp4", 400),
        (b"no video at all", "video/mp4", 400),
        (bytes(1000), "application/octet-stream", 400),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x", 400),
        (b"nothing", "multipart/form-data", 400),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 400),
    ],
)
def test_bad_bodies(client: TestClient, body: bytes, kind: str, status: int) -> None:
    answer = client.post("/v1/predict", content=body, headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.json()["error"].startswith("expected")


def test_a_truncated_video_and_one_without_faces(client: TestClient, astronaut: Path) -> None:
    assert client.post("/v1/predict", content=astronaut.read_bytes()[:3000]).status_code == 400
    grey = cv2.imencode(".png", np.full((64, 64, 3), 99, np.uint8))[1].tobytes()
    assert client.post("/v1/predict", files=[("frames", ("f.png", grey))]).status_code == 422
    assert client.post("/v1/predict?window=soon", files=[("frames", ("f.png", grey))]).status_code == 400
    mixed = [("frames", ("a.png", grey)), ("video", ("b.mp4", b"x"))]
    assert client.post("/v1/predict", files=mixed).status_code == 400
    assert client.get("/v1/predict").status_code == 405
    assert client.get("/nothing").status_code == 404


def test_limits(recognizer: Recognizer, astronaut: Path) -> None:
    with client_of(recognizer, max_mb=0.01) as client:
        assert client.post("/v1/predict", content=bytes(20_000)).status_code == 413
        parts = (bytes(1000) for _ in range(20))
        assert client.post("/v1/predict", content=parts).status_code == 413, "without a declared length too"
    with client_of(recognizer, max_frames=10) as client:
        assert "at most 10 frames" in client.post("/v1/predict", content=astronaut.read_bytes()).json()["error"]
    with client_of(recognizer, per_minute=8) as client:
        found = [client.get("/healthz").status_code for _ in range(4)]
        assert found == [200, 200, 429, 429]


def test_rate_fills_again() -> None:
    now = [0.0]
    rate = Rate(60, lambda: now[0])
    assert [rate.admits("a") for _ in range(16)] == [True] * 15 + [False]
    assert rate.admits("b")
    now[0] = 1.0
    assert [rate.admits("a"), rate.admits("a")] == [True, False]


def test_a_key_is_asked_for_where_there_is_one(recognizer: Recognizer, jpeg: bytes) -> None:
    with client_of(recognizer, api_key="s3cret") as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers={"x-api-key": "wrong"}).status_code == 401
        assert client.get("/v1/models", headers={"x-api-key": "s3cret"}).status_code == 200
        assert client.get("/v1/models", headers={"authorization": "Bearer s3cret"}).status_code == 200
        assert client.get("/").status_code == 200, "the page asks for the key"
        with client.websocket_connect(STREAM) as socket:
            socket.send_json({"key": "s3cret"})
            socket.send_bytes(jpeg)
            assert socket.receive_json()["frame"] == 0
        with client.websocket_connect(STREAM) as socket:
            socket.send_json({"key": "wrong"})
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_json()
        assert closed.value.code == 1008
    with pytest.raises(InvalidInput, match="API key for a server that others reach"):
        Config(host="0.0.0.0")


def test_pages_of_other_sites_are_refused(client: TestClient) -> None:
    assert client.get("/v1/models", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/v1/models", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/v1/models", headers={"origin": HERE}).status_code == 200
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(STREAM, headers={"origin": "http://evil.example"}),
    ):
        pass


# -- WebSocket --------------------------------------------------------------------------------------------------------


def test_every_frame_is_answered(client: TestClient, jpeg: bytes) -> None:
    with client.websocket_connect(STREAM) as socket:
        for number in range(3):
            socket.send_bytes(jpeg)
            answer = socket.receive_json()
            assert answer["frame"] == number
            (found,) = answer["observations"]
            assert found["track_id"] == 0
            assert sum(found["prediction"]["probabilities"]) == pytest.approx(1, abs=1e-5)
            assert found["raw"]["label"] in found["prediction"]["labels"]
        assert metric(client, "dfer_stream_clients") == 1
    assert metric(client, "dfer_stream_frames_total") == 3


def test_answers_are_what_the_document_says(client: TestClient, jpeg: bytes) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]

    def check(value: Any, name: str) -> None:
        schema = schemas[name]
        assert set(schema["required"]) <= set(value), name
        # A prediction of `predict` has more, as in Python.
        assert name == "Prediction" or set(value) <= {*schema["properties"], "landmarks", "source"}, name
        for key in ("prediction", "raw"):
            if value.get(key):
                check(value[key], "Prediction")

    timeline = client.post("/v1/predict", files=[("frames", ("frame", jpeg))] * 3).json()
    check(timeline, "Timeline")
    check(timeline["observations"][0], "Observation")
    check(client.post("/v1/predict", content=b"nothing").json(), "Error")
    with client.websocket_connect(STREAM) as socket:
        socket.send_bytes(jpeg)
        answer = socket.receive_json()
        check(answer, "StreamAnswer")
        check(answer["observations"][0], "Observation")
        socket.send_bytes(b"")
        check(socket.receive_json(), "StreamAnswer")


def bombs(jpeg: bytes) -> list[bytes]:
    """Small images that declare gigabytes."""
    size = (60_000).to_bytes(2, "big") * 2
    frame = jpeg.index(b"\xff\xc0") + 5
    png = b"\x89PNG\r\n\x1a\n" + bytes(8) + (60_000).to_bytes(4, "big") * 2
    webp = b"RIFF" + bytes(4) + b"WEBPVP8L" + bytes(5) + (0x3FFF | 0x3FFF << 14).to_bytes(4, "little")
    return [png, webp, jpeg[:frame] + size + jpeg[frame + 4 :]]


def test_bad_frames_are_answered_and_the_stream_goes_on(client: TestClient, jpeg: bytes) -> None:
    with client.websocket_connect(STREAM) as socket:
        for bad in (b"", b"\xff\xd8garbage", jpeg[:200], bytes(100)):
            socket.send_bytes(bad)
            answer = socket.receive_json()
            assert "error" in answer or answer["observations"] is not None
        socket.send_text("hello")
        assert "binary" in socket.receive_json()["error"]
        for bomb in bombs(jpeg):
            socket.send_bytes(bomb)
            assert "at most" in socket.receive_json()["error"]
        socket.send_bytes(b"P6 60000 60000 255\n")
        assert "expected the frame as JPEG" in socket.receive_json()["error"]
        socket.send_bytes(jpeg)
        assert socket.receive_json()["observations"][0]["track_id"] == 0


def test_frames_that_fill_the_memory_together_are_refused(
    client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    monkeypatch.setattr("dfer_edge.serve.decoding._MOST_TOGETHER", 3 * height * width)
    for count, status in ((3, 200), (4, 400)):
        answer = client.post("/v1/predict", files=[("frames", ("frame", jpeg)) for _ in range(count)])
        assert answer.status_code == status, answer.text


def test_too_many_streams(recognizer: Recognizer, jpeg: bytes) -> None:
    with client_of(recognizer, max_clients=1) as client, client.websocket_connect(STREAM) as first:
        first.send_bytes(jpeg)
        assert "frame" in first.receive_json()
        with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect(STREAM):
            pass
        assert closed.value.code == 1013
        first.send_bytes(jpeg)
        assert first.receive_json()["frame"] == 1


def test_overtaken_frames_are_dropped_and_counted_and_people_are_forgotten(
    client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = None
    with client.websocket_connect(STREAM) as socket:
        for thread in threading.enumerate():
            if thread.name == "dfer-edge hub":
                hub = thread._target.__self__  # type: ignore[attr-defined]
        gate = threading.Event()
        observe = hub._observer.observe
        monkeypatch.setattr(hub._observer, "observe", lambda looks: gate.wait(10) and observe(looks))
        socket.send_bytes(jpeg)
        name = next(iter(hub._clients))
        while hub._clients[name].received < 1 or hub._clients[name].pending is not None:
            time.sleep(0.01)
        for _ in range(10):
            socket.send_bytes(jpeg)
        while hub._clients[name].received < 11:
            time.sleep(0.01)
        gate.set()
        assert socket.receive_json()["frame"] == 0
        answer = socket.receive_json()
        assert (answer["frame"], answer["dropped"]) == (10, 9)
        assert len(hub._observer) == 1
    with client.websocket_connect(STREAM) as other:
        other.send_bytes(jpeg)
        other.receive_json()
        assert len(hub._observer) == 1, "who left is forgotten"


def test_who_never_reads_holds_nobody_up_and_little_memory(client: TestClient, jpeg: bytes) -> None:
    with client.websocket_connect(STREAM) as deaf:
        hub = next(t for t in threading.enumerate() if t.name == "dfer-edge hub")._target.__self__  # type: ignore[attr-defined]
        for _ in range(200):
            deaf.send_bytes(jpeg)
        with client.websocket_connect(STREAM) as other:
            other.send_bytes(jpeg)
            assert other.receive_json()["frame"] == 0
            assert len(hub) == 2
            assert max(one.received for one in hub._clients.values()) > 1, "frames of the deaf one are taken"
            assert metric(client, "dfer_stream_clients") == 2
    assert metric(client, "dfer_stream_clients") == 0


def test_a_stream_cancelled_as_it_ends_is_left_and_passes_the_cancellation_on(recognizer: Recognizer) -> None:
    left: list[str] = []

    async def end() -> anyio.CancelScope:
        is_sending = anyio.Event()
        with anyio.CancelScope() as scope:

            class Socket:
                async def receive(self) -> dict[str, Any]:
                    await is_sending.wait()
                    return {"type": "websocket.disconnect"}

                async def send_json(self, message: dict[str, Any]) -> None:
                    is_sending.set()
                    try:
                        await anyio.sleep_forever()
                    finally:  # the stream waits for this task to end
                        scope.cancel()

            class Hub:
                def join(self, answer: Any) -> str:
                    answer({})
                    return "client0"

                def leave(self, name: str) -> None:
                    left.append(name)

            await server._serve(Socket(), Hub())  # type: ignore[arg-type]
        return scope

    server = Server(recognizer, Config())
    assert anyio.run(end).cancelled_caught
    assert left == ["client0"]


def test_shutdown_leaves_no_thread(recognizer: Recognizer) -> None:
    with client_of(recognizer) as client:
        assert client.get("/healthz").status_code == 200
    assert not [thread for thread in threading.enumerate() if thread.name == "dfer-edge hub"]


def test_a_picture_cut_inside_its_header_is_told_so() -> None:
    whole = cv2.imencode(".jpg", np.zeros((40, 30, 3), np.uint8))[1].tobytes()
    with pytest.raises(InvalidInput, match="with a size in its header, got 30 bytes of jpeg"):
        decode_image(whole[:30])
