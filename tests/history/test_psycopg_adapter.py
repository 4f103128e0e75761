"""The driver of PostgreSQL costs no memory where the history is a file."""

import subprocess
import sys

import pytest

from tests.support.parts import ROOT

LOADED = "import sys, {}; print('psycopg' in sys.modules)"


def is_loaded_by(module: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(module)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout == "True\n"


@pytest.mark.parametrize("program", ["recorder.__main__", "web.__main__"])
def test_a_program_is_loaded_without_psycopg(program: str) -> None:
    assert not is_loaded_by(program)


def test_peewee_itself_still_imports_psycopg() -> None:
    """Fails when `history/__init__.py` need not keep it from that."""
    assert is_loaded_by("peewee")
