"""Commands for the history: its state, files, meters, prices, statements and corrections."""

from service.cli import Command

COMMANDS = {
    "status": Command("recorder.commands.status", "show what the history holds, and its size"),
    "export": Command("recorder.commands.export", "write readings to a CSV or Parquet file"),
    "import": Command(
        "recorder.commands.importing",
        "read such files, the files of older loggers, or Home Assistant's statistics",
    ),
    "backup": Command("recorder.commands.backup", "copy the history while it is in use"),
    "check": Command("recorder.commands.check", "check the file and its roll-ups, and list gaps"),
    "meter": Command("recorder.commands.meter", "set the role, parent, name and bill of a meter"),
    "prices": Command("recorder.commands.prices", "import, export or list dynamic prices"),
    "reading": Command(
        "recorder.commands.reading", "enter a reading of the utility's meter, and compare"
    ),
    "statement": Command(
        "recorder.commands.statement", "show what meters counted in a period, and what it costs"
    ),
    "void": Command("recorder.commands.void", "take readings out of every sum, or bring them back"),
    "replace-meter": Command(
        "recorder.commands.replace_meter", "record that a meter was replaced by another"
    ),
}
