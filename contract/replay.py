"""Replay: a recorder asks a bridge to send again what it lacks, and the bridge says what it sent.

Readings of a meter are told apart by their `seq`. What a bridge has in its journal it sends again
as ordinary readings that are not retained; its answer then names each run of numbers that it has,
so that the recorder knows which others exist no more. Recorders that share the readings' topics
among them have what they ask for sent to a topic of their own.
"""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract.validation import Id, payload_error

MOST_METERS = 10_000
HIGHEST_SEQ = 2**53

Seq = Annotated[int, Field(ge=0, le=HIGHEST_SEQ)]
Word = Annotated[str, Field(min_length=1, max_length=64)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    def encode(self) -> str:
        """Return the message as compact JSON."""
        return self.model_dump_json()


class ReplayRequest(_Message):
    """Send again what came after these numbers; of a meter that is not named, everything.

    With `direct` the readings go to `meters/_recorder/<recorder>/again` and nowhere else.
    """

    recorder: Id
    request: Word
    after: dict[Id, Seq] = Field(default_factory=dict, max_length=MOST_METERS)
    direct: bool = False


class Replayed(_Message):
    """What a bridge has of one meter between `after` (not included) and `upto` (included).

    Each of `sent` is the first and the last number of a run without a hole. Numbers between the
    runs were never given or are no longer kept; `oldest` is the first that the journal has.
    """

    after: Seq
    upto: Seq
    sent: list[tuple[Seq, Seq]]
    oldest: Seq | None = None


class ReplayAnswer(_Message):
    """What was sent on a request, meter by meter; with `more` there is more to ask for."""

    recorder: Id
    request: Word
    meters: dict[Id, Replayed] = Field(max_length=MOST_METERS)
    more: bool = False


M = TypeVar("M", bound=_Message)


def decode(kind: type[M], payload: bytes | str) -> M:
    """Return the message that a payload holds; raises PayloadError where it is none."""
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        raise payload_error(error) from error


def runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Return ascending numbers as runs without a hole: 1 2 3 7 8 is (1, 3) (7, 8)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
