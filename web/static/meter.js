// The page of one meter: now, the last minutes, the history, the readings.

import {
  descriptions, family, format, label, paced, phaseOf, setText, showValues,
} from "./catalogue.js";
import { lineChart } from "./chart.js";
import { History } from "./meter_history.js";
import { connect, getJson, notice, now_s, series } from "./live.js";
import { Meter, about, showDirection, showState } from "./meter_state.js";
import { showPhases } from "./phases.js";
import { QuantityTable, ReadingTable } from "./tables.js";

const FACTS = [
  "energy_import", "energy_export", "energy", "voltage", "current", "power_factor", "frequency",
];
const TRACED = family("power").filter((name) => name === "power" || phaseOf(name));

const root = document.getElementById("meter");
const meter = new Meter(root.dataset.meter, TRACED);
const history = new History(meter);
const readings = new ReadingTable(document.getElementById("readings"));
const quantities = new QuantityTable(document.getElementById("everything"));
const box = document.getElementById("live");
const trace = { drawn: "", chart: null };

/** Show the quantities below the power: those that the phase panels do not show. */
function showFacts() {
  const list = document.getElementById("facts");
  const three = meter.has("voltage_l1");
  const names = FACTS.filter((name) => meter.has(name)
    && !(name === "energy" && meter.has("energy_import"))
    && !(name === "voltage" && three));
  const built = names.join();
  if (list.dataset.built === built) return;
  list.dataset.built = built;
  list.replaceChildren(...descriptions(names));
}

function showTrace(now) {
  const present = TRACED.filter((name) => meter.has(name));
  if (!present.length) return;
  if (present.join() !== trace.drawn) {
    trace.drawn = present.join();
    trace.chart?.destroy();
    const legend = document.getElementById("live-legend");
    trace.chart = lineChart(box, legend, "power", present, { newest: true });
  }
  const minutes = meter.minutes(now);
  const from = now - 60 * minutes;
  const columns = meter.trace.columns(from, meter.gap_s);
  trace.chart.update([columns[0], ...present.map((q) => columns[1 + TRACED.indexOf(q)])], from, now);
  const span = minutes === 1 ? "Last minute" : `Last ${minutes} minutes`;
  setText(document.getElementById("live-title"), span);
  box.setAttribute("aria-label",
    `${label("power")}, ${span}; now ${format("power", meter.value("power"))}`);
}

const show = paced(() => {
  const now = now_s();
  setText(document.getElementById("name"), meter.name);
  document.title = `${format("power", meter.value("power"))} · ${meter.name}`;
  setText(document.getElementById("about"), about(meter));
  showFacts();
  showPhases(document.getElementById("phases"), meter);
  showState(root, meter, now);
  showValues(root, meter, now);
  showDirection(document.getElementById("direction"), meter, now);
  showTrace(now);
  readings.show();
  quantities.show(meter, now);
});

async function refresh(whole) {
  const id = encodeURIComponent(meter.id);
  try {
    const row = (await getJson("/meters/")).find((each) => each.meter_id === meter.id);
    if (row) meter.describe(row);
    notice(row ? "" : `No reading received from meter ${meter.id} yet.`);
    if (!row || !whole) return;
    const to = now_s();
    const [newest, columns] = await Promise.all([
      getJson(`/readings/${id}?limit=${ReadingTable.LENGTH}`),
      series(meter.id, TRACED, to - meter.window_s, to + 1, 600),
    ]);
    readings.seed(newest);
    meter.trace.seed(columns);
    history.refresh();
  } catch (error) {
    notice(`Stored readings are unavailable: ${error.message}`);
    setTimeout(refetch, 5000, true);
  }
  root.dataset.ready = "";
  show();
}

const refetch = connect({
  onReading(id, reading) {
    if (id !== meter.id) return;
    if (meter.last_s === null) refetch(true);
    if (!meter.take(reading)) return;
    readings.add(reading);
    show();
  },
  onStatus(id, text) {
    const isChange = id === meter.id && meter.takeStatus(text);
    show();
    return isChange;
  },
  onChange: refresh,
  first: refresh(true),
});
setInterval(show, 1000);
