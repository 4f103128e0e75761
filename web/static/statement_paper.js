// A statement as a sheet of paper: registers, the lines of its cost with their total, and remarks.

import { ZONE, element, label, number, unit } from "./catalogue.js";
import { t } from "./language.js";
import { now_s } from "./live.js";
import { dayOf, daysAfter } from "./site_time.js";

const ENERGY = "energy_import";
const MOST_GAPS = 20;
const SAME_KWH = 0.0005;
const PERCENT = unit("voltage_thd");
export const UNKNOWN = t("not known");
const FIGURES = {
  consumption: t("Consumption"), imported: t("Imported"), exported: t("Exported"),
  production: t("Production"), "self-consumed": t("Self-consumed"), charged: t("Charged"),
  discharged: t("Discharged"), "measured at consumers": t("Measured at consumers"),
  "not measured at consumers": t("Not measured at consumers"),
};
/** Lines of a bill that no person has named. */
const ITEMS = {
  energy: t("energy"), "other times": t("other times"), "dynamic price": t("dynamic price"),
  "feed-in": t("feed-in"), tax: t("tax"), "standing charge": t("standing charge"),
};
const UNITS = {
  day: [t("1 day"), (number) => t("{number} days", { number })],
  month: [t("1 month"), (number) => t("{number} months", { number })],
  year: [t("1 year"), (number) => t("{number} years", { number })],
};

const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeZone: "UTC" });
const moments = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium", timeStyle: "short", timeZone: ZONE,
});
const upTo = (digits) => new Intl.NumberFormat(undefined, {
  minimumFractionDigits: 0, maximumFractionDigits: digits,
});
const priceFormat = new Intl.NumberFormat(undefined, {
  minimumFractionDigits: 2, maximumFractionDigits: 8,
});

const at = (text) => moments.format(Date.parse(text));
const kwh = (value) => (value === null ? UNKNOWN : `${number(value, 3)}\u202f${unit(ENERGY)}`);
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** A period from its first to its last day. */
export const days = (from, to) =>
  dates.formatRange(Date.parse(`${from}T12:00Z`), Date.parse(`${to}T12:00Z`));

/** Of a statement whose period is not over: until when it is, and that it is not final. */
export function soFar({ until, runs_until: end }) {
  if (!end) return "";
  const isOver = Date.parse(end) < now_s() * 1000;
  const last = dates.format(Date.parse(`${daysAfter(dayOf(Date.parse(end) / 1000), -1)}T12:00Z`));
  return isOver ? t("Until {time}: what came later is not rolled up yet. Look again in some minutes.", { time: at(until) })
    : t("So far, until {time}. Not final: the period ends on {day}.", { time: at(until), day: last });
}

/** The period of a statement: in days where it begins and ends with one. */
function span({ since, until }) {
  const isWhole = [since, until].every((text) => text.slice(11, 16) === "00:00");
  if (!isWhole) return moments.formatRange(Date.parse(since), Date.parse(until));
  return days(dayOf(Date.parse(since) / 1000), daysAfter(dayOf(Date.parse(until) / 1000), -1));
}

function quantity({ quantity: value, unit: of }) {
  if (of === PERCENT) return number(value, 2);
  if (of === unit(ENERGY)) return kwh(value);
  const [one, several] = UNITS[of] ?? [];
  if (value === 1 && one) return one;
  const shown = upTo(8).format(value);
  return several ? several(shown) : `${shown} ${of}`;
}

function price({ price: value, unit: of }) {
  if (value === null) return "";
  return of === PERCENT ? `${upTo(8).format(value)}\u202f${PERCENT}` : priceFormat.format(value);
}

function table(heads, rows, foot = null) {
  const row = (tag, texts) => element("tr", {}, ...texts.map((text, index) =>
    element(tag, { class: index ? "number" : null, scope: tag === "th" ? "col" : null }, text)));
  return element("table", { class: "plain" },
    ...(heads ? [element("thead", {}, row("th", heads))] : []),
    element("tbody", {}, ...rows.map((texts) => row("td", texts))),
    ...(foot ? [element("tfoot", {}, element("tr", {},
      element("th", { scope: "row", colspan: heads.length - 1 }, foot[0]),
      element("td", { class: "number" }, foot[1])))] : []));
}

const part = (title, ...content) => element("section", {}, element("h3", {}, title), ...content);
const named = (name, id) => (name === id ? id : `${name} (${id})`);

function head(title, each, terms) {
  return element("header", {}, element("h2", {}, title),
    element("p", { class: "about" }, `${span(each)} (${each.timezone})`),
    ...(each.runs_until ? [element("p", { class: "so-far" }, soFar(each))] : []),
    element("dl", {}, ...terms.filter(([, value]) => value).map(([term, value]) =>
      element("div", {}, element("dt", {}, term), element("dd", {}, value)))));
}

function foot({ hash }, { made_at: made, version }) {
  return element("footer", {}, element("p", {},
    t("Made {time} by Meterflow {version}.", { time: at(made), version }), " ",
    t("SHA-256 of what this rests on:"), " ", element("code", {}, hash)));
}

