// How things are shown: elements, the catalogue of quantities, numbers, times and ages.

export const MISSING = "–";

/** Make an element; children are elements or text, which stays text whatever it holds. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Set text only where it changes: a write costs a layout even when it says the same. */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

export const catalogue = new Map(
  JSON.parse(document.getElementById("quantities").textContent).map((row) => [row.name, row]),
);

const formats = new Map();

/** A number in the reader's own notation, with a true minus sign and never "-0". */
export function number(value, decimals) {
  if (!formats.has(decimals)) {
    formats.set(decimals, new Intl.NumberFormat(undefined, {
      minimumFractionDigits: decimals,
      maximumFractionDigits: decimals,
      signDisplay: "negative",
    }));
  }
  return formats.get(decimals).format(value).replace("-", "\u2212");
}

/** The text and unit of a value: 9,850 W but 10.24 kW; a dash where there is no value. */
export function shown(name, value) {
  const { unit = "", decimals = 2 } = catalogue.get(name) ?? {};
  if (value === null || value === undefined) return { text: MISSING, unit };
  if (/^(W|VA|var)$/.test(unit) && Math.abs(value) >= 10_000) {
    return { text: number(value / 1000, 2), unit: `k${unit}` };
  }
  return { text: number(value, decimals), unit };
}

/** The text of a value in a column whose head names the unit: never scaled. */
export function plain(name, value) {
  return value === null || value === undefined ? MISSING : number(value, catalogue.get(name).decimals);
}

/** Text and unit as one piece of text. */
export function phrase(name, value) {
  const { text, unit } = shown(name, value);
  return unit && text !== MISSING ? `${text}\u202f${unit}` : text;
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

/** Local time of epoch seconds; the day is named where it is not today. */
export function localTime(at_s) {
  const date = new Date(at_s * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return (today ? clockTime : dayAndTime).format(date);
}

/** The text of a tick on a time axis whose ticks are `step_s` apart. */
export function tick(at_s, step_s) {
  const date = new Date(at_s * 1000);
  const midnight = date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0;
  if (step_s >= 86_400 || (midnight && step_s >= 3600)) return days.format(date);
  return (step_s < 60 ? clockTime : minutes).format(date);
}

export const PHASES = ["l1", "l2", "l3"];
export const STATES = {
  online: "Online", stale: "Stale", offline: "Offline", waiting: "No reading yet",
};

/** What is told beside a meter's name: its id where the name is another, and its model. */
export function about(meter) {
  const named = meter.name === meter.id || meter.name === `Meter ${meter.id}`;
  return [named ? "" : `Meter ${meter.id}`, meter.model].filter(Boolean).join(" · ");
}

/** Show state and age of a meter in the elements marked for it below `root`. */
export function showState(root, meter, now_s) {
  const state = meter.state(now_s);
  root.dataset.state = state;
  say(root.querySelector(".state-word"), STATES[state]);
  const age_s = meter.age_s(now_s);
  const old = root.querySelector("time");
  say(old, age_s === null ? "" : age(age_s));
  if (meter.last_s !== null) old.dateTime = new Date(meter.last_s * 1000).toISOString();
}

/** Terms and values of a description list, to be filled by `showValues`; rows are [name, label]. */
export function pairs(rows) {
  return rows.map(([name, label]) => element("div", {},
    element("dt", {}, label),
    element("dd", {}, element("span", { "data-quantity": name }), element("span", { class: "unit" }))));
}

/** Fill every element below `root` that names a quantity with that quantity's value. */
export function showValues(root, meter, now_s) {
  for (const target of root.querySelectorAll("[data-quantity]")) {
    const name = target.dataset.quantity;
    const { text, unit } = shown(name, meter.value(name));
    say(target, text);
    target.classList.toggle("old", meter.isOld(name, now_s));
    if (target.nextElementSibling?.classList.contains("unit")) say(target.nextElementSibling, unit);
  }
}

/** "importing" or "exporting" while the meter is heard, as data for the style sheet too. */
export function showDirection(target, meter, now_s) {
  const power = meter.state(now_s) === "online" ? meter.value("power") : 0;
  const direction = !power ? "none" : power > 0 ? "import" : "export";
  target.dataset.direction = direction;
  say(target, direction === "none" ? "" : `${direction}ing`);
}
