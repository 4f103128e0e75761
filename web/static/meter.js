// The page of one meter, live: now, by phase, the last minutes, and all that it measures.

import {
  PHASES, descriptions, element, family, format, label, money, names, paced, phaseOf, setText,
  showValues,
} from "./catalogue.js";
import { lineChart } from "./chart.js";
import { drawDots, drawHoles, drawMarks } from "./history_paint.js";
import { t } from "./language.js";
import { connect, getJson, link, notice, now_s } from "./live.js";
import { holesWith, marksOf, showMarks } from "./marks.js";
import { Meter, STATES, about, showDirection, showState } from "./meter_state.js";
import { PhaseBar, imbalance, showPhases } from "./phases.js";
import { dayOf, epoch, iso } from "./site_time.js";
import { QuantityTable, ReadingTable } from "./tables.js";

/** What stands large: the first of these that the meter sends. */
const FIRST = ["power", "energy_import", "energy", "energy_export", "current", "voltage", ...names];
/** What stands below it, where no phase's panel shows it. */
const FACTS = [
  "energy_import", "energy_export", "energy", "voltage", "current", "power_factor", "frequency",
];
const TRACED = family("power").filter((name) => name === "power" || phaseOf(name));
const ENERGY = "energy_import";
const ENERGY_EVERY_S = 60;

const find = (id) => document.getElementById(id);
const root = find("meter");
const box = find("live");
const meter = new Meter(root.dataset.meter, TRACED);
const id = encodeURIComponent(meter.id);
const readings = new ReadingTable(find("newest"), find("readings"));
const quantities = new QuantityTable(find("everything"));
const bar = new PhaseBar(find("shares"), find("most"));
const trace = { drawn: "", chart: null };
let fetched_s = -Infinity;
let marks = [];

/** Show the quantities below the large one: those that the phase panels do not show. */
function showFacts(main) {
  const list = find("facts");
  const isShown = (name) => meter.has(name) && name !== main
    && !(name === "energy" && meter.has("energy_import"))
    && !PHASES.some((phase) => meter.has(`${name}_${phase}`) && phaseOf(`${name}_${phase}`));
  const shown = FACTS.filter(isShown);
  if (list.dataset.built === shown.join()) return;
  list.dataset.built = shown.join();
  list.replaceChildren(...descriptions(shown));
}

/** Fetch and show today's energy, cost and what explains them, where the last answer is old. */
async function showToday(now) {
  if (now - fetched_s < ENERGY_EVERY_S || meter.last_s === null) return;
  fetched_s = now;
  const from = iso(epoch(dayOf(now)));
  const answer = await getJson(`/meters/${id}/summary?${new URLSearchParams({ from })}`);
  const { imported = null, exported = null, cost = null } = answer ?? {};
  const facts = [
    imported !== null && [t("Imported today"), format(ENERGY, imported)],
    exported !== null && (exported > 0 || meter.has("energy_export"))
      && [t("Exported today"), format(ENERGY, exported)],
    cost !== null && answer.currency && [t("Cost today"), money(cost, answer.currency)],
  ].filter(Boolean);
  find("today").hidden = !facts.length;
  find("today").replaceChildren(...facts.map(([term, text]) =>
    element("div", {}, element("dt", {}, term), element("dd", {}, text))));
  marks = marksOf(answer);
  showMarks(find("marks"), marks, () => "");
}

function showTrace(now) {
  const present = TRACED.filter((name) => meter.has(name));
  find("trace").hidden = !present.length;
  if (!present.length) return;
  if (present.join() !== trace.drawn) {
    trace.drawn = present.join();
    trace.chart?.destroy();
    trace.chart = lineChart(box, find("live-legend"), "power", present, {
      below: (chart) => drawHoles(chart, holesWith(marks, [])),
      above(chart) {
        drawDots(chart, chart.data[0], { values: chart.data[1], paint: "import" });
        drawMarks(chart, marks);
      },
    });
  }
  const minutes = meter.minutes(now);
  const from = now - 60 * minutes;
  const columns = meter.trace.columns(from, meter.gap_s);
  trace.chart.update([columns[0], ...present.map((q) => columns[1 + TRACED.indexOf(q)])], from, now);
  const span = minutes === 1 ? t("Last minute") : t("Last {minutes} minutes", { minutes });
  setText(find("live-title"), span);
  const power = format("power", meter.value("power"));
  box.setAttribute("aria-label", `${label("power")}, ${t("{span}; now {power}", { span, power })}`);
}

/** What is wrong and what to do; the page's other strips name a missing bridge or service. */
function troubleOf(state) {
  const { name } = meter;
  if (state === "offline" && !meter.isBridgeAway) {
    return t("{names}: offline. Check supply and wiring; “meterflow doctor” finds the fault.",
      { names: name });
  }
  return state === "stale"
    ? t("{names}: silent. Check power and network of the device.", { names: name }) : "";
}

function showNow(now, state) {
  const main = FIRST.find((name) => meter.has(name)) ?? "power";
  find("large").dataset.quantity = main;
  setText(find("large-label"), label(main));
  showFacts(main);
  showPhases(find("phases"), meter);
  setText(find("imbalance"), imbalance(meter));
  showState(root, meter, now);
  showValues(root, meter, now);
  showDirection(find("direction"), state === "online" ? meter.value("power") : null);
  bar.show(PHASES.map((phase) => [phase, meter.value(`power_${phase}`)]),
    (value) => format("power", value, undefined, meter.digits("power")),
    (values) => t("most on {phase}: {power}", values));
  return format(main, meter.value(main), undefined, meter.digits(main));
}

const show = paced(() => {
  const now = now_s();
  const state = meter.state(now);
  setText(find("name"), meter.name);
  setText(find("about"), about(meter));
  const value = showNow(now, state);
  const word = link.away ? t("No connection") : state === "online" ? value : STATES[state];
  document.title = `${word} · ${meter.name}`;
  setText(find("trouble"), troubleOf(state));
  find("trouble").hidden = !find("trouble").textContent;
  showTrace(now);
  readings.show();
  quantities.show(meter, now);
  showToday(now).catch(() => {}); // fetched again in a minute
});

async function refresh(whole) {
  try {
    const row = (await getJson("/meters/")).find((each) => each.meter_id === meter.id);
    if (row) meter.describe(row);
    notice(row ? "" : t("No reading received from meter {id} yet.", { id: meter.id }));
    root.dataset.ready = "";
    show();
    if (!row || !whole) return;
    const query = new URLSearchParams({
      meters: meter.id, quantities: TRACED, seconds: Math.ceil(meter.window_s), points: 600,
    });
    const [newest, traces] = await Promise.all([
      getJson(`/readings/${id}?limit=${ReadingTable.LENGTH}`), getJson(`/traces/?${query}`),
    ]);
    readings.seed(newest);
    meter.trace.seed(traces[meter.id]);
  } catch (error) {
    notice(t("Stored readings are unavailable: {reason}", { reason: error.message }));
    setTimeout(refetch, 5000, true);
  }
  root.dataset.ready = "";
  show();
}

const refetch = connect({
  onReading(meterId, reading) {
    if (meterId !== meter.id) return;
    if (meter.last_s === null) refetch(true);
    if (!meter.take(reading)) return;
    readings.add(reading);
    show();
  },
  onStatus(meterId, text) {
    const isChange = meterId === meter.id && meter.takeStatus(text);
    show();
    return isChange;
  },
  onChange: refresh,
  first: refresh(true),
});
find("newest").addEventListener("toggle", show);
setInterval(show, 1000);
