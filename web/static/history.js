// The history page: energy, cost, power and any other quantity of a period, of the house, a meter or
// several meters. The address holds all that is chosen.

import { setText } from "./catalogue.js";
import { HistoryChart } from "./history_chart.js";
import { fetchMeters } from "./history_data.js";
import { fetchFigures, fetchHouseLoad, showExtremes, showFigures } from "./history_figures.js";
import { HeatMap, hasHeat } from "./history_heat.js";
import { showLegend, showNothing, summaryOf } from "./history_legend.js";
import { PHASES, POWER, fetchData, isBars } from "./history_lines.js";
import {
  listenToKeys, listenToPickers, showMore, showSubjects, shownOf, subjectsOf,
} from "./history_pickers.js";
import {
  HOUSE, moved, periodOf, ranged, read, spanOf, spanned, stretched, unzoomed, write, zoomedIn, zoomedOut,
} from "./history_state.js";
import { csvOf, download, showTable } from "./history_table.js";
import { periodText } from "./history_time.js";
import { t } from "./language.js";
import { connect, notice, now_s } from "./live.js";
import { holesWith, marksOf, showMarks } from "./marks.js";

const AGAIN_MS = 60_000;
const box = (id) => document.getElementById(id);

let state = read(location.search, now_s());
let meters = null;
let data = null;
let requests = 0;

const chart = new HistoryChart(box("chart"), {
  onZoom: (from, to) => go(ranged(state, from, to, now_s())),
  onStretch: (from, to) => go(stretched(state, from, to, now_s(), data.kind === "bars")),
  onReset: () => go(unzoomed(state)),
  onPick: ({ from, to }) => go(ranged(state, from, to, now_s())),
  onCursor: (row) => { if (data && !data.isEmpty) showLegend(box("legend"), data, row); },
});
const heat = new HeatMap(box("heat-chart"), box("heat-readout"), box("heat-scale"));

/** Show another state, and write it into the address. */
function go(changed) {
  state = changed;
  const address = write(state);
  if (address !== location.search) history.pushState(null, "", address);
  draw();
}

async function draw() {
  const request = (requests += 1);
  const now = now_s();
  box("past").setAttribute("aria-busy", "true");
  showPeriod(now);
  try {
    meters ??= await fetchMeters();
    const chosen = subjectsOf(state, meters);
    const show = shownOf(state, chosen);
    showControls(chosen, show);
    const fetched = await fetchData(state, show, chosen, meters, now, box("chart").clientWidth);
    if (request !== requests) return;
    data = fetched;
    showData(chosen, now);
    notice("");
    box("past").setAttribute("aria-busy", "false");
    await showRest(request, chosen, show, now);
  } catch (error) {
    if (request !== requests) return;
    notice(t("The history is unavailable: {why}", { why: error.message }));
    setTimeout(() => { if (request === requests) draw(); }, 5000);
  }
}

function showPeriod(now) {
  const { from, to, isRunning } = periodOf(state, now);
  const span = spanOf(state);
  setText(box("when"), periodText(span, from, to));
  document.title = `${periodText(span, from, to)} · ${t("History")}`;
  box("later").disabled = to >= now;
  box("now").disabled = isRunning && span !== null;
  for (const button of document.querySelectorAll("[data-span]")) {
    button.setAttribute("aria-pressed", String(button.dataset.span === span));
  }
  box("out").disabled = span === "year";
}

function showControls(chosen, show) {
  showSubjects(box("subject"), box("compared"), box("compare"), meters, chosen);
  for (const button of document.querySelectorAll("[data-show]")) {
    button.setAttribute("aria-pressed", String(button.dataset.show === show));
  }
  showMore(box("more"), chosen, show);
  box("before").checked = state.before;
}

function showData(chosen, now) {
  if (data.ticks) chart.show(data);
  box("chart").toggleAttribute("data-away", !data.ticks);
  showNothing(box("nothing"), { data, chosen, period: periodOf(state, now), now }, {
    showPower: () => go({ ...state, show: POWER }),
    goTo: (at) => go(spanned(state, state.span, now, at)),
  });
  showLegend(box("legend"), data, null);
  showMarks(box("marks"), [], null, data.late);
  box("before").closest("label").hidden = !data.canCompare;
  box("chart").setAttribute("aria-label", summaryOf(data, chosen, box("when").textContent));
  box("figures").hidden = data.isEmpty;
  box("csv").disabled = data.isEmpty;
  box("table-panel").hidden = data.isEmpty;
  if (box("table-panel").open && !data.isEmpty) showTable(box("table"), data);
}

