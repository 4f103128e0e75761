"""Which recorder of a group does what one of them does for all: ask for what is missing, upkeep."""

import contextlib
import logging
import time

from history.errors import StorageError
from history.leases import Lease
from recorder.storage import Storage

logger = logging.getLogger(__name__)

BEAT_S = 2.0
TAKEN_OVER_S = 8.0
"""A recorder on duty that gives no sign for so long is taken to be gone."""


class Duty:
    """Tells whether this recorder is on duty; without a group it always is. For one thread only."""

    def __init__(self, storage: Storage, group: str | None, name: str) -> None:
        self._storage = storage
        self._group = group
        self._name = name
        self._seen = Lease("", -1)
        self._seen_since_s = 0.0
        self._due_s = 0.0
        self._mine = False

    def mine(self) -> bool:
        """Tell whether we are on duty, taking it over where nobody is."""
        if not self._group:
            return True
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + BEAT_S
            before, self._mine = self._mine, False
            with contextlib.suppress(StorageError):
                self._mine = self._look(self._group)
            if self._mine and not before:
                logger.info("group %s: %s is on duty", self._group, self._name)
        return self._mine

    def leave(self) -> None:
        """Let another recorder of the group take over at once."""
        if self._group and self._mine:
            self._mine = False
            with contextlib.suppress(StorageError):
                self._storage.acquire_lease(self._group, "", self._seen)

    def _look(self, group: str) -> bool:
        now_s = time.monotonic()
        seen = self._storage.lease(group)
        if seen != self._seen:
            self._seen, self._seen_since_s = seen, now_s
        nobody = not seen.holder or now_s - self._seen_since_s >= TAKEN_OVER_S
        if seen.holder != self._name and not nobody:
            return False
        taken = self._storage.acquire_lease(group, self._name, seen)
        self._seen = taken or self._seen
        return taken is not None
