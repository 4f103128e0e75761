// Readings as a table: days as groups of rows, families of quantities as groups of columns, and marks
// on readings that a person has made void.

import { ZONE, element, formatPlain, label, shortLabel, unit } from "./catalogue.js";
import { t } from "./language.js";
import { at_s } from "./trace.js";
import { headOf } from "./reading_query.js";
import { dayOf } from "./site_time.js";

const days = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeZone: ZONE });
const times = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", timeZone: ZONE });

/** Groups of columns by family; those with several members have a second row of heads. */
function groups(columns) {
  return [...Map.groupBy(columns, headOf)].map(([head, members]) => ({
    head, members, heads: members.length > 1 ? members.map((name) => shortLabel(name, head)) : [],
  }));
}

function headRows(grouped, withMeter) {
  const two = { scope: "col", rowspan: 2 };
  const title = ({ head, members }) => element(
    "th", members.length > 1 ? { scope: "colgroup", colspan: members.length } : two,
    label(members.length > 1 ? head : members[0]), element("span", { class: "unit" }, unit(head)));
  return element("thead", {},
    element("tr", {},
      element("th", two, t("Time")),
      ...(withMeter ? [element("th", { ...two, class: "meter" }, t("Meter"))] : []),
      ...grouped.map(title)),
    element("tr", {}, ...grouped.flatMap(({ heads }) => heads.map((text, index) =>
      element("th", { scope: "col", class: index ? null : "first" }, text)))));
}

/** "void" where no sum counts the reading, "counts again" where a person has undone that. */
function mark(found) {
  if (!found) return [];
  const text = found.undone ? t("counts again") : t("void");
  return [element("span", { class: "mark", title: found.why }, text)];
}

/**
 * Fill a table with readings. `voidOf(reading)` returns the void that a reading is part of, and
 * `nameOf(id)` the name of a meter, null for a table of one meter alone.
 */
export function showList(table, readings, columns, voidOf, nameOf) {
  const grouped = groups(columns);
  const row = (reading) => {
    const found = voidOf(reading);
    return element("tr", { class: found && !found.undone ? "void" : null },
      element("th", { scope: "row" }, times.format(at_s(reading) * 1000), ...mark(found)),
      ...(nameOf ? [element("td", { class: "meter" }, nameOf(reading.meter_id))] : []),
      ...grouped.flatMap(({ members }) => members.map((name, index) => element(
        "td", { class: index ? null : "first" }, formatPlain(name, reading[name])))));
  };
  const width = 1 + Boolean(nameOf) + columns.length;
  const byDay = Map.groupBy(readings, (reading) => dayOf(at_s(reading)));
  table.replaceChildren(...(readings.length ? [headRows(grouped, Boolean(nameOf))] : []),
    ...[...byDay.values()].map((some) => element("tbody", {},
      element("tr", { class: "day" }, element(
        "th", { scope: "rowgroup", colspan: width }, days.format(at_s(some[0]) * 1000))),
      ...some.map(row))));
}
