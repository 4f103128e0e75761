"""The meters file: the site that it describes, and the message for each mistake in it."""

from pathlib import Path

import pytest

from contract.quantities import CORE_SET
from gateway_bridge.address import SerialLine, TcpAddress
from gateway_bridge.settings import BridgeSettings
from gateway_bridge.site.meters_file import GatewayTable, MeterTable, read_meters_file
from gateway_bridge.site.site import Gateway, site_from
from service.errors import SettingsError
from tests.support.parts import ROOT

ONE_METER = "[[gateway.meter]]\nunit = 1\n"


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def site(text: str, **settings: object) -> tuple[Gateway, ...]:
    Path("meters.toml").write_text(text)
    return site_from(BridgeSettings.load(**settings))


def message(text: str) -> str:
    Path("meters.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        site_from(BridgeSettings.load())
    return str(caught.value)


def test_the_example_file_describes_three_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERS_FILE", str(ROOT / "meters.toml.example"))

    cellar, workshop, barn = site_from(BridgeSettings.load())

    assert (cellar.address, cellar.cost.baud) == ("192.168.1.100:502", 19200)
    main, solar = cellar.meters
    assert (main.meter_id, main.name, main.interval_s) == ("main", "Main meter", 1.0)
    assert main.max_current_a == 63
    assert (solar.model.name, solar.inverted) == ("sdm230", True)
    assert (workshop.framing, workshop.address) == ("rtu", "192.168.1.101:4196")
    assert set(workshop.meters[0].quantities) == {*CORE_SET, "frequency"}
    assert workshop.meters[0].wiring == "3p3w"
    assert barn.where == SerialLine("/dev/ttyUSB0", 9600, "E")
    assert (barn.framing, barn.cost.bits) == ("rtu", 11)
    assert barn.meters[0].interval_s == 30


def test_a_serial_number_may_be_written_as_a_number() -> None:
    text = '[[gateway]]\naddress = "a"\n[[gateway.meter]]\nunit = 1\nserial = '

    assert site(text + "21001026")[0].meters[0].serial == "21001026"
    assert site(text + '"KX12"')[0].meters[0].serial == "KX12"
    assert "serial: " in message(text + "true")


@pytest.mark.parametrize(
    ("written", "reported", "is_other"),
    [
        ("21001026", "21001043", True),
        ("0021001026", "21001026", False),
        ("kx12", "KX12", False),
        ("21001026", None, False),
    ],
)
def test_a_meter_with_another_serial_number_is_noticed(
    written: str, reported: str | None, is_other: bool
) -> None:
    table = f'[[gateway]]\naddress = "a"\n[[gateway.meter]]\nunit = 1\nserial = "{written}"\n'

    assert (site(table)[0].meters[0].other_serial(reported) is not None) is is_other


def test_two_meters_cannot_have_one_serial_number() -> None:
    meters = "".join(f"[[gateway.meter]]\nunit = {unit}\nserial = 7\n" for unit in (1, 2))

    assert "serial: '7' is used twice" in message(f'[[gateway]]\naddress = "a"\n{meters}')


def test_the_current_limit_of_a_meter_with_transformers_is_that_of_its_model() -> None:
    text = '[[gateway]]\naddress = "a"\n[[gateway.meter]]\nunit = 1\n[[gateway.meter]]\nunit = 2\n'

    [gateway] = site(text + 'model = "sdm630mct"\n')

    assert [meter.max_current_a for meter in gateway.meters] == [100, 9999]


def test_the_page_explains_every_key() -> None:
    page = (ROOT / "docs/meters-file.md").read_text()

    for table in (GatewayTable, MeterTable):
        assert {key for key in table.model_fields if f"| `{key}` |" not in page} == set()


def test_missing_keys_take_the_values_of_the_settings() -> None:
    [gateway] = site(
        '[[gateway]]\naddress = "h"\n' + ONE_METER,
        poll_interval=3,
        modbus_timeout=0.7,
        quantities=("core",),
        modbus_baud=38400,
    )

    [meter] = gateway.meters
    assert gateway.where == TcpAddress("h", 502)
    assert (gateway.timeout_s, gateway.cost.baud) == (0.7, 38400)
    assert (meter.meter_id, meter.interval_s, meter.quantities) == ("1", 3, CORE_SET)


def test_host_and_port_replace_an_address() -> None:
    [gateway] = site('[[gateway]]\nhost = "gateway.lan"\nport = 8899\n' + ONE_METER)

    assert gateway.address == "gateway.lan:8899"


def test_an_inverted_meter_exchanges_import_and_export() -> None:
    text = '[[gateway]]\naddress = "h"\n[[gateway.meter]]\nunit = 1\ninvert = true\n'

    [gateway] = site(text)

    registers = {name: each.address for name, each in gateway.meters[0].model.registers.items()}
    assert (registers["energy"], registers["energy_import"]) == (0x4A, 0x4A)
    assert registers["energy_export"] == 0x48


@pytest.mark.parametrize(
    ("name", "value"),
    [("MODBUS_HOST", "192.168.1.100"), ("MODBUS_PORT", "8899"), ("METER_IDS", "1,2")],
)
def test_the_file_and_the_short_settings_exclude_each_other(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    assert message('[[gateway]]\naddress = "h"\n' + ONE_METER) == (
        f"{name}: {value} is set, and meters.toml names gateways and meters too;"
        " remove one of the two"
    )


def test_a_file_that_a_setting_names_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERS_FILE", "mine.toml")

    with pytest.raises(SettingsError, match=r"^mine\.toml: cannot be read: No such file"):
        site_from(BridgeSettings.load())


GATEWAY_LINES = {
    'addres = "h"': "addres: unknown key; did you mean address?",
    "port = 99999": "port: should be 65535 or less (got 99999)",
    'baud = "9600"': "baud: should be a whole number (got '9600')",
    "baud = 9601": "baud: should be one of 1200, 2400, 4800, 9600, 19200, 38400",
    'framing = "ascii"': "framing: should be 'auto', 'tcp' or 'rtu' (got 'ascii')",
    "interval = 0": "interval: should be 0.1 or more (got 0)",
    "timeout = 0": "timeout: should be 0.05 or more (got 0)",
    'quantities = ["volts"]': "quantities: 'volts' is neither a quantity nor one of core",
    'address = "x"': "address: give either address",
}


@pytest.mark.parametrize("line", GATEWAY_LINES)
def test_a_mistake_in_a_gateway_is_reported_with_the_expected_value(line: str) -> None:
    errors = message(f'[[gateway]]\nname = "cellar"\nhost = "h"\n{line}\n{ONE_METER}')

    assert f"meters.toml, [[gateway]] cellar: {GATEWAY_LINES[line]}" in errors


METER_LINES = {
    "unit = 300": "unit: should be 247 or less (got 300)",
    'unit = "1"': "unit: should be a whole number (got '1')",
    'modell = "sdm630"': "modell: unknown key; did you mean model?",
    'model = "sdm360"': "model: should be one of sdm630, sdm630v1, sdm630mct, sdm72v2, sdm120",
    'wiring = "3p"': "wiring: should be one of 3p4w, 3p3w, 1p2w",
    'invert = "yes"': "invert: should be true or false (got 'yes')",
    "max_current = -3": "max_current: should be more than 0",
    'word_order = "little"': "word_order: should be one of auto, high-first, low-first",
    'model = "sdm120"\nwiring = "3p4w"': "wiring: SDM120-Modbus supports 1p2w",
    'model = "sdm120"\nquantities = "power_l2"': "quantities: SDM120-Modbus has no power_l2",
}


@pytest.mark.parametrize("line", METER_LINES)
def test_a_mistake_in_a_meter_is_reported_with_the_expected_value(line: str) -> None:
    unit = "" if line.startswith("unit") else "unit = 1\n"
    text = (
        f'[[gateway]]\nname = "cellar"\nhost = "h"\n[[gateway.meter]]\nid = "saw"\n{unit}{line}\n'
    )

    errors = message(text)

    assert (
        f"meters.toml, [[gateway.meter]] saw of [[gateway]] cellar: {METER_LINES[line]}" in errors
    )


def test_all_mistakes_are_reported_at_once() -> None:
    errors = message('[[gateway]]\nhost = ""\nbaud = 1\n[[gateway.meter]]\nunit = 0\nid = "a b"\n')

    assert [line.partition(": ")[2].partition(":")[0] for line in errors.splitlines()] == [
        "host", "baud", "unit", "id",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "meters.toml, the file: gateway: is missing"),
        ('[[gateway]]\nhost = "h"\n', "meters.toml, [[gateway]] 1: meter: is missing"),
        ('[gateway]\nhost = "h"\n', "should be a list of tables, for example [[gateway]]"),
        ("[[gateway]\n", "meters.toml: is not valid TOML: Expected ']]'"),
        (
            '[[gateway]]\naddress = "serial:///dev/x?speed=1"\n',
            "'speed' should be one of baud, parity",
        ),
        (
            '[[gateway]]\naddress = "serial:///dev/x"\nframing = "tcp"\n',
            "a serial line always uses rtu",
        ),
    ],
)
def test_a_file_with_a_wrong_structure_is_reported(text: str, expected: str) -> None:
    filled = text + ONE_METER if "serial" in text else text

    assert expected in message(filled)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ('host = "b"\n[[gateway.meter]]\nunit = 1\n', "id: '1' is used twice"),
        ('host = "a"\n[[gateway.meter]]\nunit = 2\n', "address: a:502 is used twice"),
        (
            'host = "b"\nmeter = [{unit = 3, id = "x"}, {unit = 3, id = "y"}]\n',
            "[[gateway]] 2: unit: 3 is used twice on one line",
        ),
    ],
    ids=["id", "address", "unit"],
)
def test_duplicates_are_reported(second: str, expected: str) -> None:
    text = f'[[gateway]]\nhost = "a"\n{ONE_METER}[[gateway]]\n{second}'

    assert expected in message(text)


