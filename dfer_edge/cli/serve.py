"""``dfer-edge serve``: recognition over HTTP and WebSocket, and a page to watch."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from typing import Any

from dfer_edge.cli.arguments import positive
from dfer_edge.cli.predict import add_output_arguments, add_recognizer_arguments, make_recognizer
from dfer_edge.errors import EngineUnavailable, InvalidInput
from dfer_edge.system import settings

_NEEDED = ("starlette", "uvicorn", "websockets", "prometheus_client", "multipart")
# Seconds that open streams get to end before they are cut.
_GOODBYE_S = 3


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    parser = commands.add_parser("serve", parents=[common], help="a server and a page to watch", description=__doc__)
    add_recognizer_arguments(parser)
    add_output_arguments(parser)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="others need an API key (default: %(default)s)")
    add("--port", type=positive, default=8000, help="default: %(default)s")
    add("--api-key", metavar="KEY", help="what callers must send (default: DFER_EDGE_API_KEY)")
    add("--max-mb", type=positive, default=64, metavar="MB", help="largest body (default: %(default)s)")
    add("--max-clients", type=positive, default=64, metavar="N", help="streams at once (default: %(default)s)")
    add("--per-minute", type=positive, default=600, metavar="N", help="requests of one address (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until stopped."""
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise EngineUnavailable(f"a server needs {', '.join(missing)}", 'pip install "dfer-edge[serve]"')
    import uvicorn

    from dfer_edge.serve import Config
    from dfer_edge.serve.app import create_app

    config = Config(
        host=arguments.host,
        port=arguments.port,
        api_key=arguments.api_key or settings.api_key(),
        max_mb=arguments.max_mb,
        max_clients=arguments.max_clients,
        per_minute=arguments.per_minute,
    )
    if arguments.port > 65535:
        raise InvalidInput(f"expected a port up to 65535, got {arguments.port}")
    app = create_app(make_recognizer(arguments), config)
    print(f"dfer-edge: http://{config.host}:{config.port}", file=sys.stderr, flush=True)
    uvicorn.run(
        app,
        host=config.host,
        port=config.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=config.max_frame_bytes + 1024,
        ws_max_queue=4,
        timeout_graceful_shutdown=_GOODBYE_S,
    )
    return 0
