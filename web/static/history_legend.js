// The words around the history's chart: its legend, which reads the values at the cursor, its
// summary, and what is said of an empty period.

import { MISSING, element, format, label } from "./catalogue.js";
import { moment } from "./history_time.js";
import { t } from "./language.js";

const isKnown = (value) => typeof value === "number";

const WORDS = { replaced: t("meter replaced"), reset: t("counter reset") };

/** Rows in which another subject's times can lie between two of a line. */
const NEAR = 6;

function valueText(data, { values, low, high }, at) {
  let row = at;
  while (values[row] === undefined && row > 0 && at - row < NEAR) row -= 1;
  const value = values[row];
  if (!isKnown(value)) return MISSING;
  const text = data.format(value);
  if (!high || !isKnown(high[row]) || high[row] === low[row]) return text;
  return `${text} (${data.format(low[row])} – ${data.format(high[row])})`;
}

/** The value of the period before at a row; a line has it at times of its own. */
function ghostText(data, row) {
  const [ghost] = data.ghost;
  if (data.kind === "bars") return isKnown(ghost.values[row]) ? data.format(ghost.values[row]) : MISSING;
  const at = data.ts[row];
  const place = ghost.ts.findIndex((each) => each >= at);
  return isKnown(ghost.values[place]) ? data.format(ghost.values[place]) : MISSING;
}

function key(kind, { label: text, paint = null, dash }, value) {
  const made = element("span", { class: `key ${kind}`, "data-paint": paint }, text, element("b", {}, value));
  if (dash) made.style.setProperty("--dash", dash[0] > 4 ? "dashed" : "dotted");
  return made;
}

/** Show what each colour is, and the values of a row: that at the cursor. */
export function showLegend(box, data, row) {
  if (data.isEmpty) return box.replaceChildren();
  const kind = data.kind === "bars" ? "" : "line";
  const time = row === null ? "" : data.slots?.[row].text ?? data.textOf(row);
  const hole = row === null ? null : data.holes.find(({ from, to }) => isIn(data, row, from, to));
  const keys = data.columns.map((column) =>
    key(kind, column, row === null ? "" : valueText(data, column, row)));
  if (data.ghost) {
    keys.push(key(`ghost ${kind}`, { label: t("Before") }, row === null ? "" : ghostText(data, row)));
  }
  const missing = hole ? [element("span", {}, hole.text)] : [];
  const happened = row === null ? [] : marksAt(data, row).filter(({ kind }) => kind !== "void");
  const words = happened.map(({ kind }) => element("span", {}, WORDS[kind]));
  return box.replaceChildren(element("span", { class: "at" }, time), ...keys, ...missing, ...words);
}

/** The marks within a bar, or between a point and the next. */
export function marksAt({ slots, ts, marks, to: end }, row) {
  const [from, to] = slots ? [slots[row].from, slots[row].to] : [ts[row], ts[row + 1] ?? end];
  return marks.filter((mark) => mark.from < to && (mark.to > from || mark.from >= from));
}

function isIn(data, row, from, to) {
  const at = data.slots ? (data.slots[row].from + data.slots[row].to) / 2 : data.ts[row];
  return at >= from && at < to;
}

/** What a chart shows, in a sentence for those who do not see it. */
export function summaryOf(data, chosen, period) {
  const names = chosen.map(({ name }) => name).join(", ");
  const what = data.show === "cost" ? t("Cost") : label(data.show === "energy" ? "energy" : data.head);
  const start = `${what}, ${names}, ${period}`;
  if (data.isEmpty) return `${start}: ${t("no readings")}`;
  const parts = data.columns.map((column) => {
    const known = column.values.filter(isKnown);
    if (!known.length) return `${column.label}: ${MISSING}`;
    if (data.kind === "bars") {
      return `${column.label}: ${data.format(known.reduce((a, b) => a + b, 0))}`;
    }
    const [low, high] = [column.low ?? column.values, column.high ?? column.values];
    const ends = [Math.min(...low.filter(isKnown)), Math.max(...high.filter(isKnown))];
    return `${column.label}: ${t("{low} to {high}", { low: data.format(ends[0]), high: data.format(ends[1]) })}`;
  });
  return `${start}. ${parts.join("; ")}`;
}

/** Say what an empty period is empty of, and lead to where there is something. */
export function showNothing(box, { data, chosen, period, now }, { showPower, goTo }) {
  box.hidden = !data.isEmpty;
  if (!data.isEmpty) return;
  const begins = Math.min(...chosen.map(({ first_s }) => first_s ?? Infinity));
  const names = chosen.map(({ name }) => name).join(", ");
  let text = t("No readings of {names} in this period.", { names });
  let way = null;
  if (chosen.some(({ isUnknown }) => isUnknown)) text = t("There is no meter {names}.", { names });
  else if (!Number.isFinite(begins)) text = t("No meter has sent a reading yet.");
  else if (period.to <= begins) {
    text = t("The readings of {names} begin on {when}.", { names, when: moment(begins) });
    way = [t("Go there"), () => goTo(begins)];
  } else if (data.show === "cost" && !data.currency) {
    text = t("There are no prices: set a tariff in tariffs.toml.");
  } else if (data.kind === "bars" && period.from < now) {
    text = t("{names}: no energy was counted in this period.", { names });
    way = [t("Show the readings"), showPower];
  }
  const button = way && element("button", { type: "button" }, way[0]);
  button?.addEventListener("click", way[1]);
  box.replaceChildren(element("span", {}, text), ...(button ? [button] : []));
}
