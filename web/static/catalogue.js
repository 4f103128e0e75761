// The catalogue of quantities, and how and how often values and times are written. Labels, units and
// decimals come with the page from the server's catalogue; no file here repeats one of them.

import { t } from "./language.js";

const rows = new Map(
  JSON.parse(document.getElementById("catalogue").textContent).map((row) => [row.name, row]),
);
const PHASE = /^([a-z_]+)_(l\d)$/; // no digit in the first part: voltage_l1_l2 is between phases
const KILO_FROM = 10_000;
const FRAME_MS = 250;

/** The time zone of the site: its days and its hours, wherever the reader is. */
export const ZONE = document.documentElement.dataset.zone;

export const MISSING = "–";

/** The names of all quantities, in the catalogue's order. */
export const names = [...rows.keys()];

export const isKnown = (name) => rows.has(name);
export const label = (name) => rows.get(name)?.label ?? name;
export const unit = (name) => rows.get(name)?.unit ?? "";
export const decimals = (name) => rows.get(name)?.decimals ?? 2;

/** Whether the values of the phases add up to the meter's; otherwise the meter's is their mean. */
export const isAdditive = (name) => rows.get(name)?.additive ?? false;

/** The phase of a quantity, as in "l1"; null where the quantity is of the whole meter. */
export const phaseOf = (name) => PHASE.exec(name)?.[2] ?? null;

export const PHASES = [...new Set(names.map(phaseOf))].filter(Boolean).sort();

/** A quantity and its parts, those that the catalogue has: phases, import and export. */
export const family = (name) =>
  [name, ...[...PHASES, "import", "export"].map((part) => `${name}_${part}`)].filter(isKnown);

/** The label of a member of a family below the family's own: "L1", "Import", "Total", "Mean". */
export function shortLabel(name, head) {
  if (name === head) return isAdditive(name) ? t("Total") : t("Mean");
  const rest = label(name).replace(`${label(head)} `, "");
  return rest[0].toUpperCase() + rest.slice(1);
}

const formats = new Map();

/** A number in the reader's own notation, with a true minus sign and never "-0". */
export function number(value, digits) {
  if (!formats.has(digits)) {
    formats.set(digits, new Intl.NumberFormat(undefined, {
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
      signDisplay: "negative",
    }));
  }
  return formats.get(digits).format(value).replace("-", "\u2212");
}

const inKilo = (name, value, from = KILO_FROM) =>
  Boolean(rows.get(name)?.kilo) && Math.abs(value) >= from;

const percents = new Intl.NumberFormat(undefined, { style: "percent" });

/** A share, such as 0.12, in percent. */
export const percent = (share) => percents.format(share);

/**
 * The text and the unit of a value, in thousands of the unit `from` that value on; with at most as
 * many decimals as `digits`, those that its meter gives.
 */
export function split(name, value, from = KILO_FROM, digits = Infinity) {
  if (value === null || value === undefined) return { text: MISSING, unit: unit(name) };
  if (inKilo(name, value, from)) return { text: number(value / 1000, 2), unit: `k${unit(name)}` };
  return { text: number(value, Math.min(decimals(name), digits)), unit: unit(name) };
}

/** Text and unit as one text; a dash where there is no value. */
export function format(...value) {
  const { text, unit: shown } = split(...value);
  return shown && text !== MISSING ? `${text}\u202f${shown}` : text;
}

/** The text of a value beside a head that names the unit: never in thousands. */
export const formatPlain = (name, value) =>
  (value === null || value === undefined ? MISSING : number(value, decimals(name)));

/** The texts of a value axis with ticks `step` apart, all in one unit, which the topmost names. */
export function axisTexts(name, ticks, step) {
  const kilo = ticks.some((value) => inKilo(name, value));
  const divisor = kilo ? 1000 : 1;
  const digits = Math.max(0, -Math.floor(Math.log10(step / divisor) + 1e-9));
  return ticks.map((value, index) => number(value / divisor, digits)
    + (index === ticks.length - 1 ? `\u202f${kilo ? "k" : ""}${unit(name)}` : ""));
}

