"""Redaction of passwords, tokens and the secrets of client ids: `***` in their place."""

import re

_SECRET = r"[?&][\w.-]*(?:password|passwd|secret|token|api_?key)="
_USER_INFO = re.compile(r"(?<=://)([^:\s]*):\S*@")
_WHOLE_USER_INFO = re.compile(r"(?<=://)([^:]*):.*@", re.DOTALL)
_PARAMETER = re.compile(rf"({_SECRET})[^&\s]+", re.IGNORECASE)
_CLIENT_ID = re.compile(r"\b(meters-[\w-]+-)[0-9a-f]{24}\b")
_WHOLE_PARAMETER = re.compile(rf"({_SECRET})[^&]+", re.IGNORECASE)


def redacted_url(url: str) -> str:
    """Return a URL without its passwords, whatever characters they contain."""
    return _WHOLE_PARAMETER.sub(r"\1***", _WHOLE_USER_INFO.sub(r"\1:***@", url))


def redacted(text: str) -> str:
    """Return text without the passwords and tokens of the URLs in it, and secrets of client ids.

    A blank ends a URL here: one whose password may contain blanks needs `redacted_url`.
    """
    text = _CLIENT_ID.sub(r"\1***", text)
    return _PARAMETER.sub(r"\1***", _USER_INFO.sub(r"\1:***@", text))
