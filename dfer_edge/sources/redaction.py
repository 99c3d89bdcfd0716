"""Addresses without their passwords: for messages, logs, names and observations."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/?#\s]*@")
_SECRETS = re.compile(r"(?i)(?<=[?&;])((?:[\w.-]*(?:pass|pwd|token|key|secret|auth|sig|user|login)[\w.-]*)=)[^&;\s#]*")
# Properties of GStreamer's elements: rtspsrc user-id=admin user-pw="secret".
_PROPERTIES = re.compile(r"(?i)\b((?:user-id|user-pw|proxy-id|proxy-pw|password|passphrase)\s*=\s*)(\"[^\"]*\"|\S+)")


def redacted(text: object) -> str:
    """``text`` with user names, passwords and tokens of addresses and pipelines replaced by ``***``."""
    without = _USER.sub("***@", str(text))
    return _PROPERTIES.sub(r"\1***", _SECRETS.sub(r"\1***", without))
