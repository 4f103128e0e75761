// The last minutes of a meter: seeded from the history, then fed live.

const MOST_ROWS = 12_000;

/** Epoch seconds of a reading. */
export const at_s = (reading) => Date.parse(reading.ts) / 1000;

/** A row of a trace; a copy, since an array that is made with `...` keeps room for 16 more. */
const rowOf = (ts, values) => [ts, ...values].slice();

/**
 * Make `columns` (time first) ready to draw: where a quantity was not measured for longer than
 * `gap_s`, it gets a null, which breaks the line; shorter absences stay undefined, which does not.
 */
function withGaps(columns, gap_s) {
  const made = columns.map(() => []);
  const seen = columns.map(() => columns[0][0]);
  const add = (time, valueOf) => {
    made[0].push(time);
    for (let c = 1; c < columns.length; c += 1) {
      const value = valueOf(c) ?? (time - seen[c] > gap_s ? null : undefined);
      if (typeof value === "number") seen[c] = time;
      made[c].push(value);
    }
  };
  columns[0].forEach((time, row) => {
    const before = columns[0][row - 1];
    if (time - before > gap_s) add(time - 0.001, () => undefined);
    add(time, (c) => columns[c][row]);
  });
  return made;
}

/** The last minutes of some quantities. */
export class Trace {
  constructor(quantities) {
    this.quantities = quantities;
    this.rows = [];
  }

  /** Take columns from the history; newer live rows stay. */
  seed(columns) {
    const rows = columns.ts.map((ts, row) => rowOf(ts, this.quantities.map((q) => columns[q]?.[row])));
    const last = columns.ts.at(-1) ?? -Infinity;
    // The last slice is still filling: the live rows in it are exact.
    const first_live = this.rows.find(([ts]) => ts > last)?.[0] ?? Infinity;
    this.rows = [...rows.filter(([ts]) => ts < first_live), ...this.rows.filter(([ts]) => ts > last)];
  }

  push(reading) {
    const ts = at_s(reading);
    if (this.rows.length && ts <= this.rows.at(-1)[0]) return;
    if (!this.quantities.some((q) => q in reading)) return;
    this.rows.push(rowOf(ts, this.quantities.map((q) => reading[q])));
    // A hidden page does not draw, and only drawing drops old rows.
    if (this.rows.length > MOST_ROWS) this.rows.splice(0, MOST_ROWS / 2);
  }

  /** Columns from `from_s` on, with a gap wherever readings are more than `gap_s` apart. */
  columns(from_s, gap_s) {
    const start = this.rows.findIndex(([ts]) => ts >= from_s);
    this.rows.splice(0, start < 0 ? this.rows.length : Math.max(0, start - 1));
    const columns = [0, ...this.quantities].map((_, c) => this.rows.map((row) => row[c]));
    return withGaps(columns, gap_s);
  }
}
