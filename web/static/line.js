// Lines of power as plain SVG: a trace without axes, and a day with them. Lighter than a canvas, and
// coloured by the style sheet alone.

import {
  ZONE, axisTexts, clock, decimals, element, format, localTime, setText, timeTick,
} from "./catalogue.js";
import { t } from "./language.js";

const SVG = "http://www.w3.org/2000/svg";
const QUARTER_S = 900;
/** Least distance of ticks, and room around the lines, in the size of the chart's type. */
const LEAST_TICK = { x: 7, y: 2.4 };
const ROOM = { left: 4.8, right: 1.2, top: 0.8, bottom: 2 };
const LEAST_WORD = 6;

let made = 0;

/** Make an element of SVG. */
export function shape(name, attributes = {}, ...children) {
  const found = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  found.append(...children);
  return found;
}

const round = (value) => Math.round(value * 10) / 10;

/** The runs of points without a gap: null breaks the line, undefined does not. */
function runs(times, values, x, y) {
  const found = [[]];
  times.forEach((at_s, row) => {
    if (typeof values[row] === "number") found.at(-1).push(`${round(x(at_s))} ${round(y(values[row]))}`);
    else if (values[row] === null && found.at(-1).length) found.push([]);
  });
  return found.filter((points) => points.length);
}

/** The range of powers to draw: with zero, and wide enough that noise looks small. */
function rangeOf(values) {
  const least = 40 / 10 ** decimals("power");
  const known = values.filter((value) => typeof value === "number");
  const [low, high] = [Math.min(0, ...known), Math.max(0, ...known)];
  const room = Math.max((high - low) * 0.08, (least - (high - low)) / 2);
  return [low < 0 ? low - room : 0, high > 0 || low === 0 ? high + room : 0];
}

/** A line and its area, in the colour of import above zero and of export below it. */
function drawn(times, values, x, y, height) {
  const [id, zero] = [`flow-${made += 1}`, round(y(0))];
  const at = Math.min(1, Math.max(0, zero / height));
  const stops = [["import", 0], ["import", at], ["export", at], ["export", 1]];
  const paint = shape("linearGradient",
    { id, gradientUnits: "userSpaceOnUse", x1: 0, x2: 0, y1: 0, y2: height },
    ...stops.map(([flow, offset]) => shape("stop", { offset, "data-stop": flow })));
  const lines = runs(times, values, x, y);
  const areas = lines.map((points) =>
    `M${points[0].split(" ")[0]} ${zero}L${points.join("L")}L${points.at(-1).split(" ")[0]} ${zero}z`);
  return [paint, shape("path", { class: "area", fill: `url(#${id})`, d: areas.join("") }),
    shape("path", { class: "line", stroke: `url(#${id})`,
      d: lines.map((points) => `M${points[0]}h.01L${points.join("L")}`).join("") })];
}

/** A picture in a box: `draw(width, height)` returns its shapes, again whenever the box changes. */
function picture(box, draw) {
  const svg = box.appendChild(shape("svg", { "aria-hidden": "true" }));
  const redraw = () => {
    const { clientWidth: width, clientHeight: height } = box;
    if (!width || !height) return;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren(...draw(width, height));
  };
  new ResizeObserver(redraw).observe(box);
  return redraw;
}

/** A small trace of power without axes; `update(columns, from, to)` redraws it. */
export function spark(box) {
  let [times, values, from, to] = [[], [], 0, 1];
  const redraw = picture(box, (width, height) => {
    const [low, high] = rangeOf(values);
    const x = (at_s) => (at_s - from) / (to - from) * width;
    const y = (power) => height - 2 - (power - low) / (high - low) * (height - 4);
    const zero = low < 0 ? [shape("path", { class: "zero", d: `M0 ${round(y(0))}H${width}` })] : [];
    return [...zero, ...drawn(times, values, x, y, height)];
  });
  return (columns, from_s, to_s) => {
    [[times, values], from, to] = [columns, from_s, to_s];
    redraw();
  };
}

/** Values 1, 2 or 5 times a power of ten apart. */
function ticksOf(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * ten).find((each) => each >= rough);
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  return { step, ticks: Array.from({ length: count }, (_, index) => (first + index) * step) };
}

const parts = new Intl.DateTimeFormat("en-GB", { timeZone: ZONE, hour: "2-digit", minute: "2-digit" });

