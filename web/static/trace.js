// The last minutes of a meter: seeded from the history, then fed live.

/** Multiple of the window from which old rows are dropped where nothing is drawn, as in a hidden page. */
const MOST_WINDOWS = 1.5;

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

  /** Add a live reading, and drop what has left the window. */
  push(reading, window_s) {
    const ts = at_s(reading);
    if (this.rows.length && ts <= this.rows.at(-1)[0]) return;
    if (!this.quantities.some((q) => q in reading)) return;
    this.rows.push(rowOf(ts, this.quantities.map((q) => reading[q])));
    if (ts - this.rows[0][0] > MOST_WINDOWS * window_s) this.dropBefore(ts - window_s);
  }

  /** Drop the rows before a time, but for the last: a line comes from there. */
  dropBefore(from_s) {
    const start = this.rows.findIndex(([ts]) => ts >= from_s);
    this.rows.splice(0, start < 0 ? this.rows.length : Math.max(0, start - 1));
  }

  /** Columns from `from_s` on, with a gap wherever readings are more than `gap_s` apart. */
  columns(from_s, gap_s) {
    this.dropBefore(from_s);
    const columns = [0, ...this.quantities].map((_, c) => this.rows.map((row) => row[c]));
    return withGaps(columns, gap_s);
  }
}
