"""Which names this service answers to, and which pages' requests it takes for its own.

A page of a stranger, open in a browser of the house, reaches this service in two ways. It sends
requests across origins: the browser says so, and they must change nothing. Or its own host name is
made to lead here (DNS rebinding): then the browser sees one origin, but the name is not ours.
"""

import re
import socket
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_.-]+))(?::\d{1,5})?", re.IGNORECASE
)


class KnownHosts:
    """The names of this service. An address needs no name: it cannot be made to lead elsewhere."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        own = socket.gethostname().lower()
        short = own.partition(".")[0]
        self._names = {"localhost", own, short, f"{short}.local", *more}
        self.knows = lru_cache(100)(self._knows)

    def _knows(self, header: str) -> bool:
        found = _HOST.fullmatch(header)
        if not found:
            return False
        name = (found["v6"] or found["name"]).lower()
        return _is_address(name) or name.removesuffix(".") in self._names


def is_older_than_host(environ: dict[str, Any]) -> bool:
    """Return whether a client of HTTP/1.0 or older sent no host name; every browser sends one."""
    return "HTTP_HOST" not in environ and environ.get("SERVER_PROTOCOL") != "HTTP/1.1"


def is_cross_origin(environ: dict[str, Any]) -> bool:
    """Return whether a page of another origin sent a request, as far as the browser says.

    Programs that are not browsers send neither header; no browser lends them its cookie.
    """
    site: str | None = environ.get("HTTP_SEC_FETCH_SITE")
    if site:
        return site not in ("same-origin", "none")
    origin: str | None = environ.get("HTTP_ORIGIN")
    return origin is not None and not is_own(origin, environ)


def is_own(origin: str, environ: dict[str, Any]) -> bool:
    """Return whether an origin is that of the service's own pages."""
    try:
        return urlsplit(origin).netloc == environ.get("HTTP_HOST")
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
