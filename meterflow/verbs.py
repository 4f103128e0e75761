"""The verbs of `meterflow`, grouped by what a person wants to do.

A verb names its program as text, so that help and completion import none of them.
"""

from typing import NamedTuple


class Verb(NamedTuple):
    """What a verb runs: `main` of a module, with arguments before those of the person."""

    module: str
    purpose: str
    arguments: tuple[str, ...] = ()


def _bridge_command(name: str, purpose: str) -> Verb:
    return Verb("gateway_bridge.__main__", purpose, (name,))


def _recorder_command(name: str, purpose: str) -> Verb:
    return Verb("recorder.__main__", purpose, (name,))


GROUPS = {
    "Start Meterflow": {
        "run": Verb("meterflow.run", "start all parts on this machine"),
        "bridge": Verb("gateway_bridge.__main__", "poll the meters and publish their readings"),
        "recorder": Verb("recorder.__main__", "store every reading in the history"),
        "web": Verb("web.__main__", "serve the dashboard, REST and WebSocket"),
        "broker": Verb("broker.__main__", "start an MQTT broker; add-user NAME adds a user to it"),
        "simulator": Verb("simulator.__main__", "simulate meters behind a gateway, with faults"),
    },
    "Find meters and faults": {
        "scan": _bridge_command("scan", "find the meters on a line"),
        "read": _bridge_command("read", "read one meter and show its values"),
        "plan": _bridge_command(
            "plan", "show the requests, their time, and whether the interval can be kept"
        ),
        "doctor": _bridge_command(
            "doctor", "find what is wrong between here and the meters, and how to fix it"
        ),
    },
    "Look after the history": {
        "status": _recorder_command("status", "show what the history holds, and its size"),
        "export": _recorder_command("export", "write readings to a CSV or Parquet file"),
        "import": _recorder_command(
            "import", "read such files, the files of older loggers, or Home Assistant's statistics"
        ),
        "backup": _recorder_command("backup", "copy the history while it is in use"),
        "check": _recorder_command("check", "check the file and its roll-ups, and list gaps"),
        "meter": _recorder_command("meter", "set the role, parent, name and bill of a meter"),
        "prices": _recorder_command("prices", "import, export or list dynamic prices"),
        "reading": _recorder_command(
            "reading", "enter a reading of the utility's meter, and compare"
        ),
        "statement": _recorder_command(
            "statement", "show what meters counted in a period, and what it costs"
        ),
        "void": _recorder_command("void", "take readings out of every sum, or bring them back"),
        "replace-meter": _recorder_command(
            "replace-meter", "record that a meter was replaced by another"
        ),
    },
    "Set up the shell": {
        "completion": Verb("meterflow.completion", "let bash, zsh or fish complete verbs"),
    },
}
VERBS = {name: verb for group in GROUPS.values() for name, verb in group.items()}
