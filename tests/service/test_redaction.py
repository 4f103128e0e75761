"""Passwords and tokens never appear in a log, whatever characters they have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.redaction import redacted, redacted_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@host:5432/meters", "postgresql://me:***@host:5432/meters"),
        ("postgresql://me:p@w@host/meters", "postgresql://me:***@host/meters"),
        ("postgresql://me:p/w@host/meters", "postgresql://me:***@host/meters"),
        ("postgresql://me:p w?#%@host/meters", "postgresql://me:***@host/meters"),
        ("postgresql://me@corp:pw@host/meters", "postgresql://me@corp:***@host/meters"),
        (
            "postgresql://host/meters?user=me&password=p w:/@?&sslmode=require",
            "postgresql://host/meters?user=me&password=***&sslmode=require",
        ),
        ("postgresql://me@host:5432/meters", "postgresql://me@host:5432/meters"),
        ("postgresql://[::1]:5432/meters", "postgresql://[::1]:5432/meters"),
        ("sqlite:///energy_meters.db", "sqlite:///energy_meters.db"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redacted_url(url) == shown


@given(st.text(min_size=1).filter(lambda password: password not in "postgresql://me:***@host/x"))
def test_no_password_whatever_its_characters_is_shown(password: str) -> None:
    assert password not in redacted_url(f"postgresql://me:{password}@host/x")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            '127.0.0.1 "GET /ws/1?token=abc&from=1 HTTP/1.1" 101',
            '127.0.0.1 "GET /ws/1?token=***&from=1 HTTP/1.1" 101',
        ),
        ("GET /?from=1&Access_Token=a.b-c", "GET /?from=1&Access_Token=***"),
        ("GET /?api_key=1&apikey=2", "GET /?api_key=***&apikey=***"),
        ("cannot open https://me:pw@host/x: refused", "cannot open https://me:***@host/x: refused"),
        ("meters/1/token=1 is not a topic", "meters/1/token=1 is not a topic"),
        ("at http://host:80/, user a@b", "at http://host:80/, user a@b"),
    ],
)
def test_a_line_of_the_log_is_shown_without_the_secrets_of_its_urls(text: str, shown: str) -> None:
    assert redacted(text) == shown
