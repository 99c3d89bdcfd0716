"""What the server says about itself, as OpenAPI and as a page without external assets."""

from __future__ import annotations

import html
import re
from typing import Any

from dfer_edge._version import __version__

_ERRORS = {
    "400": "Not what the call takes; `error` says what was expected and what came",
    "401": "The API key is missing or wrong",
    "413": "The body is too large",
    "422": "No face was found",
    "429": "Too many requests from this address",
}


def _object(required: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


def _list(items: dict[str, Any], length: int | None = None) -> dict[str, Any]:
    return {"type": "array", "items": items} | ({} if length is None else {"minItems": length, "maxItems": length})


def _of(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


_NUMBER, _WHOLE, _TEXT = {"type": "number"}, {"type": "integer"}, {"type": "string"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_SCHEMAS = {
    "Error": _object("error", error=_TEXT, hint=_TEXT),
    "Prediction": _object(
        "label confidence labels probabilities",
        label=_TEXT | {"description": "One of `labels`, `unknown`, or `no face`"},
        confidence=_SHARE,
        labels=_list(_TEXT),
        probabilities=_list(_SHARE) | {"description": "In the order of `labels`"},
        signals={
            "type": ["object", "null"],
            "description": "Action units, intensity, valence, arousal where asked for",
        },
    ),
    "Observation": _object(
        "time_s frame_index track_id box prediction",
        start_s=_NUMBER,
        time_s=_NUMBER | {"description": "Of the newest frame, seconds from the begin of the source"},
        frame_index=_WHOLE,
        track_id=_WHOLE | {"description": "A person; -1 where nobody is there"},
        box=_list(_NUMBER, 4) | {"description": "Left, top, right, bottom in pixels of the frame"},
        prediction=_of("Prediction"),
        raw={"description": "Of this window alone, without smoothing", "anyOf": [_of("Prediction"), {"type": "null"}]},
        event={"type": ["string", "null"], "description": "`onset`, `apex`, `offset`"},
        seen={"type": ["number", "null"], "description": "Share of the window's frames in which the person was seen"},
        captured_s={"type": ["number", "null"], "description": "Unix time of the frame"},
        age_ms={"type": ["number", "null"], "description": "From capture, or arrival, to this observation"},
    ),
    "StreamAnswer": _object(
        "frame dropped",
        frame=_WHOLE,
        dropped=_WHOLE,
        age_ms=_NUMBER,
        observations=_list(_of("Observation")),
        error=_TEXT,
    ),
    "Timeline": _object(
        "prediction primary_track observations frame_count duration_s",
        prediction=_of("Prediction"),
        primary_track=_WHOLE | {"description": "Who was seen longest; `prediction` is about that person"},
        people={"type": "object", "additionalProperties": _of("Prediction")},
        frame_count=_WHOLE,
        duration_s=_NUMBER,
        frames_lost=_WHOLE,
        observations=_list(_of("Observation")),
    ),
}


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
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
        "responses": {
            "200": {"description": "The timeline: summary, every window of everyone", **_answer("Timeline")},
            **{status: {"description": text, **_answer("Error")} for status, text in _ERRORS.items()},
        },
    }
    stream = {
        "summary": "A stream by WebSocket: frames in, observations out",
        "description": (
            "Send each frame as one binary message (JPEG, PNG, WebP or BMP). Every frame is answered with one JSON "
            "message: `frame` (its number), `dropped` (frames that newer ones overtook), `age_ms`, `observations`; or "
            '`error`. Where a key is asked for and headers cannot be sent, send `{"key": "..."}` as text first. Close '
            "codes: `1008` without the key or from another site, `1013` where too many streams are open."
        ),
        "responses": {"101": {"description": "Switching protocols", **_answer("StreamAnswer")}},
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
        # Whether a key is asked for is the server's choice.
        "security": [{}, {"bearer": []}, {"header": []}],
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def page() -> str:
    """The document for people."""
    rows = []
    for path, methods in document()["paths"].items():
        for method, call in methods.items():
            answers = "".join(
                f"<li><b>{status}</b> {_marked(answer['description'])}</li>"
                for status, answer in call["responses"].items()
            )
            text = _marked(call.get("description", ""))
            title = f"<h2><code>{method.upper()} {path}</code></h2><p>{_marked(call['summary'])}</p>"
            rows.append(f"{title}<p>{text}</p><ul>{answers}</ul>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>dfer-edge API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/page.css">'
        '<main class="text"><h1>dfer-edge API</h1>'
        f'<p><a href="/openapi.json">openapi.json</a></p>{"".join(rows)}</main>'
        "</html>"
    )


def _marked(text: str) -> str:
    """As HTML, with ``code`` where backticks are."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text, quote=False))


def _answer(schema: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": _of(schema)}}}


def _window() -> dict[str, Any]:
    schema = {"type": "number", "minimum": 0.01, "default": 4}
    return {"name": "window", "in": "query", "description": "Seconds of a window", "schema": schema}


def _json(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": {"type": "object"}}}}
