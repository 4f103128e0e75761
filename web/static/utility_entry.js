// A reading of the utility's own meter as an item of a list, with the deviation of ours.

import { ZONE, element, label, number, unit } from "./catalogue.js";
import { t } from "./language.js";

const ENERGY = "energy_import";
/** Two meters of class 1 differ by less; the utility's shows whole kWh. */
const MOST_PERCENT = 2;
const STEP_KWH = 1;
const LATE_MS = 15 * 60_000;

const moments = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium", timeStyle: "short", timeZone: ZONE,
});
const at = (text) => moments.format(Date.parse(text));
const kwh = (value, digits) => `${number(value, digits)}\u202f${unit(ENERGY)}`;

/** Energy with as many decimals as the value has, at least one and at most three. */
export const shown = (value) =>
  kwh(value, Math.max(1, (String(Math.round(value * 1000) / 1000).split(".")[1] ?? "").length));

/** Time and register of an entry, and the name of its meter where there are several. */
export const titleOf = ({ ts, register }, name) =>
  [at(ts), name, register === "export" ? label("energy_export") : ""].filter(Boolean).join(" · ");

/** What both meters have counted since the entry before, in a sentence. */
export function comparison(entry) {
  const { since, by_utility: theirs, by_meter: ours, drift, drift_percent: share } = entry;
  if (entry.measured_at === null) return t("Our meter had counted nothing yet.");
  if (since === null) return t("The first one: the next is compared with it.");
  if (theirs === null) return t("Lower than the one before: is it mistyped, or was the utility’s meter replaced?");
  if (ours === null) return t("Our meter had no readings at the time of the one before.");
  const deviation = share === null ? kwh(drift, 1) : `${number(share, 2)}\u202f${unit("voltage_thd")}`;
  return t("Since {time}: ours {ours}, utility {theirs}: {deviation}", {
    time: at(since), ours: kwh(ours, 1), theirs: kwh(theirs, 1),
    deviation: drift > 0 ? `+${deviation}` : deviation,
  });
}

const isFarOff = ({ by_utility: theirs, drift }) =>
  drift !== null && Math.abs(drift) > STEP_KWH + theirs * MOST_PERCENT / 100;

/** What a person should know about a comparison. */
function* remarks(entry) {
  const { ts, measured_at: last } = entry;
  if (last !== null && Date.parse(ts) - Date.parse(last) > LATE_MS) {
    yield t("Our meter has no readings from {time} until then: the deviation lacks what came later.", { time: at(last) });
  }
  if (isFarOff(entry)) yield t("Two meters differ by less: check this number, and the wiring.");
}

/** The item of an entry; an editor gets buttons. */
export function item(entry, name, isEditor) {
  const title = titleOf(entry, name);
  const buttons = !isEditor ? [] : [["correct", t("Correct")], ["remove", t("Remove")]].map(([what, text]) =>
    element("button", { type: "button", class: "button", "data-do": what, "aria-label": `${text}: ${title}` }, text));
  const isOdd = isFarOff(entry) || (entry.since !== null && entry.by_utility === null);
  return element("li", { "data-odd": isOdd ? "" : null },
    element("p", { class: "entry" }, element("span", {}, title), " ", element("b", {}, shown(entry.value))),
    ...[comparison(entry), ...remarks(entry)].map((text) => element("p", { class: "about" }, text)),
    ...(buttons.length ? [element("div", { class: "do" }, ...buttons)] : []));
}