/** The site's full hours in a period that `hours` divides. */
function hoursOf(from, to, hours) {
  const found = [];
  for (let at_s = Math.ceil(from / QUARTER_S) * QUARTER_S; at_s <= to; at_s += QUARTER_S) {
    const [hour, minute] = parts.format(at_s * 1000).split(":").map(Number);
    if (minute === 0 && hour % hours === 0) found.push(at_s);
  }
  return found;
}

/** A chart of power in hours; `legend` shows the value under the pointer. */
export class HoursChart {
  constructor(box, legend) {
    Object.assign(this, { box, times: [], values: [], from: 0, to: 1, at: null });
    this.redraw = picture(box, (width, height) => this.draw(width, height));
    this.legend = legend;
    this.time = legend.appendChild(element("span"));
    this.value = legend.appendChild(element("b"));
    box.addEventListener("pointermove", ({ offsetX }) => this.point(offsetX));
    box.addEventListener("pointerleave", () => this.point(null));
  }

  update(times, values, from, to) {
    Object.assign(this, { times, values, from, to });
    this.redraw();
  }

  /** Show the value at a place; null: none. */
  point(px) {
    const { left, wide } = this.field;
    const at_s = px === null ? null : this.from + (px - left) / wide * (this.to - this.from);
    const row = at_s === null ? -1 : this.times.findLastIndex((time) => time <= at_s);
    this.at = row < 0 ? null : this.times[row];
    setText(this.time, this.at === null ? "" : localTime(this.at));
    setText(this.value, this.at === null ? "" : format("power", this.values[row]));
    this.redraw();
  }

  draw(width, height) {
    const [low, high] = rangeOf(this.values);
    const em = parseFloat(getComputedStyle(this.box).fontSize);
    const [left, top] = [ROOM.left * em, ROOM.top * em];
    const field = { em, left, top, wide: width - left - ROOM.right * em,
      tall: height - top - ROOM.bottom * em };
    this.field = field;
    if (Math.min(field.wide, field.tall) < em) return [];
    const x = (at_s) => left + (at_s - this.from) / (this.to - this.from) * field.wide;
    const y = (power) => top + field.tall - (power - low) / (high - low) * field.tall;
    const cursor = this.at === null ? [] : [shape("path",
      { class: "cursor", d: `M${round(x(this.at))} ${top}v${field.tall}` })];
    return [...this.axes(x, y, [low, high]), ...this.gaps(x),
      ...drawn(this.times, this.values, x, y, height), ...cursor];
  }

  axes(x, y, [low, high]) {
    const { em, left, top, wide, tall } = this.field;
    const { step, ticks } = ticksOf(low, high, tall / em / LEAST_TICK.y);
    const texts = axisTexts("power", ticks, step);
    const most = wide / em / LEAST_TICK.x;
    const hours = [1, 2, 3, 6, 12].find((each) => (this.to - this.from) / 3600 / each <= most) ?? 24;
    return [
      ...ticks.map((tick) => shape("path", { class: tick === 0 && low < 0 ? "zero" : "grid",
        d: `M${left} ${round(y(tick))}h${wide}` })),
      ...ticks.map((tick, index) => shape("text",
        { x: left - 0.7 * em, y: y(tick) + 0.35 * em, "text-anchor": "end" }, texts[index])),
      ...hoursOf(this.from, this.to, hours).map((at_s) => shape("text",
        { x: x(at_s), y: top + tall + 1.6 * em, "text-anchor": "middle" }, timeTick(at_s, 3600))),
    ];
  }

  /** Hatched areas where nothing is known, with a word where there is room. */
  gaps(x) {
    const { em, top, tall } = this.field;
    const found = [];
    let since = null;
    [...this.times, this.to].forEach((at_s, row) => {
      if (row < this.times.length && this.values[row] === null) since ??= at_s;
      else if (since !== null) {
        found.push([since, at_s]);
        since = null;
      }
    });
    return found.flatMap(([from, to]) => {
      const [left, wide] = [x(from), x(to) - x(from)];
      const rect = shape("rect", { class: "gap", x: left, y: top, width: wide, height: tall });
      rect.append(shape("title", {}, `${clock(from)} – ${clock(to)}: ${t("no readings")}`));
      if (wide < LEAST_WORD * em) return [rect];
      return [rect, shape("text", { x: left + wide / 2, y: top + tall / 2, "text-anchor": "middle" },
        t("no readings"))];
    });
  }
}
