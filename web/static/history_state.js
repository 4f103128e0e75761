// What the page shows, as its address says: of which meters, which period, what of it. Each change is
// a new state; the page writes it into the address, so that it can be sent and taken back.

import { DAY_S, HOUR_S, SPANS, local, startOf } from "./history_time.js";

export const HOUSE = "*";
/** Subjects that can be told apart in one chart. */
export const MOST_SUBJECTS = 6;
const LEAST_S = 60;
const QUARTER_S = 900;
const MOST_S = 10 * 365 * DAY_S;
const SPAN_NAMES = Object.keys(SPANS);
const ID = /^([\w-]{1,32}|\*)$/;
const SHOW = /^[a-z][a-z0-9_]{0,40}$/;
const DATE = /^\d{4}(-\d\d){0,2}$/;

/** The state of a query string; the default replaces anything invalid. */
export function read(search, now) {
  const query = new URLSearchParams(search);
  const ids = (query.get("of") ?? HOUSE).split(",").filter((id) => ID.test(id));
  const span = SPAN_NAMES.includes(query.get("span")) ? query.get("span") : "day";
  const show = SHOW.test(query.get("show") ?? "") ? query.get("show") : null;
  return {
    of: ids.length ? [...new Set(ids)].slice(0, MOST_SUBJECTS) : [HOUSE],
    span,
    at: atOf(query.get("at") ?? "", span, now),
    ...rangeOf(Number(query.get("from") ?? NaN), Number(query.get("to") ?? NaN)),
    show,
    before: query.get("before") !== "no",
    heat: query.get("heat") === "yes",
  };
}

function atOf(text, span, now) {
  if (!DATE.test(text) && !/^\d{4}-\d\d-\d\dT\d\d:\d\dZ$/.test(text)) return null;
  const [year, month, day] = text.split("-").map(Number);
  const noon_s = Date.UTC(year, (month || 1) - 1, day || 1, 12) / 1000;
  const at = startOf(span, text.includes("T") ? Date.parse(text) / 1000 : noon_s);
  return Number.isFinite(at) ? past(span, at, now) : null;
}

function rangeOf(from, to) {
  const isValid = from > 0 && to - from >= LEAST_S && to - from <= MOST_S;
  return isValid ? { from, to } : { from: null, to: null };
}

/** The start of a period, null where that is the running one or none yet. */
const past = (span, at, now) => (at >= startOf(span, now) ? null : at);

/** The query string of a state: only what is not the default. */
export function write(state) {
  const parts = [["span", state.span]];
  if (state.of.join() !== HOUSE) parts.unshift(["of", state.of.join(",")]);
  if (state.at !== null) parts.push(["at", dateOf(state.span, state.at)]);
  if (state.from !== null) parts.push(["from", Math.round(state.from)], ["to", Math.round(state.to)]);
  if (state.show) parts.push(["show", state.show]);
  if (!state.before) parts.push(["before", "no"]);
  if (state.heat) parts.push(["heat", "yes"]);
  return `?${parts.map((part) => part.join("=")).join("&")}`;
}

/** A start as the shortest date that names it; an hour in UTC, since a clock may repeat one. */
function dateOf(span, at) {
  if (span === "hour") return `${new Date(at * 1000).toISOString().slice(0, 16)}Z`;
  const { year, month, day } = local(at);
  const parts = [year, month, day].map((part) => String(part).padStart(2, "0"));
  return parts.slice(0, { year: 1, month: 2 }[span] ?? 3).join("-");
}

/** The period of a state: from, to, and whether it is still running. */
export function periodOf(state, now) {
  if (state.from !== null) return { from: state.from, to: state.to, isRunning: state.to > now };
  const from = state.at ?? startOf(state.span, now);
  return { from, to: startOf(state.span, from, 1), isRunning: state.at === null };
}

/** The period before that of a state, as long or as many days. */
export function beforeOf(state, now) {
  const { from, to } = periodOf(state, now);
  if (state.from !== null) return { from: from - (to - from), to: from };
  return { from: startOf(state.span, from, -1), to: from };
}

/** The span whose name fits a period: that of an aligned one, null for a free range. */
export const spanOf = (state) => (state.from === null ? state.span : null);

