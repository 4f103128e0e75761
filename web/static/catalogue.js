// The catalogue of quantities, and how values and times are written. Labels, units and decimals
// come with the page from the server's catalogue; no file here repeats one of them.

const rows = new Map(
  JSON.parse(document.getElementById("catalogue").textContent).map((row) => [row.name, row]),
);
const PHASE = /^([a-z_]+)_(l\d)$/; // no digit in the first part: voltage_l1_l2 is between phases
const KILO_FROM = 10_000;

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
  if (name === head) return isAdditive(name) ? "Total" : "Mean";
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

const inKilo = (name, value) => Boolean(rows.get(name)?.kilo) && Math.abs(value) >= KILO_FROM;

/** The text and the unit of a value, in thousands of the unit where the value is large. */
export function split(name, value) {
  if (value === null || value === undefined) return { text: MISSING, unit: unit(name) };
  if (inKilo(name, value)) return { text: number(value / 1000, 2), unit: `k${unit(name)}` };
  return { text: number(value, decimals(name)), unit: unit(name) };
}

/** Text and unit as one text; a dash where there is no value. */
export function format(name, value) {
  const { text, unit: shown } = split(name, value);
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
  if (seconds < 1.5) return "now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} d ago`;
}

const clockTime = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const dayAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const minutes = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const days = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric" });

/** Local time of epoch seconds; with the day where that is not today. */
export function localTime(at_s) {
  const date = new Date(at_s * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return (today ? clockTime : dayAndTime).format(date);
}

/** The text of a tick on a time axis with ticks `step_s` apart. */
export function timeTick(at_s, step_s) {
  const date = new Date(at_s * 1000);
  const midnight = date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0;
  if (step_s >= 86_400 || (midnight && step_s >= 3600)) return days.format(date);
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

/** Fill every element below `root` that names a quantity; in thousands only where it has a unit. */
export function showValues(root, meter, now_s) {
  for (const target of root.querySelectorAll("[data-quantity]")) {
    const name = target.dataset.quantity;
    const value = meter.value(name);
    const unitBox = target.nextElementSibling?.classList.contains("unit") && target.nextElementSibling;
    const { text, unit: shown } = split(name, value);
    setText(target, unitBox ? text : formatPlain(name, value));
    if (unitBox) setText(unitBox, shown);
    target.classList.toggle("old", meter.isOld(name, now_s));
  }
}
