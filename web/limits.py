"""What clients may use: connections, of one address and of all, and messages.

Without these limits, one program could use up the descriptors or the memory of the service.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network

from web.proxies import Network, address

MOST_CONNECTIONS = 2000
"""Connections at once: 140 MB of memory, if all of them are live."""
MOST_PER_ADDRESS = 200
"""Connections of one address: a program may have a WebSocket for each of so many meters."""
SITE_BITS = 64


class Connections:
    """Counts connections, of all addresses and of each.

    Those of this machine and of trusted proxies have no limit of their own: a proxy connects for
    many clients, and has to limit each of them itself.
    """

    def __init__(self, most: int, trusted: Sequence[Network] = ()) -> None:
        self._most = most
        self._trusted = trusted
        self._counts: Counter[str] = Counter()
        self._count = 0

    def admit(self, peer: str) -> str | None:
        """Count a new connection; return why there is no room for it, or None where there is."""
        source = self._source(peer)
        if self._count >= self._most:
            return f"{self._most} connections are open, as many as this service accepts"
        if source and self._counts[source] >= MOST_PER_ADDRESS:
            return f"{MOST_PER_ADDRESS} connections from {source} are open, the most of one address"
        self._count += 1
        if source:
            self._counts[source] += 1
        return None

    def release(self, peer: str) -> None:
        """Remove a connection that has ended."""
        source = self._source(peer)
        self._count -= 1
        if source:
            self._counts[source] -= 1
            if not self._counts[source]:
                del self._counts[source]

    def _source(self, peer: str) -> str | None:
        host = address(peer) if self._trusted else None
        if host and any(host in each for each in self._trusted):
            return None
        return source_of(peer)


@lru_cache(maxsize=10_000)
def source_of(peer: str) -> str | None:
    """Return what has a limit: an IPv4 address, an IPv6 network of a site; None for this machine.

    A host has as many IPv6 addresses as it likes.
    """
    host = address(peer)
    if host is None or host.is_loopback:
        return None
    if isinstance(host, IPv6Address):
        return str(IPv6Network((host, SITE_BITS), strict=False))
    return str(host)


class Budget:
    """How many messages a client may send: a burst, and then a number per second."""

    __slots__ = ("_at_s", "_burst", "_left", "_per_s")

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._left, self._at_s = burst, 0.0

    def spend(self, now_s: float) -> bool:
        """Return whether the client may send one more message."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        self._left -= 1
        return self._left >= 0
