"""Reporting: one line per change, none per attempt."""

import logging

import pytest

from service.reporting import OncePerKey, Reporter

logger = logging.getLogger("test")


def test_trouble_is_logged_when_it_begins_changes_and_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    reporter = Reporter(logger, "gateway 10.0.0.7:502", advice="retrying")

    new = [reporter.failed(trouble) for trouble in ("no response", "no response", "refused")]
    assert (new, reporter.trouble) == ([True, False, True], "refused")

    ended = [reporter.works(), reporter.works()]
    assert (ended, reporter.trouble) == ([True, False], None)
    assert caplog.messages == [
        "gateway 10.0.0.7:502: no response; retrying",
        "gateway 10.0.0.7:502: refused; retrying",
        "gateway 10.0.0.7:502: works again after 0 s",
    ]


def test_level_result_and_detail_can_be_chosen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reporter = Reporter(logger, "journal", level=logging.ERROR)

    reporter.failed("disk full")
    reporter.works("writes again", "; 3 readings not kept")

    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert caplog.messages[1] == "journal: writes again after 0 s; 3 readings not kept"


def test_a_key_is_first_once_and_memory_is_bounded() -> None:
    once = OncePerKey(most=2)

    assert [once.is_first(key) for key in ("a", "a", "b", "c", "a")] == [
        True,
        False,
        True,
        False,
        False,
    ]
