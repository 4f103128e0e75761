"""Escaping of characters that would control a log or a terminal instead of being shown.

A topic, a client id or the answer of a meter is the text of others. With a line break in it, it
could add lines to a log; with an escape sequence it could clear a terminal or change its title; a
mark of direction lets one word look like another.
"""

import re

_CONTROLS = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u2028\u2029"  # line and paragraph separators
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of writing
    "\ud800-\udfff"  # halves of a character, which no encoding can write
    "]"
)


def escaped(text: str) -> str:
    r"""Return text in one line: each control character as its escape sequence, such as \n."""
    return _CONTROLS.sub(_escape, text)


def escaped_lines(text: str) -> str:
    """Return text with its line breaks kept and all other control characters escaped."""
    return "\n".join(map(escaped, text.split("\n")))


def escaped_json(text: str) -> str:
    """Return JSON with its line breaks kept and all other control characters as JSON escapes."""
    return "\n".join(_CONTROLS.sub(_json_escape, line) for line in text.split("\n"))


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
