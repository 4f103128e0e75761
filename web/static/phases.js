// The phases of a meter: their shares of its power as one bar, and a panel for each.

import { PHASES, descriptions, element, format, percent, setText } from "./catalogue.js";
import { t } from "./language.js";

const ROWS = ["voltage", "current", "power_factor"];
const LEAST_MEAN = { current: 0.05, power: 10 };

/** The phase with the largest value, and that value. */
const heaviest = (values) =>
  values.reduce((a, b) => (Math.abs(b[1]) > Math.abs(a[1]) ? b : a), [null, 0]);

/** One bar with a part for each phase: what is exported lies left of zero. */
export class PhaseBar {
  constructor(root, note) {
    this.root = root;
    this.note = note;
    this.parts = new Map(PHASES.map((phase) => [phase, element("i", { "data-line": phase })]));
    root.replaceChildren(element("b"), ...this.parts.values());
  }

  /** Show pairs of phase and power; `textOf` gets the heaviest phase with its power. */
  show(powers, formatOf, textOf) {
    const known = powers.filter(([, power]) => power !== null && power !== undefined);
    this.root.hidden = !known.length;
    this.note.hidden = !known.length;
    for (const [phase, power] of known) {
      const part = this.parts.get(phase);
      part.style.flexGrow = Math.abs(power);
      part.dataset.direction = power < 0 ? "export" : "import";
    }
    const [phase, power] = heaviest(known);
    const named = (name, value) => `${name.toUpperCase()} ${formatOf(value)}`;
    setText(this.note, phase ? textOf({ phase: phase.toUpperCase(), power: formatOf(power) }) : "");
    this.root.setAttribute("aria-label", known.map((each) => named(...each)).join(", "));
  }
}

/** Show the phases that the meter measures, with all bars on the same scale. */
export function showPhases(box, meter) {
  const phases = PHASES.filter((p) => ["power", ...ROWS].some((q) => meter.has(`${q}_${p}`)));
  const built = phases.map((p) => p + ["power", ...ROWS].filter((q) => meter.has(`${q}_${p}`))).join();
  if (box.dataset.built !== built) {
    box.dataset.built = built;
    box.replaceChildren(...phases.map((phase) => panel(phase, meter)));
  }
  const powers = phases.map((phase) => meter.value(`power_${phase}`) ?? 0);
  const full = scale(powers.map(Math.abs));
  const isSigned = powers.some((power) => power < 0);
  phases.forEach((_, index) => {
    const gauge = box.children[index].querySelector(".gauge");
    if (!gauge) return;
    gauge.classList.toggle("signed", isSigned);
    gauge.firstChild.dataset.direction = powers[index] < 0 ? "export" : "import";
    gauge.firstChild.style.transform = `scaleX(${Math.min(1, Math.abs(powers[index]) / full)})`;
  });
}

let widest = 500;

/** The power that fills a bar: 1, 2 or 5 times a power of ten; it only grows. */
function scale(powers) {
  const most = Math.max(widest, ...powers);
  const ten = 10 ** Math.floor(Math.log10(most));
  widest = [1, 2, 5, 10].map((n) => n * ten).find((n) => n >= most);
  return widest;
}

function panel(phase, meter) {
  const power = [
    element("p", { class: "power small" },
      element("span", { "data-quantity": `power_${phase}` }), element("span", { class: "unit" })),
    element("div", { class: "gauge" }, element("i")),
  ];
  return element("div", { class: "panel phase", "data-line": phase },
    element("h2", {}, phase.toUpperCase()),
    ...(meter.has(`power_${phase}`) ? power : []),
    element("dl", { class: "facts" },
      ...descriptions(ROWS.filter((q) => meter.has(`${q}_${phase}`)), phase)));
}

/** How unevenly the phases are loaded: the largest deviation from their mean, as a share of it. */
export function imbalance(meter) {
  for (const [quantity, least] of Object.entries(LEAST_MEAN)) {
    const values = PHASES.map((phase) => [phase, meter.value(`${quantity}_${phase}`)]);
    if (values.some(([, value]) => value === undefined)) continue;
    const sizes = values.map(([phase, value]) => [phase, Math.abs(value)]);
    const mean = sizes.reduce((sum, [, size]) => sum + size, 0) / sizes.length;
    if (mean < least) return "";
    const off = Math.max(...sizes.map(([, size]) => Math.abs(size - mean)));
    const [phase, most] = heaviest(values);
    return t("Imbalance {percent}: most on {phase}, {value}", {
      percent: percent(off / mean),
      phase: phase.toUpperCase(),
      value: format(quantity, most, undefined, meter.digits(quantity)),
    });
  }
  return "";
}
