"""What differs between SQLite and PostgreSQL, and where."""

import ast
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import peewee
import pytest

from history.database import open_database
from history.dialect import dialect_of, run
from service.errors import SettingsError
from tests.support.parts import ROOT
from tests.support.postgresql import BOTH, GUARDED, on_sqlite

# -- opening -----------------------------------------------------------------------------------


def test_a_password_with_any_characters_opens_the_database(postgresql: str) -> None:
    password = "p@s/w:?#% ö"
    with closing(open_database(postgresql)) as server:
        server.execute_sql(f"DROP ROLE IF EXISTS {GUARDED}")
        server.execute_sql(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{password.replace('%', '%%')}'")
    encoded = quote(password, safe="")
    in_front = postgresql.replace("tests@", f"{GUARDED}:{encoded}@")
    in_query = f"{postgresql.replace('tests@', '')}?user={GUARDED}&password={encoded}"
    for url in (in_front, in_query):
        with closing(open_database(url)) as database:
            assert database.connect()


@pytest.mark.parametrize("password", ["p/w", "p?w", "p#w", "p[w", "12/w", "p@/w?"])
def test_a_password_that_breaks_its_url_is_reported_without_it(password: str) -> None:
    with pytest.raises(SettingsError, match="write @ as %40, / as %2F") as caught:
        open_database(f"postgresql://me:{password}@host/meters")

    assert password.partition("w")[0] not in str(caught.value)
    assert caught.value.__cause__ is None


# -- one place for what differs ----------------------------------------------------------------

SCRIPT = re.compile(r"\d{4}_\w+\.py")
KINDS = re.compile(
    r"SqliteDatabase|PostgresqlDatabase|['\"](sqlite|postgresql)['\"]|\bPRAGMA (?!table_info)"
)


def test_one_module_distinguishes_kinds_of_databases() -> None:
    modules = [
        path
        for room in ("history", "recorder", "web")
        for path in (ROOT / room).rglob("*.py")
        if path != ROOT / "history/dialect.py" and not SCRIPT.fullmatch(path.name)
    ]

    assert len(modules) > 50
    assert [path for path in modules if KINDS.search(path.read_text())] == []
    assert [path for path in modules if "database" in checked_types(path)] == []


def checked_types(path: Path) -> str:
    """Return the arguments of all calls of `isinstance` in a module."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    checks = [call for call in calls if ast.unparse(call.func) == "isinstance"]
    return " ".join(ast.unparse(argument) for call in checks for argument in call.args).lower()


@pytest.mark.parametrize("database", BOTH, indirect=True)
def test_both_kinds_answer_the_same_questions(database: peewee.Database) -> None:
    dialect = dialect_of(database)
    taken, free = dialect.size()

    assert taken > 10_000
    assert 0 <= free < taken
    assert dialect.file_errors() == []
    assert list(dialect.give_back()) == []
    dialect.optimize()


@on_sqlite
def test_a_copy_is_a_whole_database(database: peewee.Database, tmp_path: Path) -> None:
    run(
        database,
        "INSERT INTO rejected_messages (ts, topic, reason, detail, payload) "
        "VALUES (0, '', '', '', 'kept')",
    )
    with closing(open_database(f"sqlite:///{tmp_path}/energy_meters.db", read_only=True)) as reader:
        dialect_of(reader).copy_to(tmp_path / "copy.db")

    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT payload FROM rejected_messages").fetchall() == [("kept",)]