/** The periods of energy that a period is divided into. */
export function unitOf(state, now) {
  const { from, to } = periodOf(state, now);
  if (state.from === null) {
    return { hour: "quarter_hour", day: "hour", week: "day", month: "day", year: "month" }[state.span];
  }
  const length = to - from;
  if (length <= 12 * HOUR_S) return "quarter_hour";
  if (length <= 4 * DAY_S) return "hour";
  if (length <= 92 * DAY_S) return "day";
  if (length <= 400 * DAY_S) return "week";
  return length <= 6 * 366 * DAY_S ? "month" : "year";
}

// -- changes -----------------------------------------------------------------------------------

/** The state some periods later, or earlier; never in the future. */
export function moved(state, steps, now) {
  const { from, to } = periodOf(state, now);
  if (state.from === null) {
    return { ...state, at: past(state.span, startOf(state.span, from, steps), now) };
  }
  const by = Math.min(steps * (to - from), Math.max(0, now - to));
  return { ...state, from: from + by, to: to + by };
}

/** The state of another span: the one that holds what is shown, or its first part. */
export function spanned(state, span, now, at = null) {
  const { from, to, isRunning } = periodOf(state, now);
  const inside = at ?? (isRunning && to > now && from <= now ? now : from);
  return { ...state, span, at: past(span, startOf(span, inside), now), from: null, to: null };
}

/** The state of any period; of a span where it is exactly one. */
export function ranged(state, begin, end, now) {
  const [from, to] = [begin, end].map(Math.round);
  const span = SPAN_NAMES.find((name) => startOf(name, from) === from && startOf(name, from, 1) === to);
  if (span) return spanned(state, span, now, from);
  if (!(to - from >= LEAST_S)) return state;
  return { ...state, from, to: Math.min(to, from + MOST_S) };
}

/** The state of a period that was stretched; not in the future, and with `isWhole` of whole bars. */
export function stretched(state, from, to, now, isWhole) {
  const length = Math.min(Math.max(to - from, LEAST_S), MOST_S);
  const end = Math.min(to, Math.max(now, periodOf(state, now).to));
  const span = { from: end - length, to: end };
  if (isWhole) {
    const unit = unitOf({ ...state, ...span }, now);
    span.from = nearest(unit, span.from);
    span.to = Math.max(nearest(unit, end), edge(unit, span.from, 1));
  }
  return ranged(state, span.from, span.to, now);
}

/** The start of the period that holds a time, or one that is `more` after it. */
const edge = (unit, at, more = 0) => (unit === "quarter_hour"
  ? (Math.floor(at / QUARTER_S) + more) * QUARTER_S : startOf(unit, at, more));

/** The start of a period that is nearest to a time. */
function nearest(unit, at) {
  const [before, after] = [edge(unit, at), edge(unit, at, 1)];
  return at - before < after - at ? before : after;
}

/** The state with finer data: the next shorter span around a time, or half of a free range. */
export function zoomedIn(state, now, at = null) {
  const { from, to } = periodOf(state, now);
  if (state.from !== null) {
    const half = (to - from) / 4;
    const middle = Math.min(Math.max(at ?? (from + to) / 2, from + half), to - half);
    return ranged(state, middle - half, middle + half, now);
  }
  const span = SPAN_NAMES[SPAN_NAMES.indexOf(state.span) - 1];
  return span ? spanned(state, span, now, at) : ranged(state, from + 900, to - 900, now);
}

/** The state with more around it: a free range twice as long, or the next longer span. */
export function zoomedOut(state, now) {
  const { from, to } = periodOf(state, now);
  if (state.from === null) {
    const span = SPAN_NAMES[SPAN_NAMES.indexOf(state.span) + 1];
    return span ? spanned(state, span, now, from) : state;
  }
  const half = (to - from) / 2;
  if (4 * half > SPANS[state.span]) return unzoomed(state);
  return ranged(state, from - half, Math.min(to + half, Math.max(now, to)), now);
}

/** The state before a person dragged over a part of it. */
export const unzoomed = (state) => ({ ...state, from: null, to: null });
