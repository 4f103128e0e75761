"""The arrows between the rooms, read from the imports, and what installs them."""

import ast
import importlib.util
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterflow.verbs import VERBS
from tests.conftest import LONGEST, TESTS
from tests.support.parts import ROOT

SERVICES = {"broker", "gateway_bridge", "recorder", "simulator", "web"}
ROOMS = SERVICES | {"contract", "history", "meterflow", "service"}
STDLIB_ONLY = ("contract/quantities.py", "contract/topics.py")

ALLOWED = {
    "contract": {"contract"},
    "service": {"service", "contract"},
    "history": {"history", "service", "contract"},
    "broker": {"broker", "service", "contract"},
    "gateway_bridge": {"gateway_bridge", "service", "contract"},
    "simulator": {"simulator", "gateway_bridge", "service", "contract"},
    "recorder": {"recorder", "history", "service", "contract"},
    "web": {"web", "history", "service", "contract"},
    "meterflow": {"meterflow", "service", "contract", "broker", "gateway_bridge", "web"},
}


def sources(room: str) -> Iterator[Path]:
    return (ROOT / room).rglob("*.py")


def imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            names.add(f"{node.module}")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_along_the_arrows(room: str) -> None:
    known = ROOMS | {"tests"}

    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(room)
        for name in (packages(path) & known) - ALLOWED[room]
    }

    assert not wrong


@pytest.mark.parametrize("module", STDLIB_ONLY)
def test_the_tables_of_the_contract_need_only_the_standard_library(module: str) -> None:
    assert packages(ROOT / module) <= sys.stdlib_module_names


def test_the_launcher_knows_of_the_programs_only_their_settings() -> None:
    names = {name for path in sources("meterflow") for name in imports(path)}

    assert {name for name in names if name.partition(".")[0] in SERVICES} <= {
        "broker.settings",
        "broker.settings.BrokerSettings",
        "gateway_bridge.settings",
        "gateway_bridge.settings.UnitIds",
        "web.settings",
        "web.settings.WebSettings",
        "web.settings.check_exposure",
    }


def test_nothing_imports_the_launcher() -> None:
    assert [room for room in sorted(ROOMS - {"meterflow"}) if "meterflow" in ALLOWED[room]] == []


def test_the_shared_rooms_import_no_service_and_the_contract_nothing() -> None:
    assert ALLOWED["contract"] == {"contract"}
    assert not (ALLOWED["service"] | ALLOWED["history"]) & (SERVICES | {"meterflow"})
    assert "history" not in ALLOWED["service"]


def test_the_launcher_starts_every_service_by_the_name_of_a_module_that_exists() -> None:
    modules = {verb.module for verb in VERBS.values()}

    assert all(importlib.util.find_spec(module) for module in modules)
    assert {module.partition(".")[0] for module in modules} == SERVICES | {"meterflow"}


def test_every_room_is_installed_and_type_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    included = project["setuptools"]["packages"]["find"]["include"]

    assert {f"{room}*" for room in ROOMS} == set(included)
    assert set(project["mypy"]["packages"]) == ROOMS


def test_tests_mirror_the_rooms() -> None:
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}

    assert folders == ROOMS | {"support", "system"}


def test_the_files_of_tests_that_begin_exist() -> None:
    assert [name for name in LONGEST if not (TESTS / name).is_file()] == []


def test_the_simulator_knows_of_the_bridge_only_the_register_tables() -> None:
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources("simulator")
        for name in imports(path)
        if name.startswith("gateway_bridge.") and not name.startswith("gateway_bridge.models")
    }

    assert not wrong


def test_no_module_has_a_name_without_meaning() -> None:
    banned = {"utils", "helpers", "common", "misc", "manager", "handler", "processor", "tmp"}

    named = {path.stem for room in ROOMS for path in sources(room)}

    assert not named & banned
