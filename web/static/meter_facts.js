// What GET /meters/<id>/diagnostics says about a meter, as sections of a page.

import { MISSING, element, localTime, number } from "./catalogue.js";
import { t } from "./language.js";

const LEAST_GOOD = 0.99;

const at = (text) => (text ? localTime(Date.parse(text) / 1000) : MISSING);
const count = (value) => number(value, 0);
const seconds = (value) => t("{seconds} s", { seconds: number(value, Number.isInteger(value) ? 0 : 1) });

/** A part of the page below a head. */
export const section = (title, ...content) => element("section", {}, element("h3", {}, title), ...content);

/** A list of terms with their values; those without a value are left out. */
export const terms = (pairs) => element("dl", { class: "terms" }, ...pairs
  .filter(([, value]) => value !== null && value !== undefined && value !== "")
  .map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value))));

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const quiet = (text) => element("p", { class: "about" }, text);
/** A sentence of a bridge or a recorder, as the log has it: in English, whatever the page speaks. */
const english = (text) => element("span", { lang: "en" }, sentence(text));

/** A table with a head for each column; `numbers` are the columns of numbers. */
function plainTable(heads, rows, numbers = []) {
  const cell = (tag, index, text) => element(tag, {
    class: numbers.includes(index) ? "number" : null, scope: tag === "th" ? "col" : null,
  }, text);
  const made = element("table", { class: "plain" },
    element("thead", {}, element("tr", {}, ...heads.map((text, index) => cell("th", index, text)))),
    element("tbody", {}, ...rows.map((row) =>
      element("tr", {}, ...row.map((text, index) => cell("td", index, text))))));
  return element("div", { class: "wrap" }, made);
}

export function identity(found, row) {
  const { gateway } = found;
  const reached = gateway && (gateway.connected
    ? t("connected") : t("not connected: {why}", { why: gateway.trouble ?? t("no reason is known") }));
  return section(t("Identity"), terms([
    [t("Meter id"), found.meter_id],
    [t("Model"), [found.manufacturer, found.model].filter(Boolean).join(" ")],
    [t("Serial number"), found.serial ?? MISSING],
    [t("Wiring"), found.wiring],
    [t("Bridge"), found.bridge],
    [t("Gateway"), gateway && [gateway.address, reached].filter(Boolean).join(", ")],
    [t("Unit id"), found.unit_id === null ? null : String(found.unit_id)],
    [t("Interval"), found.interval === null ? null : seconds(found.interval)],
    [t("First reading"), at(row.first_seen)],
    [t("Newest reading"), at(row.last_seen)],
  ]));
}

/** How well a meter can be read: the share of good responses since its bridge has started. */
export function link(found) {
  const head = t("Link quality");
  if (!found.link) return section(head, quiet(t("Not known: no bridge reads this meter.")));
  const { readings, timeouts, faults, held } = found.link;
  const all = readings + timeouts + faults;
  const share = all ? readings / all : null;
  const percent = share === null ? MISSING
    : new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 2 }).format(share);
  return section(head,
    element("p", { class: "share", "data-poor": share !== null && share < LEAST_GOOD ? "" : null },
      t("{percent} good responses", { percent })),
    terms([
      [t("Readings"), count(readings)], [t("Timeouts"), count(timeouts)],
      [t("Damaged responses"), count(faults)], [t("Values held back"), count(held)],
    ]),
    quiet(t("Since the bridge has started.")));
}

export function wiring(found) {
  const head = t("Wiring check");
  const check = found.wiring_check;
  if (!check) return section(head, quiet(t("Not checked: only a bridge does that.")));
  const idle = check.idle.map((phase) => phase.toUpperCase()).join(", ");
  const rest = idle ? quiet(t("Too little load to check: {phases}", { phases: idle })) : "";
  if (!check.suspicions.length) {
    return section(head, element("p", {}, t("No fault found in the last values.")), rest);
  }
  return section(head, element("ul", { class: "faults" }, ...check.suspicions.map(({ text, remedy }) =>
    element("li", {}, element("b", {}, english(text)), quiet(english(remedy))))), rest);
}

export function plan(found) {
  if (!found.blocks?.length) return null;
  return section(t("Blocks of registers"), plainTable(
    [t("Registers"), t("Count"), t("Every")],
    found.blocks.map(({ address, count: size, interval }) =>
      [`${address}–${address + size - 1}`, count(size), seconds(interval)]), [1, 2]));
}

export function events(found) {
  const head = t("Events");
  if (!found.events.length) return section(head, quiet(t("None since the bridge has started.")));
  return section(head, element("ul", { class: "events" },
    ...found.events.toReversed().map((event) => element("li", {}, english(event)))));
}

export function rejected(found) {
  const head = t("Rejected messages");
  if (!found.rejected.length) return section(head, quiet(t("None.")));
  const made = section(head, plainTable(
    [t("Time"), t("Topic"), t("Why")],
    found.rejected.map(({ ts, topic, reason, detail }) => [at(ts), topic, element("span", { lang: "en" }, detail || reason)])));
  made.classList.add("wide");
  return made;
}
