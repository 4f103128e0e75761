"""Settings: what a person can write, and the error messages."""

from pathlib import Path

import pytest

from service.errors import SettingsError
from service.program import parser_for, settings_help
from service.settings import Settings, misspelt, names_in_env_file


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("MQTT_PORT", "abc", "MQTT_PORT: should be a whole number (got 'abc')"),
        ("MQTT_PORT", "70000", "MQTT_PORT: should be less than or equal to 65535 (got '70000')"),
        ("MQTT_HOST", "two words", "MQTT_HOST: should be a host name or an address, without space"),
        ("MQTT_TLS", "perhaps", "MQTT_TLS: should be true or false (got 'perhaps')"),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL: should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ],
)
def test_a_wrong_setting_is_reported_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        Settings.load()

    assert says in str(caught.value)


def test_all_wrong_settings_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_PORT", "0")
    monkeypatch.setenv("MQTT_TLS", "perhaps")

    with pytest.raises(SettingsError) as caught:
        Settings.load()

    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "MQTT_PORT",
        "MQTT_TLS",
    ]


def test_a_file_with_comments_and_foreign_names_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MQTT_PORT=1884  # ours\nAPI_TIMEOUT=30\nMQTT_USER=\n")

    settings = Settings.load()

    assert (settings.mqtt_port, settings.mqtt_user) == (1884, None)


def test_the_environment_outweighs_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("MQTT_PORT=1884\n")
    monkeypatch.setenv("MQTT_PORT", "1885")

    assert Settings.load().mqtt_port == 1885


def test_a_file_that_is_not_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00MQTT_PORT")

    with pytest.raises(SettingsError, match=r"^\.env: should be text in UTF-8"):
        Settings.load()


def test_lines_that_set_nothing_are_reported_without_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# ours\nMQTT_PORT=1884\nMQTT_PASSWORD: secret\n\nnonsense too\n"
    )

    with pytest.raises(SettingsError) as raised:
        Settings.load()

    assert str(raised.value).splitlines() == [
        ".env, line 3: should be NAME=value, or a # first",
        ".env, line 5: should be NAME=value, or a # first",
    ]


def test_a_file_from_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfMQTT_PORT=1884\r\nMQTT_USER=me\r\n")

    assert (Settings.load().mqtt_port, Settings.load().mqtt_user) == (1884, "me")
    assert names_in_env_file() == ["MQTT_PORT", "MQTT_USER"]


def test_a_misspelt_name_is_recognised(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MQTT_PROT=1884\nAPI_TIMEOUT=30\n")

    assert misspelt(names_in_env_file(), {"MQTT_PORT", "MQTT_HOST"}) == {"MQTT_PROT": "MQTT_PORT"}


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", "open sesame")

    settings = Settings.load()

    assert "sesame" not in settings.summary() + repr(settings) + settings_help(Settings)
    assert "MQTT_PASSWORD" in settings.summary()


@pytest.mark.parametrize("password", ["p@w-1", "p/w-1", "p%w-1", "p w-1", "p:w?#-1"])
@pytest.mark.parametrize(
    "url", ["postgresql://me:{}@host/x", "postgresql://host/x?password={}&a=b"]
)
def test_the_password_of_a_database_is_never_shown(password: str, url: str) -> None:
    class StoresThings(Settings):
        database_url: str = "sqlite:///energy_meters.db"
        port: int = 1

    text = StoresThings.load(database_url=url.format(password)).summary()
    with pytest.raises(SettingsError) as caught:
        StoresThings.load(port=url.format(password))

    assert "w-1" not in text + str(caught.value)
    assert "postgresql://" in text


def test_help_lists_name_default_and_meaning() -> None:
    text = parser_for("service", "Does something.", Settings).format_help()

    assert "MQTT_PORT      1883                         Port of the MQTT broker." in text
