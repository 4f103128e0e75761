"""The register tables against the makers' manuals: literal addresses, never derived."""

import pytest

from gateway_bridge.models import METER_CODES, MODELS, MeterModel
from gateway_bridge.models.model import Register

# SDM630 Modbus Protocol V1.8, table of input registers: hexadecimal start address of each row.
SDM630_MANUAL = [
    ("voltage_l1", 0x0000), ("voltage_l2", 0x0002), ("voltage_l3", 0x0004),
    ("current_l1", 0x0006), ("current_l2", 0x0008), ("current_l3", 0x000A),
    ("power_l1", 0x000C), ("power_l2", 0x000E), ("power_l3", 0x0010),
    ("apparent_power_l1", 0x0012), ("reactive_power_l1", 0x0018), ("power_factor_l1", 0x001E),
    ("phase_angle_l3", 0x0028), ("voltage", 0x002A), ("current_average", 0x002E),
    ("current", 0x0030), ("power", 0x0034), ("apparent_power", 0x0038),
    ("reactive_power", 0x003C), ("power_factor", 0x003E), ("phase_angle", 0x0042),
    ("frequency", 0x0046), ("energy", 0x0048), ("energy_import", 0x0048),
    ("energy_export", 0x004A), ("reactive_energy_import", 0x004C),
    ("reactive_energy_export", 0x004E), ("apparent_energy", 0x0050), ("charge", 0x0052),
    ("power_demand", 0x0054), ("power_demand_max", 0x0056), ("apparent_power_demand", 0x0064),
    ("current_demand_n", 0x0068), ("voltage_l1_l2", 0x00C8), ("voltage_l3_l1", 0x00CC),
    ("voltage_ll", 0x00CE), ("current_n", 0x00E0), ("voltage_thd_l1", 0x00EA),
    ("current_thd_l1", 0x00F0), ("voltage_thd", 0x00F8), ("current_thd", 0x00FA),
    ("current_demand_l1", 0x0102), ("current_demand_max_l3", 0x010C),
    ("voltage_thd_l1_l2", 0x014E), ("voltage_thd_ll", 0x0154), ("energy_total", 0x0156),
    ("reactive_energy_total", 0x0158), ("energy_import_l1", 0x015A), ("energy_export_l1", 0x0160),
    ("energy_total_l1", 0x0166), ("reactive_energy_import_l1", 0x016C),
    ("reactive_energy_export_l1", 0x0172), ("reactive_energy_total_l3", 0x017C),
]  # fmt: skip

