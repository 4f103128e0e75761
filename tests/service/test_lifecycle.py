"""Start of every service: settings that explain themselves, and mistakes reported in a sentence."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from service.lifecycle import LogFormatter
from service.settings import misspelt
from tests.support.parts import Part
from tools.generate_docs import SERVICES, settings_of


def names_of(service: str) -> set[str]:
    return {name.upper() for name in settings_of(service).model_fields}


each_service = pytest.mark.parametrize("service", SERVICES)


@each_service
def test_a_service_has_settings_that_work_by_default(service: str) -> None:
    settings_of(service).load()


@each_service
def test_every_setting_has_one_sentence_of_meaning(service: str) -> None:
    for name, field in settings_of(service).model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert "\n" not in field.description, name


@each_service
def test_a_setting_of_another_service_is_not_taken_for_a_misspelt_one(service: str) -> None:
    others = {name for other in SERVICES for name in names_of(other)}
    foreign = {"API_BASE_URL", "API_TIMEOUT", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "LOGNAME"}

    assert misspelt(others | foreign, names_of(service)) == {}


@each_service
def test_a_service_explains_itself(service: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", service, "--help"], capture_output=True, text=True, check=True
    ).stdout

    assert all(name in shown for name in names_of(service))


@each_service
def test_a_service_ends_with_2_and_one_sentence_for_a_wrong_setting(
    service: str, tmp_path: Path
) -> None:
    with Part.module(service, directory=tmp_path, LOG_LEVEL="LOUD") as part:
        assert part.process.wait(30) == 2

    assert part.output.startswith(f"{service}: LOG_LEVEL: should be")
    assert len(part.output.splitlines()) == 1


def logged(message: str, *arguments: object, error: Exception | None = None) -> str:
    """Return the lines that the log shows for a message."""
    exception = (type(error), error, error.__traceback__) if error else None
    return LogFormatter().format(
        logging.LogRecord("test", logging.WARNING, "", 0, message, arguments, exception)
    )


def test_foreign_text_cannot_add_lines_to_the_log_or_control_a_terminal() -> None:
    line = logged("%s: rejected", "meters/1\n2026-01-01 00:00:00 INFO all is well\x1b[2J\u202e")

    assert line.endswith(
        r"WARNING meters/1\n2026-01-01 00:00:00 INFO all is well\x1b[2J\u202e: rejected"
    )
    assert len(line.splitlines()) == 1


def test_no_line_of_a_traceback_looks_like_a_message() -> None:
    try:
        raise ValueError("bad\n2026-01-01 00:00:00 INFO all is well\x1b[2J")
    except ValueError as error:
        first, *rest = logged("unexpected error", error=error).splitlines()

    assert first.endswith("WARNING unexpected error")
    assert rest[-1] == r"  2026-01-01 00:00:00 INFO all is well\x1b[2J"
    assert all(line.startswith("  ") for line in rest)


def test_the_log_hides_passwords_and_tokens_of_urls() -> None:
    line = logged('"GET /ws/1?token=%s HTTP/1.1" from %s', "abc", "http://me:pw@host/")

    assert line.endswith('"GET /ws/1?token=*** HTTP/1.1" from http://me:***@host/')


@pytest.mark.parametrize(
    "code", ["raise ValueError('a\\nb')", "threading.Thread(target=int, args=('a\\nb',)).start()"]
)
def test_an_exception_that_nothing_handles_is_logged(code: str) -> None:
    start = "import threading; from service.lifecycle import set_up_log; set_up_log('INFO'); "
    ended = subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, check=False
    )

    first, second, *rest = ended.stderr.splitlines()
    assert first.endswith("CRITICAL unexpected error")
    assert second == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in rest)
