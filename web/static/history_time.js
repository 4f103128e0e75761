// The site's calendar: where its hours, days, weeks, months and years begin, how a period is named,
// and the ticks of a time axis. Times are epoch seconds, a day may have 23 or 25 hours.

import { ZONE } from "./catalogue.js";

export const HOUR_S = 3600;
export const DAY_S = 86_400;
/** The spans that the page has buttons for, the shortest first, with their longest seconds. */
export const SPANS = {
  hour: HOUR_S, day: 25 * HOUR_S, week: 169 * HOUR_S, month: 31.1 * DAY_S, year: 366.1 * DAY_S,
};

const formats = new Map();

function formatOf(options, locale) {
  const key = JSON.stringify([options, locale]);
  if (!formats.has(key)) {
    formats.set(key, new Intl.DateTimeFormat(locale, { timeZone: ZONE, ...options }));
  }
  return formats.get(key);
}

const PARTS = {
  year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric",
  second: "numeric", hourCycle: "h23",
};

/** Year, month (1 to 12), day, hour, minute and second of the site's clock. */
export function local(at_s) {
  const parts = formatOf(PARTS, "en-US").formatToParts(new Date(at_s * 1000));
  return Object.fromEntries(parts.map(({ type, value }) => [type, Number(value)]));
}

/** Seconds by which the site's clock is ahead of UTC. */
function offset(at_s) {
  const { year, month, day, hour, minute, second } = local(at_s);
  return Date.UTC(year, month - 1, day, hour, minute, second) / 1000 - Math.floor(at_s);
}

/** The time of a date of the site; the first where the clocks repeat it, the next where they skip it. */
function instant(year, month = 1, day = 1, hour = 0) {
  const plain = Date.UTC(year, month - 1, day, hour) / 1000;
  const offsets = [offset(plain - DAY_S), offset(plain + DAY_S)];
  const early = plain - Math.max(...offsets);
  return offset(early) === Math.max(...offsets) ? early : plain - Math.min(...offsets);
}

/** The start of the hour, day, week (from Monday), month or year that is `more` after that of a time. */
export function startOf(span, at_s, more = 0) {
  const { year, month, day } = local(at_s);
  if (span === "year") return instant(year + more);
  if (span === "month") return instant(year, month + more);
  if (span === "day") return instant(year, month, day + more);
  if (span === "week") {
    const weekday = (new Date(Date.UTC(year, month - 1, day)).getUTCDay() + 6) % 7;
    return instant(year, month, day - weekday + 7 * more);
  }
  const midnight = instant(year, month, day);
  const start = midnight + Math.floor((at_s - midnight) / HOUR_S) * HOUR_S;
  return more ? startOf("hour", start + more * HOUR_S) : start;
}

const isMidnight = (at_s) => startOf("day", at_s) === at_s;
const text = (at_s, options) => formatOf(options).format(new Date(at_s * 1000));
const CLOCK = { hour: "2-digit", minute: "2-digit" };
const SHORT_CLOCK = { timeStyle: "short" };
const DATE = { weekday: "short", day: "numeric", month: "short", year: "numeric" };

/** The site's clock in hours and minutes. */
export const clock = (at_s) => text(at_s, SHORT_CLOCK);

/** A day and a time; without the time where it is midnight's, unless it `isTime`. */
export const moment = (at_s, isTime = false) =>
  text(at_s, isMidnight(at_s) && !isTime ? DATE : { ...DATE, ...CLOCK });

/** A day and a time with its seconds. */
export const fineMoment = (at_s) => text(at_s, { ...DATE, ...CLOCK, second: "2-digit" });

/** The name of a time's zone, where the clocks change between it and another time. */
function change(at_s, other_s) {
  if (offset(at_s) === offset(other_s)) return "";
  const parts = formatOf({ timeZoneName: "short" }).formatToParts(new Date(at_s * 1000));
  return ` ${parts.find(({ type }) => type === "timeZoneName").value}`;
}

/** The name of a period: "Sun 29 Nov 2026", "November 2026", "2026", or its two ends. */
export function periodText(span, from, to) {
  if (span === "year") return text(from, { year: "numeric" });
  if (span === "month") return text(from, { month: "long", year: "numeric" });
  if (span === "day") return text(from, DATE);
  if (to - from <= HOUR_S) return `${moment(from, true)}${change(from, to)}\u2013${clock(to)}${change(to, from)}`;
  const last = isMidnight(to) && isMidnight(from) ? to - 1 : to;
  const isWhole = last < to;
  if (isWhole && startOf("day", from) === startOf("day", last)) return text(from, DATE);
  const isThisYear = [from, to].every((at) => local(at).year === local(Date.now() / 1000).year);
  const options = isWhole ? { day: "numeric", month: "short", year: "numeric" }
    : { ...DATE, ...CLOCK, year: isThisYear ? undefined : DATE.year };
  return formatOf(options).formatRange(new Date(from * 1000), new Date(last * 1000));
}

