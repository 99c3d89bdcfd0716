"""Observations to files, callbacks and the network, each against a real receiver."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfer_edge import DferError, InvalidInput
from dfer_edge.live import Options, Session
from dfer_edge.sinks import drawing, network, records
from dfer_edge.sinks.display import VideoOverlay
from dfer_edge.sinks.drawing import Figure, _free_place, draw
from dfer_edge.types import Box, Observation
from tests.live import fakes


@pytest.fixture
def seen() -> list[Observation]:
    """Two of somebody, one of nobody."""
    people = {0: lambda index: fakes.HERE if index < 2 else None}
    session = Session(fakes.network(people), Options(hop_s=0))
    return [o for k in range(3) for o in session.push(fakes.image(k), k / 10, "rtsp://cam/1")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.02)


# -- files ------------------------------------------------------------------------------------------------------------


def test_json_lines_and_csv_are_there_at_once(seen: list[Observation], tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    sink = records.JsonLinesSink(path)
    for count, observation in enumerate(seen, 1):
        sink.write(observation)
        assert len(path.read_text().splitlines()) == count, "flushed with every line"
    sink.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["prediction"]["label"] for line in lines] == [o.prediction.label for o in seen]
    text = io.StringIO()
    table = records.CsvSink(text)
    for observation in seen:
        table.write(observation)
    table.close()
    rows = list(csv.DictReader(io.StringIO(text.getvalue())))
    assert [row["label"] for row in rows] == [o.prediction.label for o in seen]
    assert rows[2]["track_id"] == "-1"
    assert float(rows[1]["time_s"]) == pytest.approx(0.1)
    assert float(rows[0]["happy"]) == pytest.approx(seen[0].prediction.scores["happy"], abs=1e-5)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("kind", [records.JsonLinesSink, records.CsvSink, records.TextSink])
def test_a_full_disk_is_said_by_name(kind: Any, seen: list[Observation]) -> None:
    sink = kind("/dev/full")
    with pytest.raises(DferError, match="cannot write /dev/full: No space left"):
        sink.write(seen[0])
    sink.close()


def test_callbacks_on_every_observation_or_on_what_is_new(seen: list[Observation]) -> None:
    every: list[Observation] = []
    new: list[str] = []
    all_of_them, changes = (
        records.CallbackSink(every.append),
        records.CallbackSink(lambda o: new.append(o.prediction.label), on_change=True),
    )
    same = dataclasses.replace(seen[0], event=None)
    for observation in [same, same, seen[2], seen[2], same]:
        all_of_them.write(observation)
        changes.write(observation)
    assert len(every) == 5
    assert new == [same.prediction.label, "no face", same.prediction.label]


def test_asynchronous_callbacks_never_hold_the_stream_up(seen: list[Observation]) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    got: list[Observation] = []
    gate = asyncio.Event()

    async def slow(observation: Observation) -> None:
        await gate.wait()
        got.append(observation)

    sink = records.AsyncCallbackSink(slow, loop, most=2)
    for _ in range(5):
        sink.write(seen[0])
    assert sink.dropped == 3
    loop.call_soon_threadsafe(gate.set)
    wait_for(lambda: len(got) == 2)
    assert len(got) == 2
    sink.close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


# -- network ----------------------------------------------------------------------------------------------------------


def test_websocket(seen: list[Observation]) -> None:
    client = pytest.importorskip("websockets.sync.client")
    sink = network.WebSocketSink(0)
    address = f"ws://127.0.0.1:{sink.port}"
    with client.connect(address) as one, client.connect(address, close_timeout=0.1) as deaf:
        wait_for(lambda: len(sink._clients) == 2)
        for _ in range(500):
            sink.write(seen[0])
        sink.write(seen[2])
        labels = []
        while not labels or labels[-1] != "no face":
            labels.append(json.loads(one.recv(timeout=10))["prediction"]["label"])
        assert all(queue.qsize() <= 16 for queue in sink._clients), "who does not read is not waited for"
        with pytest.raises(InvalidInput, match="free port"):
            network.WebSocketSink(sink.port)
        sink.close()
        assert deaf
    assert not sink._thread.is_alive()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen]]:
    pytest.importorskip("paho.mqtt")
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        pytest.skip("no mosquitto: apt install mosquitto")
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    start = lambda: subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)  # noqa: E731
    process = start()
    wait_for(lambda: _listens(port))
    yield port, process
    process.terminate()
    process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_mqtt_to_a_real_broker_that_goes_away(seen: list[Observation], broker: tuple[int, subprocess.Popen]) -> None:
    from paho.mqtt import subscribe

    port, process = broker
    sink = network.MqttSink(f"mqtt://127.0.0.1:{port}/lab/faces")
    wait_for(sink._client.is_connected)
    got: list[object] = []
    reader = threading.Thread(
        target=lambda: got.append(subscribe.simple("lab/faces/#", hostname="127.0.0.1", port=port)), daemon=True
    )
    reader.start()
    end = time.monotonic() + 10
    while not got and time.monotonic() < end:
        sink.write(seen[0])
        time.sleep(0.05)
    assert got[0].topic == "lab/faces/rtsp___cam_1/0"
    assert json.loads(got[0].payload)["prediction"]["label"] == seen[0].prediction.label
    process.terminate()
    process.wait()
    wait_for(lambda: not sink._client.is_connected())
    sink.write(seen[0])
    assert sink.dropped >= 1, "the stream goes on"
    sink.close()


@pytest.mark.parametrize("address", ["127.0.0.1:1883", "mqtt://", "http://x"])
def test_no_mqtt_address(address: str) -> None:
    pytest.importorskip("paho.mqtt")
    with pytest.raises(InvalidInput, match="mqtt://host"):
        network.MqttSink(address)


def test_no_broker_is_an_error_without_its_password() -> None:
    pytest.importorskip("paho.mqtt")
    with pytest.raises(InvalidInput, match="broker at mqtt://") as error:
        network.MqttSink(f"mqtt://me:s3cret@127.0.0.1:{free_port()}")
    assert "s3cret" not in str(error.value)


def test_osc_to_a_real_receiver(seen: list[Observation]) -> None:
    pytest.importorskip("pythonosc")
    from pythonosc.dispatcher import Dispatcher
    from pythonosc.osc_server import ThreadingOSCUDPServer

    got: list[tuple] = []
    dispatcher = Dispatcher()
    dispatcher.set_default_handler(lambda *message: got.append(message))
    with ThreadingOSCUDPServer(("127.0.0.1", 0), dispatcher) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        sink = network.OscSink(f"127.0.0.1:{server.server_address[1]}")
        for observation in (seen[0], seen[2]):
            sink.write(observation)
        wait_for(lambda: len(got) == 2)
        sink.close()
        server.shutdown()
    assert {message[0] for message in got} == {"/dfer/rtsp___cam_1/0", "/dfer/rtsp___cam_1/nobody"}
    first = next(message for message in got if message[0].endswith("/0"))
    assert first[1] == seen[0].prediction.label
    np.testing.assert_allclose(first[3:], seen[0].prediction.probabilities, atol=1e-6)
    with pytest.raises(InvalidInput, match="host:port"):
        network.OscSink("nowhere")


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_captions_cover_no_face(seen: list[Observation]) -> None:
    """Neither one's own nor another's, nor another caption, nor do they leave the picture."""
    canvas = np.zeros((360, 480, 3), np.uint8)
    rng = np.random.default_rng(4)
    for _ in range(200):
        corners = rng.uniform(0, [440, 320], (5, 2))
        boxes = [Box(x, y, x + 80, y + 90) for x, y in corners]
        taken = list(boxes)
        for box in boxes:
            place = _free_place(canvas, "#12 surprise 0.99", box, taken, 1.0)
            if place is None:
                continue
            assert not any(
                min(place.right, t.right) > max(place.left, t.left)
                and min(place.bottom, t.bottom) > max(place.top, t.top)
                for t in taken
            )
            assert 0 <= place.left < place.right <= 480
            assert 0 <= place.top < place.bottom <= 360
            taken.append(place)


def test_everyone_of_a_crowd_has_a_colour_that_dark_text_is_read_on() -> None:
    colours = [drawing.colour_of(track_id) for track_id in range(40)]
    assert len(set(colours)) == 40
    luminance = np.asarray(colours) @ np.array([0.2126, 0.7152, 0.0722])
    assert luminance.min() > 110


def test_a_picture_says_who_what_and_when(seen: list[Observation]) -> None:
    frame = np.full((360, 480, 3), 127, np.uint8)
    figures = [Figure(k, Box(40 + 150 * k, 100, 140 + 150 * k, 220), seen[0].prediction) for k in range(3)]
    picture = draw(frame, figures, 1.25)
    assert picture.shape[0] == 360
    assert picture.shape[1] > 480
    inside = picture[105:215, 45:135]
    assert (inside == 127).mean() > 0.95, "the face itself stays free"
    alone = draw(frame, figures[:1], 1.25)
    assert (alone[:, 480:] != picture[:, 480:]).any(), "everyone has a place in the panel"
    small = draw(np.zeros((90, 120, 3), np.uint8), [], 0.0, "a note")
    assert small.shape[0] >= 360


def test_a_video_without_a_folder_is_refused_before_the_first_frame(tmp_path: Path) -> None:
    with pytest.raises(DferError, match="no folder"):
        VideoOverlay(tmp_path / "away" / "x.mp4")


def test_the_video_is_h264_with_the_frames_own_times(seen: list[Observation], tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    from dfer_edge.live.frames import Captured
    from dfer_edge.types import Frame, TrackedFace

    path = tmp_path / "o.mp4"
    video = VideoOverlay(path)
    times = [0.0, 0.04, 0.2, 0.21]
    for k, time_s in enumerate(times):
        video.on_frame(
            "cam", Captured(Frame(fakes.image(k, 91, 121), k, 5 + time_s), 0.0), (TrackedFace(0, fakes.HERE),)
        )
        video.write(dataclasses.replace(seen[0], source="cam"))
        assert not path.exists(), "only when it is whole"
    video.close()
    video.close()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        found = [float(frame.time) for frame in container.decode(stream)]
    np.testing.assert_allclose(np.array(found) - found[0], times, atol=0.002)
