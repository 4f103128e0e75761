// Charts: uPlot in the page's colours, with the catalogue's labels and units.

import {
  ZONE, axisTexts, decimals, element, format, isAdditive, label, localTime, phaseOf, setText,
  shortLabel, timeTick,
} from "./catalogue.js";
import { uPlot } from "./vendor/uPlot.iife.min.js";

/** Each chart with the observer of its size. */
const charts = new Map();
export const FONT = "500 12px Figtree, system-ui, sans-serif";
export const AXIS = {
  stroke: () => colour("quiet"), font: FONT, ticks: { show: false },
  grid: { stroke: () => colour("line"), width: 1 },
};
const DASHES = { l2: [7, 3], l3: [2, 3] };
const palette = new Map();

/** A colour of the style sheet, by its name, in the current theme. */
export function colour(name) {
  if (!palette.has(name)) {
    const probe = document.body.appendChild(element("i", { hidden: "" }));
    probe.style.color = `var(--${name})`;
    palette.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return palette.get(name);
}

function redrawAll() {
  palette.clear();
  for (const chart of charts.keys()) chart.redraw(false, true);
}
document.addEventListener("themechange", redrawAll);
document.fonts.ready.then(redrawAll);

export const faint = (colour, alpha) => colour.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);

/** A paint that changes at zero: import in one colour, export in another. */
function signed(chart, above, below) {
  const { top, height } = chart.bbox;
  const zero = (chart.valToPos(0, "y", true) - top) / height;
  if (!Number.isFinite(zero)) return above;
  const at = Math.min(1, Math.max(0, zero));
  const paint = chart.ctx.createLinearGradient(0, top, 0, top + height);
  paint.addColorStop(0, above);
  paint.addColorStop(at, above);
  paint.addColorStop(at, below);
  paint.addColorStop(1, below);
  return paint;
}

function total(width) {
  return {
    width, points: { show: false }, fillTo: 0,
    stroke: (chart) => signed(chart, colour("import"), colour("export")),
    fill: (chart) => signed(chart, faint(colour("import"), 0.12), faint(colour("export"), 0.16)),
  };
}

function phaseLine(phase) {
  return {
    width: 1.5, points: { show: false }, dash: DASHES[phase], stroke: () => colour(phase),
  };
}

/** The range of a value axis: with zero where values add up, otherwise the values alone. */
function reach(quantity) {
  const least = 40 / 10 ** decimals(quantity);
  const fromZero = isAdditive(quantity);
  return (_chart, low, high) => {
    if (low === null || high === null) return [0, least];
    if (fromZero) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
    const room = Math.max((high - low) * 0.08, (least - (high - low)) / 2, 0);
    return [fromZero && low === 0 ? 0 : low - room, fromZero && high === 0 ? 0 : high + room];
  };
}

export function zeroLine(chart) {
  const { min, max } = chart.scales.y;
  if (!(min < 0 && max >= 0)) return;
  const { left, width } = chart.bbox;
  const y = Math.round(chart.valToPos(0, "y", true)) + 0.5;
  chart.ctx.save();
  chart.ctx.strokeStyle = colour("quiet");
  chart.ctx.globalAlpha = 0.5;
  chart.ctx.beginPath();
  chart.ctx.moveTo(left, y);
  chart.ctx.lineTo(left + width, y);
  chart.ctx.stroke();
  chart.ctx.restore();
}

// Its local parts are those of the site's time zone: ticks are at its hours and days.
const tzDate = (at_s) => uPlot.tzDate(new Date(at_s * 1000), ZONE);

/** Make a chart that fills a box, in the site's time zone and the colours of the theme. */
export function place(box, options, columns) {
  const size = () => ({ width: box.clientWidth, height: box.clientHeight });
  const chart = new uPlot({ tzDate, ...options, ...size() }, columns, box);
  charts.set(chart, new ResizeObserver(() => {
    const { width, height } = size();
    if (width && (width !== chart.width || height !== chart.height)) chart.setSize({ width, height });
  }));
  charts.get(chart).observe(box);
  return chart;
}

/** Take a chart away. */
export function remove(chart) {
  charts.get(chart)?.disconnect();
  charts.delete(chart);
  chart.destroy();
}

/**
 * A chart with axes and a line for each of `quantities`, which belong to the family of `head`.
 * `legend` shows their values at the cursor, otherwise the newest. `below` and `above` draw more.
 */
export function lineChart(box, legend, head, quantities, { below, above }) {
  let range = [0, 1];
  const readout = legendOf(legend, head, quantities);
  const chart = place(box, {
    legend: { show: false },
    padding: [12, 22, 0, 0],
    cursor: {
      y: false,
      points: { size: 7, width: 0,
        fill: (_chart, index) => colour(phaseOf(quantities[index - 1]) ?? "import") },
      drag: { x: false, y: false, setScale: false },
      bind: { dblclick: () => null },
    },
    scales: {
      x: { time: true, range: () => range },
      y: { range: reach(head) },
    },
    axes: [
      { ...AXIS, grid: { show: false }, space: 84, gap: 6, size: 28,
        values: (_chart, splits, _axis, _space, step) => splits.map((at) => timeTick(at, step)) },
      { ...AXIS, size: 62, gap: 8, space: 36,
        values: (_chart, splits, _axis, _space, step) => axisTexts(head, splits, step) },
    ],
    series: [{}, ...quantities.map((name) => (phaseOf(name) ? phaseLine(phaseOf(name)) : total(2)))],
    hooks: {
      drawAxes: [below, zeroLine],
      draw: [above],
      setCursor: [readout],
      setData: [readout],
    },
  }, [[], ...quantities.map(() => [])]);

  return {
    update(columns, from, to) {
      range = [from, to];
      chart.setData(columns);
    },
    destroy: () => remove(chart),
  };
}

function legendOf(box, head, quantities) {
  const time = element("span", { class: "at" });
  const values = quantities.map(() => element("b"));
  const labelOf = (name) => (quantities.length > 1 ? shortLabel(name, head) : label(name));
  box.replaceChildren(time, ...quantities.map((name, index) => element(
    "span", { class: "key", "data-line": phaseOf(name) ?? "total" }, labelOf(name), values[index])));
  return (chart) => {
    const at = chart.data[0][chart.cursor.idx] === undefined ? null : chart.cursor.idx;
    setText(time, at === null ? "" : localTime(chart.data[0][at]));
    quantities.forEach((name, index) => {
      const column = chart.data[index + 1];
      const row = at ?? column.length - 1;
      setText(values[index], format(name, column[row]));
    });
  };
}