/** "now", "12 s ago", "5 min ago", "3 h ago", "2 d ago". */
export function age(seconds) {
  if (seconds < 1.5) return t("now");
  if (seconds < 90) return t("{n} s ago", { n: Math.round(seconds) });
  if (seconds < 90 * 60) return t("{n} min ago", { n: Math.round(seconds / 60) });
  if (seconds < 36 * 3600) return t("{n} h ago", { n: Math.round(seconds / 3600) });
  return t("{n} d ago", { n: Math.round(seconds / 86400) });
}

/** The parts of an amount of money in a currency of ISO 4217, or in one of another name. */
export function moneyParts(amount, currency) {
  const options = { style: "currency", currency, signDisplay: "negative" };
  try {
    return new Intl.NumberFormat(undefined, options).formatToParts(amount)
      .map((part) => (part.type === "minusSign" ? { ...part, value: "\u2212" } : part));
  } catch {
    return [{ value: `${number(amount, 2)}\u202f` }, { type: "currency", value: currency }];
  }
}

/** An amount of money as a text. */
export const money = (...all) => moneyParts(...all).map(({ value }) => value).join("");

const formatOf = (options, locale) =>
  new Intl.DateTimeFormat(locale, { timeZone: ZONE, ...options });
const clockTime = formatOf({ timeStyle: "medium" });
const dayAndTime = formatOf({ dateStyle: "medium", timeStyle: "medium" });
const minutes = formatOf({ hour: "numeric", minute: "2-digit" });
const days = formatOf({ weekday: "short", day: "numeric" });
const plainDay = formatOf({ dateStyle: "short" }, "en-GB");
const plainTime = formatOf({ timeStyle: "medium" }, "en-GB");

/** The site's time of epoch seconds in hours and minutes. */
export const clock = (at_s) => minutes.format(new Date(at_s * 1000));

/** The site's time of epoch seconds; with the day where that is not today. */
export function localTime(at_s) {
  const date = new Date(at_s * 1000);
  const isToday = plainDay.format(date) === plainDay.format(new Date());
  return (isToday ? clockTime : dayAndTime).format(date);
}

/** The text of a tick on a time axis with ticks `step_s` apart. */
export function timeTick(at_s, step_s) {
  const date = new Date(at_s * 1000);
  const isMidnight = plainTime.format(date) === "00:00:00";
  if (step_s >= 86_400 || (isMidnight && step_s >= 3600)) return days.format(date);
  return (step_s < 60 ? clockTime : minutes).format(date);
}

/** Make an element; children are elements or text, which is never parsed as markup. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Set text only where it changes: every write costs a layout, even of the same text. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Entries of a description list, of the whole meter or of a phase; `showValues` fills them. */
export function descriptions(quantities, phase = null) {
  return quantities.map((name) => element("div", {},
    element("dt", {}, label(name)),
    element("dd", {},
      element("span", { "data-quantity": phase ? `${name}_${phase}` : name }),
      element("span", { class: "unit" }))));
}

/** Fill every element below `root` that names a quantity, and the element for the unit behind it. */
export function showValues(root, meter, now_s) {
  for (const target of root.querySelectorAll("[data-quantity]")) {
    const name = target.dataset.quantity;
    const { text, unit: shown } = split(name, meter.value(name), KILO_FROM, meter.digits(name));
    setText(target, text);
    setText(target.nextElementSibling, shown);
    target.classList.toggle("old", meter.isOld(name, now_s));
  }
}

/** Return a function that schedules `draw`: at most four times a second, while the page is visible. */
export function paced(draw) {
  let waiting = false;
  let last = -Infinity;
  return () => {
    if (waiting || document.hidden) return;
    waiting = true;
    setTimeout(() => requestAnimationFrame((at) => {
      waiting = false;
      if (document.hidden) return;
      last = at;
      draw();
    }), Math.max(0, last + FRAME_MS - performance.now()));
  };
}
