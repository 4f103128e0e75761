"""`meterflow recorder`: store every reading that is published over MQTT.

With a command (status, export, import, backup, check, meter, void, replace-meter) it runs that
command instead.
"""

import gc
import sys
from collections.abc import Sequence

from recorder.commands import COMMANDS
from recorder.recorder import Recorder
from recorder.settings import RecorderSettings
from recorder.storage import Storage
from service.cli import run_program
from service.lifecycle import stop_event

PURPOSE = "Store every reading that is published over MQTT."


def main(arguments: Sequence[str] | None = None) -> None:
    """Record until stopped, or run one command."""
    run_program("recorder", PURPOSE, RecorderSettings, run, COMMANDS, arguments)


def run(settings: RecorderSettings) -> None:
    """Record until stopped. Raises StorageError where a person must fix the database first."""
    stop = stop_event()
    # Each reading is a dozen objects that live until the commit and form no cycles: frequent
    # garbage collection takes a tenth of the time.
    gc.set_threshold(50_000)
    # The database releases the interpreter at each row, and waits this long to get it back while
    # the MQTT thread is busy. Fewer switches give a tenth more readings a second.
    sys.setswitchinterval(0.05)
    storage = Storage(settings.database_url, settings.keep, settings.archive())
    if storage.open(stop):
        Recorder(settings, storage).run(stop)
    storage.close()


if __name__ == "__main__":
    main()
