"""What the server says about itself, as OpenAPI and as a page without external assets."""

from __future__ import annotations

import html
from typing import Any

from dfer_edge._version import __version__

_ERRORS = {
    "400": "Not what the call takes; `error` says what was expected and what came",
    "401": "The API key is missing or wrong",
    "413": "The body is too large",
    "422": "No face was found",
    "429": "Too many requests from this address",
}


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    failures = {status: {"description": text} for status, text in _ERRORS.items()}
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "schema": {
            "type": "object",
            "properties": {
                "video": {"type": "string", "format": "binary"},
                "frames": {"type": "array", "items": {"type": "string", "format": "binary"}},
            },
        }
    }
    predict = {
        "summary": "Expressions in a video, or in single frames that are one clip",
        "description": "A video as the body or as the form field `video`, or images as form fields `frames`.",
        "parameters": [_window()],
        "requestBody": {"content": {"video/*": binary, "multipart/form-data": form}},
        "responses": {"200": _json("The timeline: summary, every window of everyone"), **failures},
    }
    stream = {
        "summary": "A stream by WebSocket: frames in, observations out",
        "description": (
            "Send each frame as one binary message (JPEG, PNG, WebP or BMP). Every frame is answered with one JSON "
            "message: `frame` (its number), `dropped` (frames that newer ones overtook), `age_ms`, `observations`; or "
            '`error`. Where a key is asked for and headers cannot be sent, send `{"key": "..."}` as text first.'
        ),
        "responses": {"101": {"description": "Switching protocols"}, "401": failures["401"]},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "dfer-edge", "version": __version__},
        "paths": {
            "/v1/predict": {"post": predict},
            "/v1/stream": {"get": stream},
            "/v1/models": {"get": {"summary": "What runs here", "responses": {"200": _json("Model, weights, labels")}}},
            "/healthz": {"get": {"summary": "Whether it runs", "responses": {"200": _json("ok")}}},
            "/metrics": {"get": {"summary": "Prometheus metrics", "responses": {"200": {"description": "Text"}}}},
        },
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def page() -> str:
    """The document for people."""
    rows = []
    for path, methods in document()["paths"].items():
        for method, call in methods.items():
            answers = "".join(
                f"<li><b>{status}</b> {html.escape(answer['description'])}</li>"
                for status, answer in call["responses"].items()
            )
            text = html.escape(call.get("description", ""))
            title = f"<h2><code>{method.upper()} {path}</code></h2><p>{html.escape(call['summary'])}</p>"
            rows.append(f"{title}<p>{text}</p><ul>{answers}</ul>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>dfer-edge API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/page.css">'
        '<main class="text"><h1>dfer-edge API</h1>'
        f'<p><a href="/openapi.json">openapi.json</a></p>{"".join(rows)}</main>'
        "</html>"
    )


def _window() -> dict[str, Any]:
    schema = {"type": "number", "minimum": 0.01, "default": 4}
    return {"name": "window", "in": "query", "description": "Seconds of a window", "schema": schema}


def _json(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": {"type": "object"}}}}