/** Fetch and show what the chart need not wait for: figures, marks and the heat map. */
async function showRest(request, chosen, show, now) {
  const isLoad = isBars(show) || show === POWER || show === PHASES;
  const answer = isLoad && !data.isEmpty ? await fetchFigures(state, chosen, now) : null;
  if (request !== requests) return;
  if (answer) {
    showFigures(box("figures"), chosen, answer, now);
    addMarks(chosen, answer.figures.flatMap(marksOf));
  } else if (!data.isEmpty) showExtremes(box("figures"), data);
  await Promise.all([showHeat(chosen, now), showHouseLoad(request, chosen, answer, now)]);
  box("past").dataset.ready = write(state);
}

/** Add what explains the figures to the chart, to the list below it, and to the table. */
function addMarks(chosen, found) {
  const isSame = (one) => (other) =>
    one.kind === other.kind && one.from === other.from && one.meter_id === other.meter_id;
  data.marks = found.filter((mark, place) => found.findIndex(isSame(mark)) === place);
  data.nameOf = (id) => (chosen.length > 1 || chosen[0].id !== id ? meters.get(id)?.name ?? id : "");
  if (!data.marks.length) return;
  if (chosen.length === 1) data.holes = holesWith(data.marks.filter(({ meter_id: id }) => id === chosen[0].id), data.holes);
  if (data.ticks) chart.show(data);
  showMarks(box("marks"), data.marks, data.nameOf, data.late);
  if (box("table-panel").open) showTable(box("table"), data);
}

/** Add the peak and the base load of the house, which take longer than all else. */
async function showHouseLoad(request, chosen, answer, now) {
  const place = chosen.findIndex(({ id }) => id === HOUSE);
  if (!answer?.figures[place]) return;
  Object.assign(answer.figures[place], await fetchHouseLoad(periodOf(state, now), now));
  if (request === requests) showFigures(box("figures"), chosen, answer, now);
}

async function showHeat(chosen, now) {
  const period = periodOf(state, now);
  const isPossible = chosen.length === 1 && hasHeat(period) && data.kind === "bars" && !data.isEmpty;
  box("heat-panel").hidden = !isPossible;
  box("heat-body").hidden = !state.heat;
  setText(box("heat"), state.heat ? t("Hide") : t("Show"));
  box("heat").setAttribute("aria-expanded", String(state.heat));
  if (isPossible && state.heat) await heat.show(period, chosen[0].id);
}

// -- what a person does ------------------------------------------------------------------------

for (const button of document.querySelectorAll("[data-span]")) {
  button.addEventListener("click", () => go(spanned(state, button.dataset.span, now_s())));
}
for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => go({ ...state, show: button.dataset.show }));
}
const actions = {
  earlier: () => go(moved(state, -1, now_s())),
  later: () => go(moved(state, 1, now_s())),
  now: () => go({ ...unzoomed(state), at: null }),
  in: () => go(zoomedIn(state, now_s(), chart.cursor_s)),
  out: () => go(zoomedOut(state, now_s())),
  heat: () => go({ ...state, heat: !state.heat }),
  csv: () => download(`meterflow${write(state).replace(/[^\w*-]+/g, "-")}.csv`, csvOf(data)),
};
for (const [id, action] of Object.entries(actions)) box(id).addEventListener("click", action);
box("before").addEventListener("change", ({ target }) => go({ ...state, before: target.checked }));
box("table-panel").addEventListener("toggle", () => {
  if (box("table-panel").open && data && !data.isEmpty) showTable(box("table"), data);
});
listenToPickers(box("subject"), box("compared"), box("compare"), box("more"), {
  choose: (id) => go({ ...state, of: [id, ...state.of.slice(1).filter((each) => each !== id)] }),
  add: (id) => go({ ...state, of: [...state.of, id] }),
  leave: (id) => go({ ...state, of: state.of.filter((each) => each !== id) }),
  show: (name) => go({ ...state, show: name }),
});
listenToKeys({
  ArrowLeft: actions.earlier,
  ArrowRight: () => { if (!box("later").disabled) actions.later(); },
  "+": actions.in,
  "-": actions.out,
  Escape: () => { if (state.from !== null) go(unzoomed(state)); },
});
addEventListener("popstate", () => {
  state = read(location.search, now_s());
  draw();
});

/** Fetch again what is still running. */
function again() {
  if (document.hidden || !periodOf(state, now_s()).isRunning) return;
  meters = null;
  draw();
}
setInterval(again, AGAIN_MS);
connect({ first: draw(), onReading: () => {}, onStatus: () => false, onChange: again });
