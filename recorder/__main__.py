"""The recorder: `python -m recorder`."""

from contract.service import run_service, stop_event
from recorder.recorder import Recorder
from recorder.settings import RecorderSettings
from recorder.storage import Storage


def main() -> None:
    """Keep every reading that passes on the bus."""
    run_service("recorder", "Keep every reading that passes on the bus.", RecorderSettings, run)


def run(settings: RecorderSettings) -> None:
    """Record until stopped. Raises StorageError where a person must mend the database first."""
    stop = stop_event()
    storage = Storage(settings.database_url, settings.keep, settings.archive())
    if storage.open(stop):
        Recorder(settings, storage).run(stop)
    storage.close()


if __name__ == "__main__":
    main()
