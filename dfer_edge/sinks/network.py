"""Observations to the network: WebSocket, MQTT, OSC. JSON as ``Observation.to_dict``, OSC as plain arguments."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any
from urllib.parse import unquote, urlsplit

from dfer_edge.errors import EngineUnavailable, InvalidInput
from dfer_edge.sources.redaction import redacted
from dfer_edge.types import Observation

_LOG = logging.getLogger("dfer_edge")
# Messages that may wait for a client that does not read; the oldest go first.
_BACKLOG = 16
# Who does not read does not answer the goodbye either.
_GOODBYE_S = 1.0


class WebSocketSink:
    """A WebSocket server of its own thread that sends every observation to all who listen.

    Parameters
    ----------
    port
        0 takes a free one, see ``port``.
    host
        The machine itself unless told otherwise.

    Raises
    ------
    EngineUnavailable
        Without the package ``websockets``.
    InvalidInput
        If the port is taken.
    """

    def __init__(self, port: int = 8765, host: str = "127.0.0.1") -> None:
        try:
            from websockets.asyncio.server import serve
        except ImportError as error:
            raise EngineUnavailable("a WebSocket needs websockets", 'pip install "dfer-edge[serve]"') from error
        self._serve: Any = serve
        self._clients: set[asyncio.Queue[str]] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._stop: asyncio.Event | None = None
        self.port, self._host = port, host
        self._thread = threading.Thread(target=self._run, name="dfer-edge websocket", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise InvalidInput(f"expected a free port, got {host}:{port}: {self._failure.strerror}")

    def write(self, observation: Observation) -> None:
        """See :class:`~dfer_edge.sinks.records.ObservationSink`."""
        text = json.dumps(observation.to_dict())
        self._loop.call_soon_threadsafe(self._send, text)

    def close(self) -> None:
        """Say goodbye to everyone; a second call does nothing."""
        if self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5.0)

    def _send(self, text: str) -> None:
        for queue in self._clients:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(text)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        try:
            async with self._serve(self._client, self._host, self.port, close_timeout=_GOODBYE_S) as server:
                self.port = server.sockets[0].getsockname()[1]
                self._ready.set()
                await self._stop.wait()
        except OSError as error:
            self._failure = error
            self._ready.set()

    async def _client(self, connection: Any) -> None:
        queue: asyncio.Queue[str] = asyncio.Queue(_BACKLOG)
        self._clients.add(queue)
        reader = asyncio.ensure_future(connection.wait_closed())
        try:
            while not reader.done():
                waiting = asyncio.ensure_future(queue.get())
                done, _ = await asyncio.wait({waiting, reader}, return_when=asyncio.FIRST_COMPLETED)
                if waiting not in done:
                    waiting.cancel()
                    break
                await connection.send(waiting.result())
        except Exception as error:
            _LOG.debug("a client went: %s", error)
        finally:
            reader.cancel()
            self._clients.discard(queue)


class MqttSink:
    """Publishes to ``TOPIC/SOURCE/PERSON`` at an MQTT broker; connects again by itself when the broker was away.

    Parameters
    ----------
    address
        ``mqtt://[user:password@]host[:port][/topic]``, ``mqtts`` for TLS; the topic is ``dfer-edge`` if there is none.

    Attributes
    ----------
    dropped
        Observations while there was no broker: news that is old is no news.

    Raises
    ------
    EngineUnavailable
        Without the package ``paho-mqtt``.
    InvalidInput
        If the address is none, or nobody answers there at the start.
    """

    def __init__(self, address: str) -> None:
        try:
            from paho.mqtt import client as mqtt
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise EngineUnavailable("MQTT needs paho-mqtt", 'pip install "dfer-edge[mqtt]"') from error
        parts = urlsplit(address)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise InvalidInput(f"expected mqtt://host[:port][/topic], got {redacted(address)}")
        self._topic = parts.path.strip("/") or "dfer-edge"
        self._client: Any = mqtt.Client(CallbackAPIVersion.VERSION2)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._client.reconnect_delay_set(1, 10)
        self.dropped = 0
        try:
            self._client.connect(parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883))
        except OSError as error:
            raise InvalidInput(f"expected an MQTT broker at {redacted(address)}: {error}") from error
        self._client.loop_start()

    def write(self, observation: Observation) -> None:
        """See :class:`~dfer_edge.sinks.records.ObservationSink`."""
        if not self._client.is_connected():
            self.dropped += 1
            return
        who = str(observation.track_id) if observation.has_face else "nobody"
        topic = "/".join([self._topic, _plain(observation.source) or "source", who])
        self._client.publish(topic, json.dumps(observation.to_dict()))

    def close(self) -> None:
        """Send what waits and go; a second call does nothing."""
        self._client.disconnect()
        self._client.loop_stop()


class OscSink:
    """Sends ``/dfer/SOURCE/PERSON label confidence probability...`` by UDP, as sound and light software takes it.

    Parameters
    ----------
    address
        ``host:port``.

    Raises
    ------
    EngineUnavailable
        Without the package ``python-osc``.
    InvalidInput
        If the address is none.
    """

    def __init__(self, address: str) -> None:
        try:
            from pythonosc.udp_client import SimpleUDPClient
        except ImportError as error:
            raise EngineUnavailable("OSC needs python-osc", 'pip install "dfer-edge[osc]"') from error
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise InvalidInput(f"expected host:port, got {address!r}")
        self._client: Any = SimpleUDPClient(host, int(port))

    def write(self, observation: Observation) -> None:
        """See :class:`~dfer_edge.sinks.records.ObservationSink`."""
        prediction = observation.prediction
        who = str(observation.track_id) if observation.has_face else "nobody"
        scores = [float(probability) for probability in prediction.probabilities]
        path = f"/dfer/{_plain(observation.source) or 'source'}/{who}"
        self._client.send_message(path, [prediction.label, prediction.confidence, *scores])

    def close(self) -> None:
        """Nothing to give back but the socket."""
        self._client._sock.close()


def _plain(name: str) -> str:
    """A source's name as one level of a topic or path: what has a meaning there becomes ``_``."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).strip("_")
