// The picture of the house's power: what comes in on the left, what uses it on the right, each as wide
// as its power. All of it passes the house in the middle: no meter says which part goes where.

import { MISSING, element, format, setText } from "./catalogue.js";
import { t } from "./language.js";
import { shape } from "./line.js";
import { ownPower, outermost } from "./site.js";

const SLOT = 46;
const GAP = 8;
const BAR = 8;
const MOST_SINKS = 5;
const LEAST_W = 1;

const box = document.getElementById("flow");
const picture = document.getElementById("flow-picture");
const svg = picture.appendChild(shape("svg", { "aria-hidden": "true" }));
const lists = ["sources", "sinks"].map((side) =>
  picture.appendChild(element("ul", { class: `flows ${side}` })));
const house = picture.appendChild(element("p", { class: "flow-house" }));
let drawn = "";

const whole = (flows) => flows.reduce((sum, { power }) => sum + (power ?? 0), 0);

/** The largest consumers by today's energy, so that they keep their places, and the others as one. */
function withoutSmall(consumers) {
  if (consumers.length <= MOST_SINKS) return consumers;
  const used = ({ node }) => node.today?.imported ?? 0;
  const sorted = consumers.toSorted((a, b) => used(b) - used(a));
  const others = sorted.splice(MOST_SINKS - 1);
  const isKnown = others.every(({ power }) => power !== null);
  return [...sorted, { kind: "use", power: isKnown ? whole(others) : null,
    name: t("{count} others", { count: others.length }) }];
}

/** The flow of a node: of the grid positive power comes in, of all others it goes out. */
function flowOf(node, powerOf) {
  const power = ownPower(node, powerOf);
  const isIdle = power === null || Math.abs(power) < LEAST_W;
  const isSource = isIdle ? node.role !== "consumer" : power < 0 !== (node.role === "grid");
  const kind = node.role === "grid" ? (isSource ? "import" : "export") : isSource ? "export" : "use";
  return { node, name: node.name, isSource, kind, power: power === null ? null : Math.abs(power) };
}

/** What comes in and what uses it; a power that is not known is null. */
function balance(powerOf) {
  const flows = ["production", "storage", "grid", "consumer"].flatMap(outermost)
    .map((node) => flowOf(node, powerOf));
  const sources = flows.filter(({ isSource }) => isSource);
  const sinks = flows.filter(({ isSource }) => !isSource);
  const [consumers, back] = [true, false].map((isConsumer) =>
    sinks.filter(({ node }) => (node.role === "consumer") === isConsumer));
  const isKnown = flows.every(({ power }) => power !== null);
  const uses = isKnown ? whole(sources) - whole(back) : null;
  const rest = isKnown ? uses - whole(consumers) : 0;
  const unmeasured = { name: t("Not measured"), kind: "rest", power: rest };
  return { sources, uses,
    sinks: [...withoutSmall(consumers), ...(rest >= LEAST_W ? [unmeasured] : []), ...back] };
}

/** Top and height of each flow's bar, in slots of a least height, in the middle of the picture. */
function placed(flows, height, least, scale) {
  const slots = flows.map(({ power }) => Math.max(least, (power ?? 0) * scale));
  let top = (height - slots.reduce((a, b) => a + b, 0) - GAP * (flows.length - 1)) / 2;
  return flows.map((flow, index) => {
    const [slot, size] = [slots[index], (flow.power ?? 0) * scale];
    const found = { ...flow, slot, at: top, top: top + (slot - size) / 2, size };
    top += slot + GAP;
    return found;
  });
}

/** A band from one bar to another, both of the same height. */
function band(kind, x1, y1, x2, y2, size) {
  const middle = (x1 + x2) / 2;
  return shape("path", { "data-flow": kind, d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`
    + `v${size}C${middle} ${y2 + size} ${middle} ${y1 + size} ${x1} ${y1 + size}z` });
}

function draw(sides, width, height, scale) {
  const middle = (width - BAR) / 2;
  const sizes = sides.map((flows) => whole(flows) * scale);
  const shapes = sides.flatMap((flows, side) => {
    let y = (height - sizes[side]) / 2;
    return flows.filter(({ size }) => size > 0).flatMap(({ kind, top, size }) => {
      const x = side ? width - BAR : 0;
      const [from, to] = side ? [middle + BAR, x] : [BAR, middle];
      const [y1, y2] = side ? [y, top] : [top, y];
      y += size;
      return [band(kind, from, y1, to, y2, size),
        shape("rect", { "data-flow": kind, x, y: top, width: BAR, height: Math.max(size, 1) })];
    });
  });
  const most = Math.max(...sizes, 2);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...shapes, shape("rect", { "data-flow": "house", x: middle,
    y: (height - most) / 2, width: BAR, height: most }));
}

function showNames(list, flows) {
  while (list.children.length > flows.length) list.lastChild.remove();
  flows.forEach(({ name, kind, power, at, slot }, index) => {
    const item = list.children[index]
      ?? list.appendChild(element("li", {}, element("span"), element("b")));
    setText(item.children[0], name);
    setText(item.children[1], power === null ? MISSING : format("power", power, 1000));
    item.dataset.flow = kind;
    item.style.top = `${at}px`;
    item.style.height = `${slot}px`;
  });
}

/** Show the flows of the house where it has production or storage; `powerOf` an id, null: unknown. */
export function showFlow(powerOf) {
  box.hidden = !["production", "storage"].some((role) => outermost(role).length);
  if (box.hidden) return;
  const { sources, sinks, uses } = balance(powerOf);
  const rows = Math.max(sources.length, sinks.length);
  picture.style.setProperty("--least", `${rows * (SLOT + GAP)}px`);
  const { clientWidth: width, clientHeight: height } = picture;
  const state = JSON.stringify([width, height, sources, sinks, uses].map((part) =>
    (Array.isArray(part) ? part.map(({ name, kind, power }) => [name, kind, power]) : part)));
  if (state === drawn) return;
  drawn = state;
  const least = Math.min(SLOT, height / rows - GAP); // less on a wall, whose height is fixed
  const scale = (height - rows * (least + GAP) + least) / Math.max(whole(sources), whole(sinks), 1);
  const sides = [sources, sinks].map((flows) => placed(flows, height, least, scale));
  draw(sides, width, height, scale);
  sides.forEach((flows, side) => showNames(lists[side], flows));
  setText(house, uses === null ? "" : t("The house uses {power}", { power: format("power", uses, 1000) }));
}
