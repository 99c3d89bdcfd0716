"""Docstrings for the site: roles such as ``:func:`dfer_edge.list_models` `` become code."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:mod|func|class|meth|attr|data|exc|obj):`(?P<short>~?)(?P<path>[^`]+)`")


class Roles(griffe.Extension):
    """Rewrites the docstring of every object that is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called once an object is there with all its members."""
        if obj.docstring is not None:
            # ``[K][K]`` is a shape, not a link.
            obj.docstring.value = _ROLE.sub(_code, obj.docstring.value).replace("][", "]\\[")


def _code(match: re.Match[str]) -> str:
    path = match["path"]
    return f"`{path.rsplit('.', 1)[-1] if match['short'] else path}`"
