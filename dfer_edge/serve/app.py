"""The application: routes, and what every request goes through."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from dfer_edge.errors import DferError, InvalidInput, NoFaceFound
from dfer_edge.live.options import make_options
from dfer_edge.recognizer import Recognizer
from dfer_edge.serve import openapi
from dfer_edge.serve.config import Config
from dfer_edge.serve.decoding import BytesSource, ImagesSource, decode_images
from dfer_edge.serve.hub import Hub
from dfer_edge.serve.limits import Rate, TooLarge, body_of, is_from_elsewhere, key_is_right, key_of
from dfer_edge.serve.metrics import Metrics
from dfer_edge.sources.frames import Source

_LOG = logging.getLogger("dfer_edge")
_PAGE = Path(__file__).parent / "page"
_ASSETS = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js"}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_OPEN = {"/healthz", *_ASSETS}
# Answers that may wait for a client that does not read; then it is let go.
_MOST_WAITING, _MOST_FIELDS = 64, 1000


class _InMemory(MultiPartParser):  # type: ignore[misc]
    # The parser's own limit sends larger files to disk.
    spool_max_size = 1 << 40


class Server:
    """State and routes of a server; see :func:`create_app`."""

    def __init__(self, recognizer: Recognizer, config: Config) -> None:
        self._recognizer, self._config = recognizer, config
        self.metrics, self._rate = Metrics(), Rate(config.per_minute)
        self._busy = threading.Lock()
        self._hub: Hub | None = None

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """The hub lives as long as the application."""
        options = make_options(window=self._config.window_s, hop=self._config.hop_s)
        self._hub = Hub(self._recognizer._network, options, self.metrics.round)
        try:
            yield
        finally:
            await run_in_threadpool(self._hub.close)

    def routes(self) -> list[Any]:
        """All of them."""
        pages = [Route(path, self._asset, name=name) for path, name in _ASSETS.items()]
        return [
            *pages,
            Route("/healthz", self._health),
            Route("/metrics", self._metrics),
            Route("/docs", self._docs),
            Route("/openapi.json", self._openapi),
            Route("/v1/models", self._models),
            Route("/v1/predict", self._predict, methods=["POST"]),
            WebSocketRoute("/v1/stream", self._stream),
        ]

    async def guard(self, request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        """What every HTTP request goes through: key, rate, errors as JSON, metrics, headers."""
        begin, path = time.perf_counter(), request.url.path
        try:
            response = self._refusal(request) or await call(request)
        except TooLarge as error:
            response = self._error(413, error)
        except NoFaceFound as error:
            response = self._error(422, error)
        except DferError as error:
            response = self._error(400, error)
        except ClientDisconnect:
            response = Response(status_code=400)
        known = path if any(getattr(route, "path", "") == path for route in self.routes()) else "other"
        self.metrics.requests.labels(known, str(response.status_code)).inc()
        self.metrics.seconds.labels(known).observe(time.perf_counter() - begin)
        response.headers.update(_HEADERS)
        return response

    def _refusal(self, request: Request) -> Response | None:
        if is_from_elsewhere(request, self._config):
            return self._refuse(403, "another site asks")
        if not self._rate.admits(request.client.host if request.client else ""):
            return self._refuse(429, "too many requests")
        if request.url.path not in _OPEN and not key_is_right(key_of(request), self._config):
            return self._refuse(401, "expected the server's API key")
        return None

    def _refuse(self, status: int, reason: str) -> Response:
        self.metrics.refused.labels(reason).inc()
        headers = {"Retry-After": "1"} if status == 429 else {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        return JSONResponse({"error": reason}, status, headers)

    def _error(self, status: int, error: DferError) -> Response:
        self.metrics.refused.labels(type(error).__name__).inc()
        return JSONResponse({"error": error.message, "hint": error.hint}, status)

    # -- HTTP -----------------------------------------------------------------------------------------------

    async def _asset(self, request: Request) -> Response:
        path = _PAGE / _ASSETS[request.url.path]
        return Response(path.read_bytes(), media_type=_TYPES[path.suffix])

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "key": self._config.api_key is not None})

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type=self.metrics.content_type)

    async def _docs(self, request: Request) -> Response:
        return HTMLResponse(openapi.page())

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(openapi.document())

    async def _models(self, request: Request) -> Response:
        return JSONResponse(self._recognizer.info())

    async def _predict(self, request: Request) -> Response:
        source = await self._source(request)
        window_s = _number(request.query_params.get("window", "4"))
        found = await run_in_threadpool(self._timeline, source, window_s)
        return JSONResponse(found)

    def _timeline(self, source: Source, window_s: float) -> dict[str, Any]:
        # One at a time: requests share the cores anyway, and their memory adds up.
        with self._busy:
            return self._recognizer.timeline(source, window_s=window_s).to_dict()

    async def _source(self, request: Request) -> Source:
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._config.max_bytes:
            raise TooLarge(f"expected a body of at most {self._config.max_bytes} bytes, got {declared}")
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            return await self._form(request)
        return self._video(await body_of(request, self._config.max_bytes))

    async def _form(self, request: Request) -> Source:
        body = await body_of(request, self._config.max_bytes)

        async def once() -> AsyncIterator[bytes]:
            yield body

        try:
            parser = _InMemory(request.headers, once(), max_files=_MOST_FIELDS, max_fields=_MOST_FIELDS)
            form = await parser.parse()
        except (MultiPartException, KeyError, ValueError) as error:
            raise InvalidInput(f"expected a form, got a body that is none: {error}") from error
        video = [value for value in form.getlist("video") if not isinstance(value, str)]
        frames = [value for value in form.getlist("frames") if not isinstance(value, str)]
        if len(video) == 1 and not frames:
            return self._video(await video[0].read())
        if video or not frames:
            raise InvalidInput(f"expected one video or some frames, got {len(video)} videos and {len(frames)} frames")
        if len(frames) > self._config.max_frames:
            raise InvalidInput(f"expected at most {self._config.max_frames} frames, got {len(frames)}")
        return ImagesSource(decode_images([await part.read() for part in frames]))

    def _video(self, data: bytes) -> Source:
        if not data:
            raise InvalidInput("expected a video, got an empty body")
        return BytesSource(data, self._config.max_frames)

    # -- WebSocket ------------------------------------------------------------------------------------------

    async def _stream(self, socket: WebSocket) -> None:
        if is_from_elsewhere(socket, self._config):
            await socket.close(1008, "another site asks")
            return
        assert self._hub is not None  # noqa: S101 - set while the application lives
        if len(self._hub) >= self._config.max_clients:
            await socket.close(1013, "too many streams")
            return
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            if key_is_right(key_of(socket), self._config) or await self._told_key(socket):
                await self._serve(socket, self._hub)

    async def _told_key(self, socket: WebSocket) -> bool:
        """Browsers send no headers with a WebSocket: the key is the first message then."""
        try:
            first = await asyncio.wait_for(socket.receive_text(), 10.0)
            given = json.loads(first).get("key")
        except (ValueError, KeyError, AttributeError, asyncio.TimeoutError):
            given = None
        if isinstance(given, str) and key_is_right(given, self._config):
            return True
        self.metrics.refused.labels("expected the server's API key").inc()
        await socket.close(1008, "expected the server's API key")
        return False

    async def _serve(self, socket: WebSocket, hub: Hub) -> None:
        loop = asyncio.get_running_loop()
        answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MOST_WAITING)

        def keep(message: dict[str, Any]) -> None:
            if answers.full():
                answers.get_nowait()
            answers.put_nowait(message)

        def answer(message: dict[str, Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may be gone by now
                loop.call_soon_threadsafe(keep, message)

        name = hub.join(answer)
        self.metrics.clients.inc()
        tasks = [asyncio.ensure_future(work) for work in (self._receive(socket, hub, name), _send(socket, answers))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # First, as what follows may be cancelled: nobody who has gone stays counted among the clients.
            hub.leave(name)
            self.metrics.clients.dec()
            for task in tasks:
                task.add_done_callback(_is_seen)
                task.cancel()
            # No gather: cancelled, it raises the cancellation of a task in place of its own, which AnyIO takes for
            # somebody else's and lets through.
            await asyncio.wait(tasks)

    async def _receive(self, socket: WebSocket, hub: Hub, name: str) -> None:
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            data = message.get("bytes")
            if data is None:
                # The key again, where none is asked for; anything else in words means nothing.
                if '"key"' not in (message.get("text") or ""):
                    await socket.send_json({"error": "expected frames as binary messages, got text"})
            elif len(data) > self._config.max_frame_bytes:
                most = self._config.max_frame_bytes
                await socket.send_json({"error": f"expected frames of at most {most} bytes, got {len(data)}"})
            else:
                self.metrics.frames.inc()
                hub.push(name, data)


def _is_seen(task: asyncio.Task[None]) -> None:
    """How a socket ends is no news: without this asyncio logs it."""
    if not task.cancelled():
        task.exception()


async def _send(socket: WebSocket, answers: asyncio.Queue[dict[str, Any]]) -> None:
    while True:
        await socket.send_json(await answers.get())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInput(f"expected window as a number of seconds, got {text[:40]!r}") from error


def create_app(recognizer: Recognizer, config: Config | None = None) -> Starlette:
    """The server as an ASGI application.

    Parameters
    ----------
    recognizer
        That serves everyone.
    config
        Limits; a server on loopback without a key if None.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware

    server = Server(recognizer, config or Config())
    middleware = [Middleware(BaseHTTPMiddleware, dispatch=server.guard)]
    return Starlette(routes=server.routes(), middleware=middleware, lifespan=server.lifespan)
