"""The benchmarks: each can fail, and each has its figures in the documentation."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figures import Verdict
from tests.support.parts import ROOT

PROGRAMS = sorted((ROOT / "benchmarks").glob("*.py"))
PAGES = [ROOT / "docs" / name for name in ("benchmarks.md", "history.md", "reliability.md")]
each_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)


@pytest.mark.parametrize(("ok", "code"), [((True, True), 0), ((True, False), 1)])
def test_a_figure_that_misses_its_target_is_an_exit_code(ok: tuple[bool, ...], code: int) -> None:
    verdict = Verdict()
    for each in ok:
        verdict.figure("a figure", "1", "2", "<= 1", ok=each)

    with pytest.raises(SystemExit) as ended:
        verdict.end()

    assert ended.value.code == code


@each_program
def test_a_program_ends_with_its_verdict(program: Path) -> None:
    """The last statement of the program, or of the function that it calls last, is `….end()`."""
    tree = ast.parse(program.read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    last = tree.body[-1]
    assert isinstance(last, ast.If), "should end with `if __name__ == ...`"
    assert ast.unparse(last.test) == "__name__ == '__main__'"

    while True:
        statement = last.body[-1]
        assert isinstance(statement, ast.Expr)
        call = statement.value
        assert isinstance(call, ast.Call)
        if isinstance(call.func, ast.Name) and call.func.id in functions:
            last = functions[call.func.id]  # type: ignore[assignment]
            continue
        break

    assert isinstance(call.func, ast.Attribute)
    assert call.func.attr == "end"


SHOW_HELP = """
import contextlib, io, json, runpy, sys
shown = {}
for program in sys.argv[1:]:
    sys.argv = [program, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.suppress(SystemExit):
        runpy.run_path(program, run_name="__main__")
    shown[program] = output.getvalue()
print(json.dumps(shown))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """What each program answers to --help: all in one process, for they import the same."""
    shown = subprocess.run(
        [sys.executable, "-c", SHOW_HELP, *PROGRAMS],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, str] = json.loads(shown.stdout)
    return found


@each_program
def test_a_program_explains_itself(program: Path, helps: dict[str, str]) -> None:
    assert helps[str(program)].startswith("usage: ")


@each_program
def test_the_figures_of_a_program_are_documented(program: Path) -> None:
    assert any(f"{program.stem}" in page.read_text() for page in PAGES)