TWO = '[[gateway]]\nhost = "h"\n[[gateway.meter]]\nunit = 1\nid = "a"\n'


def test_a_meter_has_a_role_a_parent_and_a_bill() -> None:
    rest = '[[gateway.meter]]\nunit = 2\nid = "b"\nparent = "a"\nrole = "consumer"\n'

    [gateway] = site(TWO + 'role = "grid"\nbilling = "netted"\n' + rest)

    a, b = gateway.meters
    assert (a.role, a.parent, a.billing) == ("grid", None, "netted")
    assert (b.role, b.parent, b.billing) == ("consumer", "a", None)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('role = "gird"', "b of [[gateway]] 1: role: should be one of grid, production, storage,"),
        ('role = "gird"', "did you mean grid? (got 'gird')"),
        ('billing = "net"', "billing: should be one of per_phase, netted"),
        ('parent = "a b"', "parent: should be 1 to 32 letters"),
        ('parent = "aa"', "b: parent: 'aa' is not a meter of this file; did you mean a?"),
        ('parent = "cellar"', "'cellar' is not a meter of this file; for a meter elsewhere, use"),
        ('parent = "b"', "b: parent: 'b' leads back to the meter itself (b → b)"),
    ],
)
def test_a_wrong_role_parent_or_bill_is_reported(keys: str, expected: str) -> None:
    assert expected in message(TWO + f'[[gateway.meter]]\nunit = 2\nid = "b"\n{keys}\n')


