// The two tables of a meter's page: its newest readings, and all of its quantities.

import { at_s } from "./meters.js";
import { age, catalogue, element, localTime, plain, say, shown } from "./show.js";

// The core columns in groups; the short heads below a group's name.
const GROUPS = [
  ["power", { power: "Total", power_l1: "L1", power_l2: "L2", power_l3: "L3" }],
  ["voltage", { voltage: "Mean", voltage_l1: "L1", voltage_l2: "L2", voltage_l3: "L3" }],
  ["current", { current: "Total", current_l1: "L1", current_l2: "L2", current_l3: "L3" }],
  ["energy", { energy: "Total", energy_import: "Import", energy_export: "Export" }],
];

/** The groups with the columns that occur; `energy` is the import under its short name. */
function groupsOf(present) {
  return GROUPS.map(([group, heads]) => {
    const names = Object.keys(heads).filter((name) => present.has(name)
      && !(name === "energy" && present.has("energy_import")));
    return { group, names, heads: names.map((name) => (names.length > 1 ? heads[name] : "")) };
  }).filter(({ names }) => names.length);
}

/** The newest readings, newest first, in the core columns that the meter has. */
export class ReadingTable {
  static LENGTH = 25;

  constructor(table) {
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

  add(reading) {
    this.rows.unshift(reading);
    this.changed = true;
  }

  show() {
    if (!this.changed) return;
    this.changed = false;
    this.rows.length = Math.min(this.rows.length, ReadingTable.LENGTH);
    const present = new Set(this.rows.flatMap((row) => Object.keys(row)));
    const groups = groupsOf(present);
    const columns = groups.flatMap(({ names }) => names);
    if (columns.join() !== this.columns.join()) this.head(groups, columns);
    this.body.replaceChildren(...this.rows.map((row) => this.row(row)));
  }

  head(groups, columns) {
    this.columns = columns;
    this.firsts = new Set(groups.map(({ names }) => names[0]));
    const titles = groups.map(({ group, names }) => element(
      "th", { scope: "colgroup", colspan: names.length },
      group[0].toUpperCase() + group.slice(1),
      element("span", { class: "unit" }, catalogue.get(group).unit),
    ));
    const heads = groups.flatMap((each) => each.heads.map((text, index) =>
      element("th", { scope: "col", class: index ? null : "first" }, text)));
    this.table.replaceChildren(
      element("thead", {},
        element("tr", {}, element("th", { scope: "col", rowspan: 2 }, "Time"), ...titles),
        element("tr", {}, ...heads)),
      this.body,
    );
  }

  row(reading) {
    return element("tr", {},
      element("th", { scope: "row" }, localTime(at_s(reading))),
      ...this.columns.map((name) => element(
        "td", { class: this.firsts.has(name) ? "first" : null }, plain(name, reading[name]))));
  }
}

/** All quantities the meter has shown, with unit and age; drawn only while unfolded. */
export class QuantityTable {
  constructor(details) {
    this.details = details;
    this.box = details.querySelector("div");
    this.cells = new Map();
  }

  show(meter, now_s) {
    if (!this.details.open) return;
    if (this.cells.size !== meter.values.size) this.build(meter);
    for (const [name, [value, unit, old]] of this.cells) {
      const words = shown(name, meter.value(name));
      say(value, words.text);
      say(unit, words.unit);
      say(old, age(now_s - meter.values.get(name).ts));
    }
  }

  build(meter) {
    this.cells.clear();
    const names = [...catalogue.keys()].filter((name) => meter.has(name));
    for (const name of meter.values.keys()) if (!catalogue.has(name)) meter.values.delete(name);
    const rows = names.map((name) => {
      const cells = ["value", "unit", "age"].map((word) => element("td", { class: word }));
      this.cells.set(name, cells);
      return element("tr", {}, element("th", { scope: "row" }, catalogue.get(name).label), ...cells);
    });
    this.box.replaceChildren(element("table", {}, element("tbody", {}, ...rows)));
  }
}
