"""Attempts to log in: those that fail slow down the address that they come from."""

from collections import OrderedDict
from ipaddress import IPv6Address, IPv6Network
from typing import NamedTuple

from web.proxies import address

FREE = 5
"""Failed attempts before the first wait, of 1 s; each further one doubles it."""
LONGEST_WAIT_S = 300.0
FORGET_S = 3600
MOST_ADDRESSES = 1000


class _Failed(NamedTuple):
    times: int
    next_s: float
    """When the next attempt is allowed."""


class Attempts:
    """The failed attempts of each address, or of each network of 64 bits where it is IPv6."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, _Failed] = OrderedDict()

    def begin(self, source: str, now_s: float) -> float:
        """Count an attempt as failed until `succeed`; return the seconds to wait, if any."""
        key = _key(source)
        before = self._failed.get(key)
        if before is None or now_s - before.next_s > FORGET_S:
            before = _Failed(0, now_s)
        if before.next_s > now_s:
            return before.next_s - now_s
        self._failed[key] = _Failed(before.times + 1, now_s + _wait_s(before.times + 1))
        self._failed.move_to_end(key)
        if len(self._failed) > MOST_ADDRESSES:
            self._failed.popitem(last=False)
        return 0.0

    def succeed(self, source: str) -> None:
        """Forget the attempts of an address."""
        self._failed.pop(_key(source), None)


def _wait_s(times: int) -> float:
    return min(2.0 ** min(times - FREE, 10), LONGEST_WAIT_S) if times >= FREE else 0.0


def _key(source: str) -> str:
    found = address(source)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, 64), strict=False))
    return str(found)
