"""`python -m recorder`: keep every reading that passes on the bus.

With a command (status, export, import, backup, check, replace-meter) it helps the person who looks
after the history instead, and ends.
"""

import difflib
import gc
import importlib
import sys
from collections.abc import Sequence

from recorder.recorder import Recorder
from recorder.settings import RecorderSettings
from recorder.storage import Storage
from service.errors import SettingsError
from service.lifecycle import leave, run_service, stop_event

COMMANDS = {
    "status": ("status", "what the history holds, how large it is and will be"),
    "export": ("export", "readings into a CSV or Parquet file"),
    "import": ("importing", "readings from such files, older loggers, Home Assistant"),
    "backup": ("backup", "a copy of the history, while it is being written"),
    "check": ("check", "whether the file and its roll-ups are sound, and what is missing"),
    "replace-meter": ("replace_meter", "enter that another meter was put in"),
}
INTERRUPTED = 130
_PURPOSE = "\n".join([
    "Keep every reading that passes on the bus.",
    "",
    "commands for the person who looks after the history, each with its own --help:",
    *(f"  {name:<14} {meaning}" for name, (_, meaning) in COMMANDS.items()),
])  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Record until stopped, or run one command."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and not words[0].startswith("-"):
        leave("recorder", lambda: _command(words[0], words[1:]))
    run_service("recorder", _PURPOSE, RecorderSettings, run, words)


def run(settings: RecorderSettings) -> None:
    """Record until stopped. Raises StorageError where a person must mend the database first."""
    stop = stop_event()
    # Each reading is a dozen objects that live until the commit and refer to nothing in circles:
    # to look through them again and again takes a tenth of the time.
    gc.set_threshold(50_000)
    # The database lets go of the interpreter at each row; to get it back takes so long at most, and
    # with a busy MQTT thread nearly always. Fewer turns are a tenth more readings a second.
    sys.setswitchinterval(0.05)
    storage = Storage(settings.database_url, settings.keep, settings.archive())
    if storage.open(stop):
        Recorder(settings, storage).run(stop)
    storage.close()


def _command(name: str, arguments: Sequence[str]) -> None:
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(COMMANDS)}"
        raise SettingsError(f"there is no command {name!r}{hint}")
    # By name: the recorder itself needs nothing of what the commands import.
    command = importlib.import_module(f"recorder.commands.{COMMANDS[name][0]}")
    try:
        sys.exit(command.main(arguments))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