def test_parents_in_a_circle_are_reported_once() -> None:
    text = TWO + 'parent = "b"\n[[gateway.meter]]\nunit = 2\nid = "b"\nparent = "a"\n'

    assert message(text) == (
        "meters.toml, [[gateway.meter]] a: parent: 'b' leads back to the meter itself (a → b → a); "
        "remove one parent"
    )


def test_a_file_in_another_encoding_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "meters.toml"
    path.write_bytes('name = "K\xfcche"\n'.encode("latin-1"))

    with pytest.raises(SettingsError, match="should be text in UTF-8"):
        read_meters_file(path)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.168.1.100", "192.168.1.100:502"),
        ("192.168.1.100:4196", "192.168.1.100:4196"),
        ("[fe80::1]:8899", "[fe80::1]:8899"),
        ("fe80::1", "[fe80::1]:502"),
        ("serial:///dev/ttyUSB0?baud=19200", "/dev/ttyUSB0"),
    ],
)
def test_modbus_host_accepts_every_kind_of_address(host: str, address: str) -> None:
    [gateway] = site_from(BridgeSettings.load(modbus_host=host))

    assert gateway.address == address


def test_a_wrong_address_in_modbus_host_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODBUS_HOST", "serial:///dev/ttyUSB0?baud=9601")

    with pytest.raises(SettingsError, match=r"^MODBUS_HOST: baud '9601' should be one of"):
        BridgeSettings.load()
