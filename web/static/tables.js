// The two tables of a meter's page: its newest readings, and all of its quantities.

import {
  age, element, family, formatPlain, isKnown, label, localTime, names, setText, shortLabel, split, unit,
} from "./catalogue.js";
import { t } from "./language.js";
import { at_s } from "./trace.js";

const GROUPS = ["power", "voltage", "current", "energy"];

/** The groups of columns that the readings have; `energy` is another name for the import. */
function groupsOf(present) {
  return GROUPS.map((head) => {
    const columns = family(head).filter((name) => present.has(name)
      && !(name === "energy" && present.has("energy_import")));
    const heads = columns.map((name) => (columns.length > 1 ? shortLabel(name, head) : ""));
    return { head, columns, heads };
  }).filter(({ columns }) => columns.length);
}

/** The newest readings, newest first, with the columns of GROUPS that the meter has; while unfolded. */
export class ReadingTable {
  static LENGTH = 25;

  constructor(details, table) {
    this.details = details;
    this.table = table;
    this.body = element("tbody");
    this.rows = [];
    this.columns = [];
  }

  seed(readings) {
    const newest = readings[0] ? at_s(readings[0]) : -Infinity;
    this.rows = [...this.rows.filter((row) => at_s(row) > newest), ...readings];
    this.changed = true;
  }

  /** Add a live reading; the history may already have returned it. */
  add(reading) {
    if (this.rows.length && at_s(reading) <= at_s(this.rows[0])) return;
    this.rows.unshift(reading);
    this.rows.length = Math.min(this.rows.length, ReadingTable.LENGTH); // it may stay folded for days
    this.changed = true;
  }

  show() {
    if (!this.changed || !this.details.open) return;
    this.changed = false;
    this.rows.length = Math.min(this.rows.length, ReadingTable.LENGTH);
    const present = new Set(this.rows.flatMap((row) => Object.keys(row)));
    const groups = groupsOf(present);
    const columns = groups.flatMap((group) => group.columns);
    if (columns.join() !== this.columns.join()) this.head(groups, columns);
    this.body.replaceChildren(...this.rows.map((row) => this.row(row)));
  }

  head(groups, columns) {
    this.columns = columns;
    this.firsts = new Set(groups.map((group) => group.columns[0]));
    const titles = groups.map((group) => element(
      "th", { scope: "colgroup", colspan: group.columns.length },
      label(group.head), element("span", { class: "unit" }, unit(group.head)),
    ));
    const heads = groups.flatMap((each) => each.heads.map((text, index) =>
      element("th", { scope: "col", class: index ? null : "first" }, text)));
    this.table.replaceChildren(
      element("thead", {},
        element("tr", {}, element("th", { scope: "col", rowspan: 2 }, t("Time")), ...titles),
        element("tr", {}, ...heads)),
      this.body,
    );
  }

  row(reading) {
    return element("tr", {},
      element("th", { scope: "row" }, localTime(at_s(reading))),
      ...this.columns.map((name) => element(
        "td", { class: this.firsts.has(name) ? "first" : null }, formatPlain(name, reading[name]))));
  }
}

/** All quantities that the meter has sent, with unit and age. */
export class QuantityTable {
  constructor(section) {
    this.box = section.querySelector("div.quantities");
    this.cells = new Map();
  }

  show(meter, now_s) {
    if (this.cells.size !== meter.values.size) this.build(meter);
    for (const [name, cells] of this.cells) {
      const value = split(name, meter.value(name), undefined, meter.digits(name));
      const texts = [value.text, value.unit, age(now_s - meter.values.get(name).ts)];
      cells.forEach((cell, index) => setText(cell, texts[index]));
      cells[0].classList.toggle("old", meter.isOld(name, now_s));
    }
  }

  build(meter) {
    this.cells.clear();
    for (const name of meter.values.keys()) if (!isKnown(name)) meter.values.delete(name);
    const rows = names.filter((name) => meter.has(name)).map((name) => {
      const cells = ["value", "unit", "age"].map((column) => element("td", { class: column }));
      this.cells.set(name, cells);
      return element("tr", { "data-of": name }, element("th", { scope: "row" }, label(name)), ...cells);
    });
    this.box.replaceChildren(element("table", {}, element("tbody", {}, ...rows)));
  }
}
