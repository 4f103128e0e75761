// A panel for each phase: its power, also as a bar, and its other quantities.

import { PHASES, descriptions, element } from "./catalogue.js";

const ROWS = ["voltage", "current", "power_factor"];

/** Show the phases that the meter measures, with all bars on the same scale. */
export function showPhases(box, meter) {
  const phases = PHASES.filter((p) => ["power", ...ROWS].some((q) => meter.has(`${q}_${p}`)));
  const built = phases.map((p) => p + ROWS.filter((q) => meter.has(`${q}_${p}`))).join();
  if (box.dataset.built !== built) {
    box.dataset.built = built;
    box.replaceChildren(...phases.map((phase) => panel(phase, meter)));
  }
  const full = scale(phases.map((p) => Math.abs(meter.value(`power_${p}`) ?? 0)));
  phases.forEach((phase, index) => {
    const power = meter.value(`power_${phase}`) ?? 0;
    const bar = box.children[index].querySelector(".gauge i");
    bar.style.transform = `scaleX(${Math.min(1, Math.abs(power) / full)})`;
    bar.dataset.direction = power < 0 ? "export" : "import";
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
  return element("div", { class: "panel phase", "data-line": phase },
    element("h2", {}, phase.toUpperCase()),
    element("p", { class: "power small" },
      element("span", { "data-quantity": `power_${phase}` }), element("span", { class: "unit" })),
    element("div", { class: "gauge" }, element("i")),
    element("dl", { class: "facts" },
      ...descriptions(ROWS.filter((q) => meter.has(`${q}_${phase}`)), phase)));
}
