"""A few dozen power cuts, at random moments; `make power-cuts` makes hundreds."""

import pytest

from tests.support.forgetful_disk import MODES, Mode, Op, require_fuse
from tests.support.seeds import seed
from tests.system.power_cuts import judge, record

CUTS = 20
ROUNDS = 60
SEED = seed("POWER_CUTS_SEED")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> list[Op]:
    require_fuse()
    return record(tmp_path_factory.mktemp("power-cuts"), ROUNDS, SEED)


@pytest.mark.parametrize("mode", MODES)
def test_what_was_acknowledged_is_there_after_a_power_cut(mode: Mode, recording: list[Op]) -> None:
    wrong = [(moment, found) for moment, found in judge(recording, CUTS, mode, SEED) if found]

    assert not wrong, f"POWER_CUTS_SEED={SEED}: {wrong}"
