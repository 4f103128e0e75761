"""`make docs`: write the pages generated from the code; a test fails if one is outdated."""

import importlib
from collections.abc import Callable
from pathlib import Path

from contract.quantities import CORE_SET, DEFAULT_SET, QUANTITIES, Quantity
from service.settings import Settings, shown

ROOT = Path(__file__).parent.parent
SERVICES = ("broker", "gateway_bridge", "recorder", "web")
EVERY_PART = "every part"


def settings_of(service: str) -> type[Settings]:
    """Return the settings class that a service defines in its own `settings.py`."""
    module = importlib.import_module(f"{service}.settings")
    [found] = [
        thing
        for thing in vars(module).values()
        if isinstance(thing, type)
        and issubclass(thing, Settings)
        and thing.__module__ == module.__name__
    ]
    return found


def grouped_settings() -> dict[str, list[tuple[str, str, str]]]:
    """Return (name, default, meaning) of each setting, grouped by the services that read it."""
    readers: dict[str, list[str]] = {}
    rows: dict[str, tuple[str, str, str]] = {}
    for service in SERVICES:
        for name, field in settings_of(service).model_fields.items():
            readers.setdefault(name, []).append(service)
            default = shown(field.get_default(call_default_factory=True))
            rows.setdefault(name, (name.upper(), default, str(field.description)))
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for name, services in readers.items():
        group = EVERY_PART if name in Settings.model_fields else ", ".join(services)
        groups.setdefault(group, []).append(rows[name])
    return groups


def quantities_page() -> str:
    """Return docs/quantities.md."""
    lines = [
        "# Quantities",
        "",
        "Written by `make docs` from `contract/quantities.py`. A name is the last part of a topic,",
        "the key in a reading, the column in the database and the field in the REST interface.",
        "Counters only grow; a value outside its range is rejected. Set: the names `core` and",
        "`default` of the setting `QUANTITIES`; `all` is every row.",
        "",
        "| name | label | unit | sort | range | set |",
        "|---|---|---|---|---|---|",
        *(_quantity_row(quantity) for quantity in QUANTITIES),
    ]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Return docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Written by `make docs` from the settings classes. A setting is read from the environment",
        "or from a file `.env` in the directory where Meterflow is started; the environment",
        "overrides the file. Other names in that file are ignored; a name that looks misspelt is",
        "logged. `meterflow VERB --help` lists the settings of one part.",
    ]
    for group, rows in grouped_settings().items():
        lines += ["", f"## Read by {group}", "", "| name | default | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | {_code(default)} | {meaning} |" for name, default, meaning in rows]
    return "\n".join(lines) + "\n"


def env_example() -> str:
    """Return .env.example: every setting, commented out, with its default."""
    lines = [
        "# Settings of Meterflow. Copy this file to .env and remove the # before what you change."
    ]
    for group, rows in grouped_settings().items():
        lines += ["", f"# --- read by {group} ---"]
        for name, default, meaning in rows:
            lines += [f"# {meaning}", f"#{name}={'' if default == '-' else default}"]
    return "\n".join(lines) + "\n"


def _quantity_row(quantity: Quantity) -> str:
    kind = quantity.kind
    name = quantity.name
    chosen = "core" if name in CORE_SET else "default" if name in DEFAULT_SET else ""
    sort = "counter" if kind.counter else "gauge"
    span = f"{kind.lowest:g} … {kind.highest:g}"
    return f"| `{name}` | {quantity.label} | {kind.unit} | {sort} | {span} | {chosen} |"


def _code(default: str) -> str:
    return "" if default == "-" else f"`{default}`"


PAGES: dict[str, Callable[[], str]] = {
    "docs/quantities.md": quantities_page,
    "docs/settings.md": settings_page,
    ".env.example": env_example,
}


def main() -> None:
    """Write every page."""
    for path, page in PAGES.items():
        (ROOT / path).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
