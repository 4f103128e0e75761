"""Changes: which scalars are worth sending where `SCALARS=changed`; does no I/O."""

from collections.abc import Mapping, Sequence

from contract.quantities import QUANTITIES

RENEW_S = 55.0
"""Seconds after which an unchanged value is sent again: once a minute at the latest."""
_RESOLUTION = {quantity.name: 10.0**-quantity.kind.decimals for quantity in QUANTITIES}


class Changes:
    """Chooses values that differ by more than their resolution from what was last sent.

    Unchanged values are sent again after `RENEW_S`, at a different time for each meter.
    """

    def __init__(self, meter_ids: Sequence[str]) -> None:
        count = len(meter_ids)
        self._ahead_s = {each: RENEW_S * place / count for place, each in enumerate(meter_ids)}
        self._sent: dict[str, dict[str, tuple[float, float]]] = {each: {} for each in meter_ids}

    def among(self, meter_id: str, values: Mapping[str, float], now_s: float) -> dict[str, float]:
        """Return the values to send now, and record them as sent."""
        sent = self._sent[meter_id]
        chosen: dict[str, float] = {}
        for name, value in values.items():
            before = sent.get(name)
            if before is None:
                sent_s = now_s - self._ahead_s[meter_id]
            elif abs(value - before[0]) > _RESOLUTION[name] or now_s - before[1] >= RENEW_S:
                sent_s = now_s
            else:
                continue
            chosen[name] = value
            sent[name] = (value, sent_s)
        return chosen

    def forget(self) -> None:
        """Send all values again: the broker may have lost them."""
        for sent in self._sent.values():
            sent.clear()
