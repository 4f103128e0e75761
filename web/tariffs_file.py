"""The tariffs of TARIFFS_FILE, read again when the file has changed."""

import logging
from pathlib import Path

from history.tariffs import Tariffs
from service.errors import SettingsError
from service.files import stamp_of
from service.reporting import Reporter

logger = logging.getLogger(__name__)


class TariffsFile:
    """The tariffs file, which may appear and change while the service runs."""

    def __init__(self, path: Path, *, is_required: bool) -> None:
        """Read the file. Raises SettingsError where it is invalid, or required and absent."""
        self._path, self._name = path, str(path)
        self._reporter = Reporter(
            logger, f"tariff file {path}", advice="keeping the tariffs read before"
        )
        self._stamp = stamp_of(self._name)
        self._tariffs = Tariffs.load(path) if is_required or self._stamp else None

    @property
    def trouble(self) -> str | None:
        """What is wrong with the file, so that the tariffs read before apply; None: nothing."""
        self.tariffs()
        return self._reporter.trouble

    def tariffs(self) -> Tariffs | None:
        """Return the tariffs of now, None before there is a file.

        An invalid file or none after a valid one changes nothing: a bill is not left without
        prices while a person writes.
        """
        stamp = stamp_of(self._name)
        if stamp != self._stamp:
            self._stamp = stamp
            self._read_again()
        return self._tariffs

    def _read_again(self) -> None:
        if self._stamp is None:
            self._reporter.failed("does not exist any more")
            return
        try:
            self._tariffs = Tariffs.load(self._path)
        except SettingsError as error:
            self._reporter.failed(str(error).partition(": ")[2])
            return
        if not self._reporter.works("is valid again"):
            logger.info("tariff file %s: read, %s", self._path, ", ".join(self._tariffs.named))