# SDM630 Protocol v2.0 (2018), SDM630MCT Modbus Protocol V1.7, SDM120-Modbus Protocol V2.5,
# SDM230 Protocol and SDM72D-M User Manual V1.1: columns "Hi byte, Lo byte" of input registers.
OTHER_MANUALS = [
    ("sdm630v1", "voltage_l1", 0x0000), ("sdm630v1", "power", 0x0034),
    ("sdm630v1", "energy_import", 0x0048), ("sdm630v1", "current_demand_n", 0x0068),
    ("sdm630v1", "voltage_ll", 0x00CE), ("sdm630v1", "reactive_energy_total_l3", 0x017C),
    ("sdm630mct", "voltage_l3", 0x0004), ("sdm630mct", "frequency", 0x0046),
    ("sdm630mct", "energy_export", 0x004A), ("sdm630mct", "energy_total_resettable", 0x0180),
    ("sdm630mct", "reactive_energy_total_resettable", 0x0182),
    ("sdm630mct", "energy_import_resettable", 0x0184),
    ("sdm630mct", "energy_export_resettable", 0x0186),
    ("sdm120", "voltage", 0x0000), ("sdm120", "current", 0x0006), ("sdm120", "power", 0x000C),
    ("sdm120", "apparent_power", 0x0012), ("sdm120", "reactive_power", 0x0018),
    ("sdm120", "power_factor", 0x001E), ("sdm120", "frequency", 0x0046),
    ("sdm120", "energy", 0x0048), ("sdm120", "energy_export", 0x004A),
    ("sdm120", "reactive_energy_export", 0x004E), ("sdm120", "power_demand", 0x0054),
    ("sdm120", "power_import_demand", 0x0058), ("sdm120", "power_export_demand_max", 0x005E),
    ("sdm120", "current_demand_l1", 0x0102), ("sdm120", "current_demand_max_l1", 0x0108),
    ("sdm120", "energy_total", 0x0156), ("sdm120", "reactive_energy_total", 0x0158),
    ("sdm230", "voltage", 0x0000), ("sdm230", "current", 0x0006), ("sdm230", "power", 0x000C),
    ("sdm230", "phase_angle", 0x0024), ("sdm230", "energy_import", 0x0048),
    ("sdm230", "reactive_energy_import", 0x004C), ("sdm230", "power_demand_max", 0x0056),
    ("sdm230", "energy_total", 0x0156),
    ("sdm72v2", "voltage_l2", 0x0002), ("sdm72v2", "current_l3", 0x000A),
    ("sdm72v2", "power_l2", 0x000E), ("sdm72v2", "power_factor_l3", 0x0022),
    ("sdm72v2", "voltage", 0x002A), ("sdm72v2", "current_average", 0x002E),
    ("sdm72v2", "current", 0x0030), ("sdm72v2", "power", 0x0034),
    ("sdm72v2", "frequency", 0x0046), ("sdm72v2", "energy", 0x0048),
    ("sdm72v2", "energy_export", 0x004A), ("sdm72v2", "voltage_l1_l2", 0x00C8),
    ("sdm72v2", "voltage_ll", 0x00CE), ("sdm72v2", "current_n", 0x00E0),
    ("sdm72v2", "energy_total", 0x0156), ("sdm72v2", "reactive_energy_total", 0x0158),
    ("sdm72v2", "energy_total_resettable", 0x0180), ("sdm72v2", "energy_import_resettable", 0x0184),
    ("sdm72v2", "energy_export_resettable", 0x0186),
]  # fmt: skip


# EM300 Series and ET300 Series Communication Protocol V2 R6, table 2.4-1: physical address, length
# in words, data format, value weight.
EM340_MANUAL = [
    ("voltage_l1", 0x0000, 2, "int32", 10), ("voltage_l2", 0x0002, 2, "int32", 10),
    ("voltage_l3", 0x0004, 2, "int32", 10), ("voltage_l1_l2", 0x0006, 2, "int32", 10),
    ("voltage_l2_l3", 0x0008, 2, "int32", 10), ("voltage_l3_l1", 0x000A, 2, "int32", 10),
    ("current_l1", 0x000C, 2, "int32", 1000), ("current_l2", 0x000E, 2, "int32", 1000),
    ("current_l3", 0x0010, 2, "int32", 1000), ("power_l1", 0x0012, 2, "int32", 10),
    ("power_l2", 0x0014, 2, "int32", 10), ("power_l3", 0x0016, 2, "int32", 10),
    ("apparent_power_l1", 0x0018, 2, "int32", 10), ("apparent_power_l2", 0x001A, 2, "int32", 10),
    ("apparent_power_l3", 0x001C, 2, "int32", 10), ("reactive_power_l1", 0x001E, 2, "int32", 10),
    ("reactive_power_l2", 0x0020, 2, "int32", 10), ("reactive_power_l3", 0x0022, 2, "int32", 10),
    ("voltage", 0x0024, 2, "int32", 10), ("voltage_ll", 0x0026, 2, "int32", 10),
    ("power", 0x0028, 2, "int32", 10), ("apparent_power", 0x002A, 2, "int32", 10),
    ("reactive_power", 0x002C, 2, "int32", 10), ("power_factor_l1", 0x002E, 1, "int16", 1000),
    ("power_factor_l2", 0x002F, 1, "int16", 1000), ("power_factor_l3", 0x0030, 1, "int16", 1000),
    ("power_factor", 0x0031, 1, "int16", 1000), ("frequency", 0x0033, 1, "int16", 10),
    ("energy", 0x0034, 2, "int32", 10), ("energy_import", 0x0034, 2, "int32", 10),
    ("reactive_energy_import", 0x0036, 2, "int32", 10), ("power_demand", 0x0038, 2, "int32", 10),
    ("power_demand_max", 0x003A, 2, "int32", 10),
    ("energy_import_resettable", 0x003C, 2, "int32", 10),
    ("energy_import_l1", 0x0040, 2, "int32", 10), ("energy_import_l2", 0x0042, 2, "int32", 10),
    ("energy_import_l3", 0x0044, 2, "int32", 10), ("energy_export", 0x004E, 2, "int32", 10),
    ("reactive_energy_export", 0x0050, 2, "int32", 10), ("current", 0x000C, 6, "int32", 1000),
]  # fmt: skip


