// A data set as a table, for people, and as a file, for their spreadsheets.

import { element } from "./catalogue.js";
import { marksAt } from "./history_legend.js";
import { t } from "./language.js";
import { markText } from "./marks.js";

const MOST_ROWS = 1000;
const FILE_NAMES = { up: "imported", own: "self_consumed", down: "exported" };
const timesOf = (data) => (data.kind === "bars" ? data.slots : data.ts.map((at) => ({ from: at })));

function headsOf(data) {
  return [
    ...data.columns.flatMap(({ label, high }) =>
      (high ? [label, t("{name}, lowest", { name: label }), t("{name}, highest", { name: label })] : [label])),
    ...(data.kind === "bars" && data.ghost ? [t("Before")] : []),
  ];
}

/** What was counted: a bar below zero has it with a minus. */
const counted = (value, sign) => (typeof value === "number" && sign < 0 ? -value : value);

/** What happened in each row: a last column, where anything did. */
const notesOf = (data, row) => marksAt(data, row).map((mark) => markText(mark, data.nameOf)).join("; ");

function valuesOf(data, row) {
  const before = data.kind === "bars" && data.ghost ? [data.ghost[0].values[row]] : [];
  return [
    ...data.columns.flatMap(({ values, low, high, sign = 1 }) =>
      (high ? [values[row], low[row], high[row]] : [counted(values[row], sign)])),
    ...before,
  ].map((value) => value ?? null);
}

/** Show a data set as a table. */
export function showTable(table, data) {
  const rows = timesOf(data).slice(0, MOST_ROWS).map((time, row) => element("tr", {},
    element("th", { scope: "row" }, time.text ?? data.textOf(row)),
    ...valuesOf(data, row).map((value) => element("td", {}, data.format(value))),
    ...(data.marks.length ? [element("td", { class: "note" }, notesOf(data, row))] : [])));
  const heads = [...headsOf(data), ...(data.marks.length ? [t("Note")] : [])];
  table.replaceChildren(
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, t("Time")),
      ...heads.map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...rows));
}

const iso = (at_s) => new Date(at_s * 1000).toISOString();
const cell = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** A data set as CSV: times in UTC, numbers with a point, nothing where a value is not known. */
export function csvOf(data) {
  const isBars = data.kind === "bars";
  const heads = data.columns.flatMap(({ key, high }) => {
    const name = FILE_NAMES[key] ?? key.replace("*", "house");
    return high ? [name, `${name}_min`, `${name}_max`] : [name];
  });
  if (isBars && data.ghost) heads.push("before");
  const rows = timesOf(data).map(({ from, to }, row) => [
    iso(from), ...(isBars ? [iso(to)] : []),
    ...valuesOf(data, row).map((value) => (value === null ? "" : String(value))),
  ]);
  const first = [...(isBars ? ["from", "to"] : ["ts"]), ...heads];
  return [first, ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
}

/** Hand a text to the reader as a file. */
export function download(name, text) {
  const link = element("a", { download: name });
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
