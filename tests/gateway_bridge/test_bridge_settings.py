"""The settings of the bridge, in the environment and in `.env`."""

from pathlib import Path

import pytest

from gateway_bridge.settings import BridgeSettings
from service.errors import SettingsError


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_short_form_in_an_env_file_works_unchanged() -> None:
    Path(".env").write_text(
        "MODBUS_HOST=192.168.1.100\nMODBUS_PORT=502\nAPI_BASE_URL=http://localhost:8000\n"
        "API_TIMEOUT=30\nPOLL_INTERVAL=60  # seconds\nMETER_IDS=1,2,3  # Modbus slave IDs\n"
    )

    settings = BridgeSettings.load()

    assert settings.modbus_host == "192.168.1.100"
    assert settings.meter_ids == (1, 2, 3)
    assert settings.poll_interval == 60


def test_a_comment_in_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METER_IDS", "7, 12 # cellar")

    assert BridgeSettings.load().meter_ids == (7, 12)


def test_every_wrong_meter_id_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METER_IDS", "1,x,248,0,1,01")

    with pytest.raises(SettingsError) as caught:
        BridgeSettings.load()

    text = str(caught.value)
    assert text.startswith("METER_IDS: ")
    for problem in ("'x' is not a whole number", "248 is not from 1 to 247", "0 is not from 1"):
        assert problem in text
    assert "is listed twice" in text


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("METER_IDS", " # none", "lists no meter"),
        ("POLL_INTERVAL", "0.05", "greater than or equal to 0.1"),
        ("POLL_INTERVAL", "often", "should be a number"),
        ("QUANTITIES", "core,volts", "'volts' is neither a quantity nor one of core, default"),
        ("MODBUS_FRAMING", "ascii", "'auto', 'tcp' or 'rtu'"),
        ("MODBUS_HOST", "http://192.168.1.100", "should be a host, host:port, or serial"),
        ("MODBUS_HOST", "192.168.1.100:none", "port 'none' should be a number"),
    ],
)
def test_a_wrong_setting_is_reported_with_the_expected_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=f"^{name}: .*{problem}"):
        BridgeSettings.load()


def test_quantities_accepts_sets_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTITIES", "core,frequency")

    assert BridgeSettings.load().quantities == ("core", "frequency")
