"""How fast a reading is decoded, beside pydantic's model of the same fields.

    python benchmarks/decode.py

`decode_reading` returns a Reading with its time; the reference only validates the fields.
"""

import argparse
from datetime import UTC, datetime

from benchmarks.figures import NAMES, Verdict, interleaved, line, readings, title
from contract.readings import Reading, ReadingBody, decode_reading

COUNT = 2000


def main() -> None:
    """Print the figures."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    now = datetime.now(UTC)
    some = [
        (each.meter_id, Reading(each.meter_id, each.ts, each.values, 10**12).encode().encode())
        for each in readings(20, COUNT // 20, 1.0)
    ]

    def ours() -> None:
        for meter_id, payload in some:
            decode_reading(payload, arrived=now, meter_id=meter_id)

    def model() -> None:
        for _, payload in some:
            ReadingBody.model_validate_json(payload)

    mine, other = interleaved([ours, model], rounds=30)
    title(f"Decoding a reading of {len(NAMES)} quantities")
    line("pydantic's model", f"{other / COUNT * 1e6:.1f} us")
    verdict = Verdict()
    ratio, beside = mine / other, f"{mine / COUNT * 1e6:.1f} us"
    verdict.figure("decode_reading, compared with it", f"{ratio:.2f}", beside, "<= 0.85",
                   ok=ratio <= 0.85)  # fmt: skip
    verdict.end()


if __name__ == "__main__":
    main()
