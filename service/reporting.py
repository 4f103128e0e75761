"""Reporting to the log: one line per change, none per attempt."""

import logging
import time
from collections.abc import Hashable


class Reporter:
    """Logs when the trouble of one subject begins, changes and ends.

    A line reads "subject: trouble; advice", and "subject: works again after 12 s" at the end.
    """

    def __init__(
        self,
        logger: logging.Logger,
        subject: str,
        *,
        advice: str = "",
        level: int = logging.WARNING,
    ) -> None:
        self._logger, self._level = logger, level
        self._subject = subject
        self._advice = f"; {advice}" if advice else ""
        self._since_s = 0.0
        self.trouble: str | None = None
        """What is wrong now; None where nothing is."""

    def failed(self, trouble: str) -> bool:
        """Log trouble that differs from the last; return whether it does."""
        if trouble == self.trouble:
            return False
        if self.trouble is None:
            self._since_s = time.monotonic()
        self.trouble = trouble
        self._logger.log(self._level, "%s: %s%s", self._subject, trouble, self._advice)
        return True

    def works(self, result: str = "works again", detail: str = "") -> bool:
        """Log the end of trouble; return whether there was any."""
        if self.trouble is None:
            return False
        self.trouble = None
        lasted_s = time.monotonic() - self._since_s
        self._logger.info("%s: %s after %.0f s%s", self._subject, result, lasted_s, detail)
        return True


class OncePerKey:
    """Remembers for which keys a line was logged; beyond `most` keys nothing more is logged."""

    def __init__(self, most: int = 1000) -> None:
        self._keys: set[Hashable] = set()
        self._most = most

    def is_first(self, key: Hashable) -> bool:
        """Return whether to log now: the key is new, and there is room to remember it."""
        if key in self._keys or len(self._keys) >= self._most:
            return False
        self._keys.add(key)
        return True
