"""The documentation: true, complete, and its commands run as they are shown."""

import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from http import HTTPStatus
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from contract.quantities import BY_NAME
from history.tariffs import Tariffs
from meterflow.__main__ import main
from meterflow.verbs import VERBS
from service import __version__
from tests.support.parts import ROOT, Part, free_port, listens, require, wait_until
from tools.generate_docs import PAGES, SERVICES, settings_of
from web import create_app
from web.settings import WebSettings

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EVERYTHING = "\n".join(document.read_text() for document in DOCUMENTS)
PROGRAMS = {"curl", "mosquitto_pub", "mosquitto_sub", "sqlite3"}
METERFLOW = ".venv/bin/meterflow"


def commands() -> Iterator[tuple[str, str]]:
    """Yield document and line of each command that the documents show."""
    for document in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL):
            for line in block.splitlines():
                yield str(document.relative_to(ROOT)), line


def first_word(line: str) -> str:
    words = shlex.split(line, comments=True)
    return next((word for word in words if "=" not in word), "")


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", PAGES)
def test_a_generated_page_is_what_make_docs_would_write(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == PAGES[path](), "run: make docs"


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert versions[0] == __version__


def test_every_make_target_is_explained() -> None:
    missing = {target for target in make_targets() if f"make {target}" not in EVERYTHING}

    assert missing == set()


def test_every_setting_is_explained() -> None:
    names = {name.upper() for each in SERVICES for name in settings_of(each).model_fields}

    assert {name for name in names if f"`{name}`" not in EVERYTHING} == set()


def test_every_quantity_is_listed() -> None:
    page = (ROOT / "docs/quantities.md").read_text()

    assert {name for name in BY_NAME if f"`{name}`" not in page} == set()


PARTS_OF_PAGES = ("/static/", "/assets/", "/docs/", "/offline", "/service-worker.js")


def test_every_endpoint_is_explained() -> None:
    rules = {rule.rule for rule in create_app(WebSettings()).url_map.iter_rules()}
    parts_of_pages = {rule for rule in rules if rule.startswith(PARTS_OF_PAGES)}

    assert {rule for rule in rules - parts_of_pages if f"`{rule}`" not in EVERYTHING} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    local = [target for target in targets if not target.startswith("http")]

    assert [target for target in local if not (document.parent / target).exists()] == []


def test_each_row_about_security_names_tests_that_exist() -> None:
    page = (ROOT / "docs/security.md").read_text()
    rows = [line for line in page.splitlines() if re.match(r"\| (?!could try|---)", line)]
    named = [re.findall(r"`(tests/\S+\.py)::(\w+)`", row) for row in rows]

    assert len(rows) > 30
    assert [row for row, tests in zip(rows, named, strict=True) if not tests] == []
    assert {
        f"{file}::{test}"
        for tests in named
        for file, test in tests
        if f"\ndef {test}(" not in (ROOT / file).read_text()
    } == set()


def test_the_glossary_stays_short() -> None:
    page = (ROOT / "docs/architecture.md").read_text().partition("## Glossary")[2]

    assert 5 <= len(re.findall(r"^\| [a-z]", page, re.MULTILINE)) - 1 <= 15


def test_a_decision_has_at_most_eight_lines() -> None:
    page = (ROOT / "docs/decisions.md").read_text()
    paragraphs = re.split(r"\n(?=\d+\. )", page)[1:]

    assert [int(p.partition(".")[0]) for p in paragraphs] == list(range(1, len(paragraphs) + 1))
    assert all(len(p.strip().splitlines()) <= 8 for p in paragraphs)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Broker, recorder and web, with a reading of meter 1; what to replace in a command."""
    directory = tmp_path_factory.mktemp("site")
    mqtt, http = free_port(), free_port()
    ports = {"MQTT_PORT": mqtt, "HTTP_PORT": http}
    with ExitStack() as stack:
        for part in ("broker", "recorder", "web"):
            stack.enter_context(Part.module(part, directory=directory, **ports))
        for port in (mqtt, http):
            wait_until(lambda port=port: listens(port), what="broker and web")
        wait_until(lambda: _stores_a_reading(f"http://127.0.0.1:{http}/readings/"))
        (directory / "all.csv").write_text("ts,meter_id,power\n2026-03-01T12:00:00Z,1,5\n")
        (directory / "day-ahead.csv").write_text(
            "from,price\n2026-11-22 00:00,81.2\n2026-11-22 01:00,-3.1\n"
        )
        yield {
            "directory": str(directory),
            ".venv/bin/python ": f"PYTHONPATH={ROOT} {sys.executable} ",
            "localhost:8000": f"127.0.0.1:{http}",
            "mosquitto_pub ": f"mosquitto_pub -p {mqtt} ",
            "mosquitto_sub ": f"mosquitto_sub -p {mqtt} -C 1 -W 10 ",
            "curl ": "curl --fail-with-body --silent --show-error --max-time 10 ",
        }


def _stores_a_reading(url: str) -> bool:
    body = b'{"meter_id": 1, "power": 1}'
    try:
        with urlopen(Request(url, body, {"Content-Type": "application/json"})) as answer:
            return bool(answer.status == HTTPStatus.CREATED)
    except OSError:
        return False


@pytest.mark.parametrize(("document", "line"), list(commands()))
def test_a_command_of_the_documents_works(
    document: str, line: str, request: pytest.FixtureRequest
) -> None:
    word = first_word(line)
    if word == "make":
        target = shlex.split(line, comments=True)[-1 if "=" in line.split()[0] else 1]
        assert target in make_targets(), document
    elif line.split()[:2] == [".venv/bin/python", "-m"] and line.split()[2:3] == ["recorder"]:
        _run(line, request.getfixturevalue("site"))
    elif word == ".venv/bin/python":
        assert line.split()[-2] == "-m"
        assert line.split()[-1] in SERVICES, document
    elif word == METERFLOW:
        _run_verb(line, request.getfixturevalue("site"))
    elif word in PROGRAMS:
        require(word)
        _run(line, request.getfixturevalue("site"))
    else:
        assert not word, f"{document}: no test knows how to run {line!r}"


def _run_verb(line: str, site: dict[str, str]) -> None:
    """Run `meterflow`, in this process, which has imported it; programs only say their help."""
    words = shlex.split(line, comments=True)
    words = words[words.index(METERFLOW) + 1 :]
    verb, output = VERBS[words[0]], io.StringIO()
    if verb.module != "recorder.__main__" or not verb.arguments:
        words.append("--help")
    with (
        chdir(site["directory"]),
        redirect_stdout(output),
        redirect_stderr(output),
        pytest.raises(SystemExit) as ended,
    ):
        main(words)

    assert not ended.value.code, f"{line}\n{output.getvalue()}"


def _run(line: str, site: dict[str, str]) -> None:
    for shown, meant in site.items():
        line = line.replace(shown, meant)
    answer = subprocess.run(
        ["bash", "-c", line], cwd=site["directory"], capture_output=True, text=True, timeout=30
    )

    assert answer.returncode == 0, f"{line}\n{answer.stdout}{answer.stderr}"


def test_the_tariffs_of_the_page_about_energy_are_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs/energy.md").read_text()
    path = tmp_path / "tariffs.toml"
    path.write_text(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0])

    assert set(Tariffs.load(path).named) == {"household", "spot"}
