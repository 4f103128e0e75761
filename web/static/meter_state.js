// A meter as the page knows it: its values, state and last minutes; and the elements for them.

import { age, setText, unit } from "./catalogue.js";
import { t } from "./language.js";
import { link } from "./live.js";
import { Trace, at_s } from "./trace.js";

/** The words for the states of a meter. */
export const STATES = {
  online: t("Online"), stale: t("Silent"), offline: t("Offline"), waiting: t("No reading yet"),
  unknown: t("Not live"),
};
const DIRECTIONS = { import: t("importing"), export: t("exporting"), none: "" };
const WINDOW_S = 900;
/** Seconds in which a meter without any reading is new: a bridge reports it offline at first. */
const BEGIN_S = 15;
const LEAST_OLD_S = 180;

const digitsOf = (value) => String(value).split(".")[1]?.length ?? 0;

const defaultName = (id) => (/^\d+$/.test(id) ? t("Meter {id}", { id }) : id);

/** A meter: its row of GET /meters/, and its live messages. */
export class Meter {
  constructor(id, quantities) {
    this.id = id;
    this.unnamed = defaultName(id);
    this.name = this.unnamed;
    this.model = null;
    this.online = null;
    this.last_s = null;
    this.known_s = null;
    this.values = new Map();
    this.resolutions = new Map();
    this.trace = new Trace(quantities);
    this.known_interval_s = null;
    this.spacing_s = [];
  }

  /** Take a row of GET /meters/. */
  describe(row) {
    this.name = row.name && row.name !== this.id ? row.name : this.unnamed;
    this.model = row.model ?? null;
    this.role = row.role ?? null;
    this.parent = row.parent ?? null;
    this.known_interval_s = row.interval ?? null;
    if (row.latest) this.take(row.latest);
    this.online = row.online ?? null;
    /** Whether only its bridge is away: the bridge's absence is reported, not the meter's. */
    this.isBridgeAway = row.online === false && row.status === "online";
  }

  /** Take a reading; false where it is not newer than what is known. */
  take(reading) {
    const ts = at_s(reading);
    if (!(ts > (this.last_s ?? -Infinity))) return false;
    if (this.last_s !== null) this.spacing_s = [...this.spacing_s.slice(-4), ts - this.last_s];
    this.last_s = ts;
    if (this.online === false) this.online = null; // it was offline before
    for (const [name, value] of Object.entries(reading)) {
      if (typeof value !== "number" || name === "seq") continue;
      this.values.set(name, { value, ts });
      this.resolutions.set(unit(name), Math.max(this.digits(name), digitsOf(value)));
    }
    this.trace.push(reading, this.window_s);
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

  /** Seconds that the live trace holds: fifteen minutes, more for a slow meter. */
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

  /** The decimals that the meter gives: the most that it has sent of any quantity of this unit. */
  digits(name) {
    return this.resolutions.get(unit(name)) ?? 0;
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

  /**
   * "online", "stale" (silent for too long), "offline" (it reports so), "waiting", or "unknown" while
   * the web service or the broker is away, and afterwards until the meter had time to send.
   */
  state(now) {
    this.known_s ??= now;
    const isNew = this.last_s === null && now - this.known_s < BEGIN_S;
    if (link.away && this.last_s !== null) return "unknown";
    if (this.online === false && !isNew) return "offline";
    if (this.last_s === null) return "waiting";
    if (this.age_s(now) <= this.patience_s) return "online";
    return now - link.since_s > this.patience_s ? "stale" : "unknown";
  }
}

/** The text beside a meter's name: its id where the name is another, what it is, and its model. */
export function about(meter, ...more) {
  const named = meter.name === meter.id || meter.name === defaultName(meter.id);
  return [named ? "" : meter.id, ...more, meter.model].filter(Boolean).join(" · ");
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

/** Show which way a power flows, as data for the style sheet too; null: it is not known now. */
export function showDirection(target, power) {
  const direction = !power ? "none" : power > 0 ? "import" : "export";
  target.dataset.direction = direction;
  setText(target, DIRECTIONS[direction]);
}