@pytest.mark.parametrize(("quantity", "address", "words", "format_", "weight"), EM340_MANUAL)
def test_em340_has_each_quantity_where_and_as_its_manual_has_it(
    quantity: str, address: int, words: int, format_: str, weight: int
) -> None:
    register = MODELS["em340"].registers[quantity]

    assert (register.address, register.count) == (address, words)
    assert (register.type, register.per_unit) == (format_, weight)


def test_em340_has_nothing_that_is_not_checked_against_the_manual() -> None:
    assert set(MODELS["em340"].registers) == {row[0] for row in EM340_MANUAL}


@pytest.mark.parametrize(("quantity", "address"), SDM630_MANUAL)
def test_sdm630_has_each_quantity_where_its_manual_has_it(quantity: str, address: int) -> None:
    assert MODELS["sdm630"].registers[quantity] == Register(address)


@pytest.mark.parametrize(("model", "quantity", "address"), OTHER_MANUALS)
def test_each_model_has_each_quantity_where_its_manual_has_it(
    model: str, quantity: str, address: int
) -> None:
    assert MODELS[model].registers[quantity] == Register(address)


@pytest.mark.parametrize(("model", "values", "limit"), [
    ("sdm630", 85, 80), ("sdm630v1", 85, 80), ("sdm630mct", 89, 60),
    ("sdm120", 21, 80), ("sdm230", 22, 80), ("sdm72v2", 38, 60), ("em340", 39, 50),
])  # fmt: skip
def test_a_model_has_a_number_of_values_and_a_limit_of_registers_in_a_request(
    model: str, values: int, limit: int
) -> None:
    assert len(set(MODELS[model].registers.values())) == values
    assert MODELS[model].limit == limit


@pytest.mark.parametrize("model", [name for name in MODELS if name.startswith("sdm")])
def test_energy_is_what_was_imported_and_not_import_plus_export(model: str) -> None:
    assert MODELS[model].registers["energy"] == Register(0x0048)
    assert MODELS[model].registers["energy_total"] == Register(0x0156)


def test_the_energy_of_an_em340_is_what_was_imported() -> None:
    assert MODELS["em340"].registers["energy"] == MODELS["em340"].registers["energy_import"]


def test_an_em340_has_its_identity_where_its_manual_has_it() -> None:
    model = MODELS["em340"]

    assert model.serial_number == Register(0x5000, "text", parts=7)
    assert model.system_type == Register(0x1002, "uint16")
    assert (model.code_register, model.code) == (0x000B, 341)
    assert model.word_order == "low-first"
    assert METER_CODES[0x000B, 345] == "em340"


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_every_model_names_its_manual_and_measures_the_core(model: MeterModel) -> None:
    assert model.manual.startswith("https://")
    assert {"voltage", "current", "power", "energy"} <= set(model.quantities())


