"""Reverse proxies: only those of TRUSTED_PROXIES may say whose request they forward."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

Network = IPv4Network | IPv6Network
FORWARDED = frozenset({"HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA"})
"""Headers by which a proxy shows that it forwards a request."""

_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class TrustedProxies:
    """Replaces the address of a trusted proxy by that of its client, and takes scheme and prefix.

    The host name stays the one of the header Host, which a browser's page cannot set.
    """

    def __init__(self, inner: Any, networks: Iterable[Network]) -> None:
        self._inner = inner
        self._networks = tuple(networks)
        self._fixed = ProxyFix(self._without_forwarded, x_host=0, x_prefix=1)
        self._is_trusted = lru_cache(1000)(self._is_in_networks)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Pass a request on, with the address of its client."""
        if not self._is_trusted(environ.get("REMOTE_ADDR", "")):
            return self._inner(environ, start_response)
        if not address(environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2]):
            # The client is unknown. It must not pass for a program on the proxy's machine.
            environ["REMOTE_ADDR"] = environ["HTTP_X_FORWARDED_FOR"] = ""
        if not _PREFIX.fullmatch(environ.get("HTTP_X_FORWARDED_PREFIX", "")):
            environ.pop("HTTP_X_FORWARDED_PREFIX", None)
        return self._fixed(environ, start_response)

    def _is_in_networks(self, text: str) -> bool:
        found = address(text)
        return found is not None and any(found in network for network in self._networks)

    def _without_forwarded(self, environ: dict[str, Any], start_response: Any) -> Any:
        for name in FORWARDED:
            environ.pop(name, None)
        return self._inner(environ, start_response)


@lru_cache(1000)
def is_local(text: str) -> bool:
    """Return whether an address is one of this machine alone."""
    found = address(text)
    return found is not None and found.is_loopback


def was_forwarded(environ: dict[str, Any]) -> bool:
    """Return whether a proxy that is not trusted sent a request."""
    return not FORWARDED.isdisjoint(environ)


def address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in a text, an IPv4 address also where IPv6 wraps it."""
    try:
        found = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
