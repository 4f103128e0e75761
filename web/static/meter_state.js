// A meter as the page knows it: its values, state and last minutes; and the elements for them.

import { age, setText } from "./catalogue.js";

const STATES = {
  online: "Online", stale: "Stale", offline: "Offline", waiting: "No reading yet",
};
const WINDOW_S = 600;
/** Seconds in which a meter without any reading is new: a bridge reports it offline at first. */
const BEGIN_S = 15;
const LEAST_OLD_S = 180;
const MOST_ROWS = 12_000;

/** Epoch seconds of a reading. */
export const at_s = (reading) => Date.parse(reading.ts) / 1000;

/**
 * Make `columns` (time first) ready to draw: where a quantity was not measured for longer than
 * `gap_s`, it gets a null, which breaks the line; shorter absences stay undefined, which does not.
 */
export function withGaps(columns, gap_s) {
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

/** The last minutes of some quantities: seeded from the history, then fed live. */
export class Trace {
  constructor(quantities) {
    this.quantities = quantities;
    this.rows = [];
  }

  /** Take columns from the history; newer live rows stay. */
  seed(columns) {
    const rows = columns.ts.map((ts, row) => [ts, ...this.quantities.map((q) => columns[q]?.[row])]);
    const last = columns.ts.at(-1) ?? -Infinity;
    // The last slice is still filling: the live rows in it are exact.
    const first_live = this.rows.find(([ts]) => ts > last)?.[0] ?? Infinity;
    this.rows = [...rows.filter(([ts]) => ts < first_live), ...this.rows.filter(([ts]) => ts > last)];
  }

  push(reading) {
    const ts = at_s(reading);
    if (this.rows.length && ts <= this.rows.at(-1)[0]) return;
    if (!this.quantities.some((q) => q in reading)) return;
    this.rows.push([ts, ...this.quantities.map((q) => reading[q])]);
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

/** A meter: its row of GET /meters/, and its live messages. */
export class Meter {
  constructor(id, quantities) {
    this.id = id;
    this.unnamed = /^\d+$/.test(id) ? `Meter ${id}` : id;
    this.name = this.unnamed;
    this.model = null;
    this.online = null;
    this.last_s = null;
    this.known_s = null;
    this.values = new Map();
    this.trace = new Trace(quantities);
    this.known_interval_s = null;
    this.spacing_s = [];
  }

  /** Take a row of GET /meters/. */
  describe(row) {
    this.name = row.name && row.name !== this.id ? row.name : this.unnamed;
    this.model = row.model ?? null;
    this.known_interval_s = row.interval ?? null;
    if (row.latest) this.take(row.latest);
    this.online = row.online ?? null;
  }

  /** Take a reading; false where it is not newer than what is known. */
  take(reading) {
    const ts = at_s(reading);
    if (!(ts > (this.last_s ?? -Infinity))) return false;
    if (this.last_s !== null) this.spacing_s = [...this.spacing_s.slice(-4), ts - this.last_s];
    this.last_s = ts;
    if (this.online === false) this.online = null; // it was offline before
    for (const [name, value] of Object.entries(reading)) {
      if (typeof value === "number" && name !== "seq") this.values.set(name, { value, ts });
    }
    this.trace.push(reading);
    return true;
  }

  /** Seconds between readings: announced by the meter, else measured. */
  get interval_s() {
    return this.known_interval_s ?? (this.spacing_s.toSorted((a, b) => a - b)[
      Math.floor(this.spacing_s.length / 2)] || 10);
  }

  /** Seconds of silence before a meter is stale; more where it has not announced its interval. */
  get patience_s() {
    return Math.max(3 * this.interval_s, this.known_interval_s === null ? 30 : 3);
  }

  get gap_s() {
    return Math.max(3.5 * this.interval_s, 3);
  }

  /** Take a status; true where it is a change, for which REST must be queried: it knows the bridge. */
  takeStatus(status) {
    const changed = (status === "online") !== (this.online !== false);
    if (status === "offline") this.online = false;
    return changed;
  }

  /** Seconds that the live trace holds: ten minutes, more for a slow meter. */
  get window_s() {
    return Math.min(Math.max(WINDOW_S, 60 * this.interval_s), 6 * 3600);
  }

  /** Minutes of it to show: fewer for a meter that has only just begun, so that they fill the chart. */
  minutes(now) {
    const all = Math.round(this.window_s / 60);
    const first_s = this.trace.rows[0]?.[0];
    return first_s === undefined ? all : Math.min(all, Math.max(1, Math.ceil((now - first_s) / 60)));
  }

  has(name) {
    return this.values.has(name);
  }

  value(name) {
    return this.values.get(name)?.value;
  }

  age_s(now) {
    return this.last_s === null ? null : Math.max(0, now - this.last_s);
  }

  /** Whether a value is old: the meter is silent, or its readings have long been without it. */
  isOld(name, now) {
    const known = this.values.get(name);
    if (!known) return false;
    const limit_s = Math.max(this.patience_s, known.ts < this.last_s ? LEAST_OLD_S : 0);
    return now - known.ts > limit_s;
  }

  /** "online", "stale" (silent for too long), "offline" (it reports so) or "waiting". */
  state(now) {
    this.known_s ??= now;
    const isNew = this.last_s === null && now - this.known_s < BEGIN_S;
    if (this.online === false && !isNew) return "offline";
    if (this.last_s === null) return "waiting";
    return this.age_s(now) > this.patience_s ? "stale" : "online";
  }
}

/** The text beside a meter's name: its id where the name is another, and its model. */
export function about(meter) {
  const named = meter.name === meter.id || meter.name === `Meter ${meter.id}`;
  return [named ? "" : `Meter ${meter.id}`, meter.model].filter(Boolean).join(" · ");
}

/** Show state and age of a meter in the elements for them below `root`. */
export function showState(root, meter, now_s) {
  const state = meter.state(now_s);
  root.dataset.state = state;
  setText(root.querySelector(".state-word"), STATES[state]);
  const age_s = meter.age_s(now_s);
  const time = root.querySelector("time");
  setText(time, age_s === null ? "" : age(age_s));
  if (meter.last_s !== null) time.dateTime = new Date(meter.last_s * 1000).toISOString();
}

/** "importing" or "exporting" while the meter is online, as data for the style sheet too. */
export function showDirection(target, meter, now_s) {
  const power = meter.state(now_s) === "online" ? meter.value("power") : 0;
  const direction = !power ? "none" : power > 0 ? "import" : "export";
  target.dataset.direction = direction;
  setText(target, direction === "none" ? "" : `${direction}ing`);
}
