"""Replay: a recorder requests the readings that it lacks, and a bridge sends them again.

The `seq` of a reading identifies it among those of its meter. A bridge sends the readings of its
journal again as ordinary readings that are not retained. Its answer then lists the runs of
numbers that it has, so that the recorder knows which others no longer exist. Recorders that
share a subscription have the readings that they request sent to a topic of their own.
"""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract.readings import HIGHEST_SEQ
from contract.validation import Id, payload_error

MOST_METERS = 10_000

Seq = Annotated[int, Field(ge=0, le=HIGHEST_SEQ)]
RequestId = Annotated[str, Field(min_length=1, max_length=64)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    def encode(self) -> str:
        """Return the message as compact JSON."""
        return self.model_dump_json()


class ReplayRequest(_Message):
    """Request for the readings after these numbers; of a meter that is not named, all readings.

    Those of the runs in `have` are there already. With `direct` the readings go to
    `meters/_recorder/<recorder>/again` and nowhere else.
    """

    recorder: Id
    request: RequestId
    after: dict[Id, Seq] = Field(default_factory=dict, max_length=MOST_METERS)
    have: dict[Id, list[tuple[Seq, Seq]]] = Field(default_factory=dict, max_length=MOST_METERS)
    direct: bool = False


class Replayed(_Message):
    """The readings that a bridge has of one meter after `after`, up to and including `upto`.

    Each of `sent` is the first and the last number of a run without a gap. Numbers between the
    runs were never used or are no longer kept; `oldest` is the first in the journal. Readings that
    the request has under `have` are in these runs, though they are not sent.
    """

    after: Seq
    upto: Seq
    sent: list[tuple[Seq, Seq]]
    oldest: Seq | None = None


class ReplayAnswer(_Message):
    """The readings sent for a request, by meter; with `more` the recorder has to request again."""

    recorder: Id
    request: RequestId
    meters: dict[Id, Replayed] = Field(max_length=MOST_METERS)
    more: bool = False


M = TypeVar("M", bound=_Message)


def decode(kind: type[M], payload: bytes | str) -> M:
    """Return the message in a payload; raises PayloadError for an invalid one."""
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        raise payload_error(error) from error


def runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Return ascending numbers as runs without a gap: 1 2 3 7 8 is (1, 3) (7, 8)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
