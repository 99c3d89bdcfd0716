"""A server for recognition over HTTP and WebSocket, with a page to watch: ``dfer-edge serve``.

Nothing is written to disk. Needs ``pip install "dfer-edge[serve]"``.
"""

from __future__ import annotations

from dfer_edge.serve.config import Config

__all__ = ["Config"]