@pytest.mark.parametrize(("wiring", "missing"), [
    ("3p3w", {"voltage_l1", "power_l2", "power_factor_l3", "current_n", "voltage"}),
    ("1p2w", {"voltage_l2", "current_l3", "power_l2", "energy_import_l2", "voltage_l1_l2"}),
])  # fmt: skip
def test_a_wiring_lacks_what_it_cannot_measure(wiring: str, missing: set[str]) -> None:
    quantities = set(MODELS["sdm630"].quantities(wiring))

    assert not quantities & missing
    assert {"power", "current_l1", "energy", "frequency"} <= quantities


def test_all_85_values_exist_with_three_phases_and_neutral() -> None:
    assert set(MODELS["sdm630"].quantities()) == set(MODELS["sdm630"].registers)


def test_an_unknown_wiring_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="supports the wirings 3p4w, 3p3w, 1p2w, not 2p2w"):
        MODELS["sdm630"].quantities("2p2w")


@pytest.mark.parametrize(
    ("registers", "problem"),
    [
        ({"volltage": Register(0x0000)}, "'volltage' is not in the catalogue"),
        ({"voltage": Register(0x0001)}, "voltage at 0x0001: not a multiple of 2"),
        ({"voltage": Register(0x10000)}, "voltage at 0x10000: beyond the last register"),
        ({"voltage": Register(0xFFFE, "int64")}, "voltage at 0xFFFE: beyond the last register"),
        ({"voltage": Register(0, parts=41)}, "voltage at 0x0000: longer than a request"),
        ({"voltage": Register(0, "text")}, "voltage at 0x0000: a quantity is not a text"),
        (
            {"voltage": Register(0x0000), "current": Register(0x0000)},
            "current and voltage both at 0x0000",
        ),
        (
            {"voltage": Register(0x0000, "int64"), "current": Register(0x0002)},
            "current and voltage both at 0x0002",
        ),
        (
            {"energy": Register(0x0000), "energy_import": Register(0x0000, "int32")},
            "energy_import and energy both at 0x0000",
        ),
        (
            {"current_l1": Register(0x0000, "int32"), "current": Register(0x0000, parts=3)},
            "current and current_l1 both at 0x0000",
        ),
    ],
)
def test_an_invalid_table_is_refused(registers: dict[str, Register], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        _model(registers=registers, alignment=2)


def test_a_limit_that_is_not_a_multiple_of_the_alignment_is_refused() -> None:
    with pytest.raises(ValueError, match="a limit of 80 registers is not a multiple of 3"):
        _model(registers={"power": Register(0x0000)}, alignment=3)


def test_single_registers_may_be_at_odd_addresses_where_the_maker_allows_it() -> None:
    model = _model(registers={"frequency": Register(0x0033, "int16", 10)})

    assert model.registers["frequency"].count == 1


def test_energy_may_share_the_register_of_the_imported_energy() -> None:
    model = _model(registers={"energy": Register(0x0048), "energy_import": Register(0x0048)})

    assert model.quantities() == ("energy", "energy_import")


def test_a_wiring_can_only_lack_what_the_model_has() -> None:
    with pytest.raises(ValueError, match="absent quantity 'frequency' has no register"):
        _model(registers={"power": Register(0x0034)}, absent={"3p4w": frozenset({"frequency"})})


def test_a_table_does_not_change_with_the_mapping_it_was_made_from() -> None:
    registers = {"power": Register(0x0034)}
    model = _model(registers=registers)

    registers["power"] = Register(0x0000)

    assert model.registers["power"] == Register(0x0034)


def _model(
    registers: dict[str, Register],
    absent: dict[str, frozenset[str]] | None = None,
    alignment: int = 1,
) -> MeterModel:
    return MeterModel(
        name="trial",
        maker="Nobody",
        title="Trial",
        manual="https://example.org/",
        registers=registers,
        absent=absent or {"3p4w": frozenset()},
        alignment=alignment,
    )