// -- ticks -------------------------------------------------------------------------------------

const DAY = { weekday: "short", day: "numeric" };
const DATE_TICK = { day: "numeric", month: "short" };
const MONTH = { month: "short" };
const MONTH_OF_YEAR = { month: "short", year: "numeric" };
/** Steps between ticks: of what, how many, and the pixels that one text needs. */
const STEPS = [
  ["minute", 1, 54], ["minute", 5, 54], ["minute", 10, 54], ["minute", 30, 54], ["hour", 1, 54],
  ["hour", 2, 54], ["hour", 3, 54], ["hour", 6, 54], ["hour", 12, 54], ["day", 1, 58], ["day", 2, 58],
  ["day", 5, 64], ["day", 10, 64], ["month", 1, 64], ["month", 3, 72], ["year", 1, 56], ["year", 5, 56],
];
const EDGE_PX = 16;
/** Pixels that "2:00 PM" needs more than "14:00". */
const HALF_DAY_PX = clock(0).length > 6 ? 20 : 0;
const isClock = (unit) => unit === "minute" || unit === "hour" || unit === "quarter_hour";
const SECONDS = { minute: 60, hour: HOUR_S, day: DAY_S, month: 30.4 * DAY_S, year: 365.25 * DAY_S };

/** The starts of every `step`th unit in a period. */
function* starts(unit, step, from, to) {
  if (unit === "minute") {
    for (let at = startOf("hour", from); at <= to; at += 60 * step) yield at;
    return;
  }
  const { year, month, day } = local(from);
  for (let n = 0; ; n += 1) {
    let at;
    if (unit === "hour") at = instant(year, month, day, n * step);
    else if (unit === "day") at = instant(year, month, day + n);
    else if (unit === "month") at = instant(year, month + n);
    else at = instant(year + n);
    if (at > to) return;
    if (unit === "hour" && local(at).hour % step) continue;
    if (unit === "day" && step > 1 && !isTickDay(local(at).day, step)) continue;
    if (unit === "month" && (local(at).month - 1) % step) continue;
    if (unit === "year" && local(at).year % step) continue;
    yield at;
  }
}

/** Whether a day of the month has a tick: the 1st has, and every `step`th that is not next to it. */
const isTickDay = (day, step) => day % step === 1 && (day < 30 || step === 1);

function tickText(unit, at_s, isFirst, isLong) {
  if (unit === "year") return text(at_s, { year: "numeric" });
  if (unit === "month") return text(at_s, isFirst || local(at_s).month === 1 ? MONTH_OF_YEAR : MONTH);
  if (unit === "day") return text(at_s, isLong ? DATE_TICK : DAY);
  return isMidnight(at_s) ? text(at_s, DAY) : clock(at_s);
}

/** The ticks of a time axis of `width` pixels: `at` and `text` of each. */
export function ticksOf(from, to, width) {
  const fits = ([unit, step, pixels]) => ((to - from) / (SECONDS[unit] * step))
    * (pixels + (isClock(unit) ? HALF_DAY_PX : 0)) <= width;
  const [unit, step] = STEPS.find(fits) ?? STEPS.at(-1);
  const edge = to - ((to - from) * EDGE_PX) / width; // the text of a later one would be cut off
  const found = [...new Set(starts(unit, step, from, to))].filter((at) => at >= from && at <= edge);
  const isLong = to - from > 14 * DAY_S;
  return found.map((at, index) => ({ at, text: tickText(unit, at, index === 0, isLong) }));
}

/** The ticks of bars, one below the middle of every bar that has room for it. */
export function slotTicks(unit, slots, width) {
  const pixels = { quarter_hour: 56, hour: 56, day: 60, week: 64, month: 62, year: 56 }[unit];
  const every = Math.max(1, Math.ceil((pixels + (isClock(unit) ? HALF_DAY_PX : 0)) / (width / slots.length)));
  const kind = { quarter_hour: "minute", week: "day" }[unit] ?? unit;
  const isLong = unit === "week" || slots.length > 31;
  return slots.map(({ from, to }, index) => ({
    at: (from + to) / 2, text: tickText(kind, from, index === 0, isLong),
  })).filter((_tick, index) => index % every === 0);
}
