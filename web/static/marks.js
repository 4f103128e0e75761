// What explains the figures of a period: readings that are void, a meter that was replaced, a counter
// that began again at 0. In words; `history_paint.js` draws them.

import { element, format } from "./catalogue.js";
import { moment, periodText } from "./history_time.js";
import { t } from "./language.js";

const ENERGY = "energy_import";
/** Resets of a meter that are listed one by one. */
const FEW = 3;

/** The marks of an answer of REST, with their times in epoch seconds. */
export const marksOf = (answer) => (answer?.marks ?? []).map((mark) => (
  { ...mark, from: Date.parse(mark.from) / 1000, to: Date.parse(mark.to) / 1000 }));

/** What happened; `nameOf` returns the name of a meter, nothing where only one is shown. */
export function markText({ kind, why, before, meter_id: id }, nameOf) {
  const name = nameOf(id);
  const text = kind === "void" ? t("readings are void: {why}", { why })
    : kind === "replaced" ? t("the meter was replaced; sums go on")
      : t("the counter, at {energy}, began again at 0; sums go on", { energy: format(ENERGY, before) });
  return name ? `${name}: ${text}` : text;
}

const when = ({ from, to }) => `${to > from ? periodText(null, from, to) : moment(from, true)}:`;
const line = (kind, at, text) =>
  element("li", { "data-kind": kind }, element("span", { class: "at" }, at), ` ${text}`);

function linesOf(marks, nameOf) {
  const resetsOf = (id) => marks.filter((mark) => mark.kind === "reset" && mark.meter_id === id);
  const isOne = (mark) => mark.kind !== "reset" || resetsOf(mark.meter_id).length <= FEW;
  const some = new Set(marks.filter((mark) => !isOne(mark)).map(({ meter_id: id }) => id));
  const many = [...some].map((id) => {
    const [found, name] = [resetsOf(id), nameOf(id)];
    const text = t("the counter began again at 0, {count} times; sums go on", { count: found.length });
    const span = { from: found[0].from, to: found.at(-1).to };
    return line("reset", when(span), name ? `${name}: ${text}` : text);
  });
  return [...marks.filter(isOne).map((mark) => line(mark.kind, when(mark), markText(mark, nameOf))), ...many];
}

/** List the marks of a chart; `late` are its bars that have the energy of a gap before them, too. */
export function showMarks(list, marks, nameOf, late = []) {
  const notes = late.map(({ text }) =>
    line("late", text, t("includes what was counted before it while there were no readings")));
  list.replaceChildren(...notes, ...linesOf(marks, nameOf));
}

/** The times without readings, of which some have readings that are void. */
export function holesWith(marks, holes) {
  const voids = marks.filter(({ kind }) => kind === "void").map(({ from, to }) => ({ from, to, text: t("void") }));
  return [...holes.filter(({ from, to }) => !voids.some((each) => each.from <= to && each.to >= from)), ...voids];
}