/** The statement of a meter. */
export function paper(each, file) {
  const registers = each.registers.map(({ counter, opening, closing, counted }) =>
    [label(counter), ...[opening, closing, counted].map((value) => number(value, 3))]);
  const items = each.items.map((item) =>
    [capital(ITEMS[item.name] ?? item.name), quantity(item), price(item), number(item.amount, 2)]);
  const total = each.total === null ? UNKNOWN : number(each.total, 2);
  const remarks = [...remarksOf(each)];
  return element("article", { class: "paper", "data-meter": each.meter_id },
    head(t("Electricity statement"), each, [
      [t("Meter"), named(each.name, each.meter_id)], [t("Serial number"), each.serial],
      [t("Consumption"), kwh(each.imported)], [t("Fed in"), each.exported ? kwh(each.exported) : ""],
      [t("Tariff"), each.tariff],
    ]),
    ...(registers.length ? [part(t("Registers"),
      table([`${t("Counter")} (${unit(ENERGY)})`, t("Opening"), t("Closing"), t("Counted")], registers))] : []),
    ...(each.tariff ? [part(t("Cost"),
      table([t("Item"), t("Quantity"), t("Price"), each.currency], items, [t("Total"), total]))] : []),
    ...(remarks.length ? [part(t("Remarks"), element("ul", {},
      ...remarks.map((remark) => element("li", {}, remark))))] : []),
    foot(each, file));
}

/** What the meters of the house measured together. */
export function housePaper(house, file) {
  const figures = Object.entries(house.figures).filter(([, value]) => value !== null)
    .map(([name, value]) => [FIGURES[name] ?? capital(name), kwh(value)]);
  const meters = house.meters.map((share) => [named(share.name, share.meter_id),
    kwh(share.imported), share.exported === null ? "" : kwh(share.exported)]);
  return element("article", { class: "paper" },
    head(t("The house"), house, []),
    table(null, figures),
    part(t("Meters"), table([t("Meter"), t("Imported"), t("Exported")], meters)),
    foot(house, file));
}

/** In sentences what a person should know about the figures. */
function* remarksOf(each) {
  for (const { at: when, counter, old_end: end, new_start: start } of each.swaps) {
    yield t("The meter was replaced on {time}.", { time: at(when) });
    if (counter && end !== null) yield t("{counter} of the old meter ended at {value}.", { counter: label(counter), value: kwh(end) });
    if (counter && start !== null) yield t("{counter} of the new meter began at {value}.", { counter: label(counter), value: kwh(start) });
  }
  for (const register of each.swaps.length ? [] : each.registers) yield* aboutRegister(register);
  for (const { start, end, why } of each.corrections) {
    yield t("Readings from {from} to {to} do not count: {why}", { from: at(start), to: at(end), why });
  }
  for (const check of each.checks) yield* aboutCheck(check);
  for (const gap of each.gaps.slice(0, MOST_GAPS)) yield aboutGap(gap);
  if (each.gaps.length > MOST_GAPS) {
    yield t("There are {count} more times without readings.", { count: each.gaps.length - MOST_GAPS });
  }
  if (each.estimated) {
    yield t("{energy} are known by the hour alone, and are spread evenly over it.", { energy: kwh(each.estimated) });
  }
  if (each.tariff && each.total === null) yield whyUnknown(each);
}

function whyUnknown({ imported, items, uncovered }) {
  if (imported === null) return t("There are no readings in the period, so that the total is not known.");
  if (!items.length) {
    return t("The tariff has no prices in the period yet, so that the total is not known.");
  }
  return t("{energy} have no price, so that the total is not known.", { energy: kwh(uncovered) });
}

function* aboutRegister({ counter, opening, closing, counted, is_first: isFirst }) {
  const name = { counter: label(counter) };
  if (isFirst) yield t("{counter}: the readings of the meter begin within the period.", name);
  else if (Math.abs(closing - opening - counted) > SAME_KWH) {
    yield t("{counter}: the counter was reset within the period.", name);
  }
}

function* aboutCheck({ at: when, counter, value, since, by_utility: theirs, by_meter: ours }) {
  yield t("{time}: the utility’s meter showed {value} ({counter}).",
    { time: at(when), value: kwh(value), counter: label(counter) });
  if (theirs === null || ours === null) return;
  const drift = ours - theirs;
  yield t("Since {time} it has counted {theirs}, this meter {ours} ({drift}).", {
    time: at(since), theirs: kwh(theirs), ours: kwh(ours), drift: `${drift > 0 ? "+" : ""}${kwh(drift)}`,
  });
}

function aboutGap({ start, end, counted }) {
  const times = { from: at(start), to: at(end) };
  if (counted === null) return t("No readings from {from} to {to}.", times);
  return t("No readings from {from} to {to}; {energy} were counted in the quarter-hour at its end.",
    { ...times, energy: kwh(counted) });
}
