// The page of one meter: now, the last minutes, the history, the readings.

import { lineChart } from "./chart.js";
import { History } from "./history.js";
import { connect, getJson, notice, now_s, paced, series } from "./live.js";
import { Meter } from "./meters.js";
import { showPhases } from "./phases.js";
import { PHASES, about, pairs, phrase, say, showDirection, showState, showValues } from "./show.js";
import { QuantityTable, ReadingTable } from "./tables.js";

const FACTS = [
  ["energy_import", "Imported"], ["energy_export", "Exported"], ["energy", "Energy"],
  ["voltage", "Voltage"], ["current", "Current"],
  ["power_factor", "Power factor"], ["frequency", "Frequency"],
];
const TRACED = ["power", ...PHASES.map((phase) => `power_${phase}`)];

const root = document.getElementById("meter");
const meter = new Meter(root.dataset.meter, TRACED);
const history = new History(meter);
const readings = new ReadingTable(document.getElementById("readings"));
const quantities = new QuantityTable(document.getElementById("everything"));
const box = document.getElementById("live");
const trace = { drawn: "", chart: null };

/** The facts below the power: what the meter measures and the phases do not show. */
function showFacts() {
  const list = document.getElementById("facts");
  const three = meter.has("voltage_l1");
  const names = FACTS.filter(([name]) => meter.has(name)
    && !(name === "energy" && meter.has("energy_import"))
    && !(name === "voltage" && three));
  const built = names.join();
  if (list.dataset.built === built) return;
  list.dataset.built = built;
  list.replaceChildren(...pairs(names));
}

function showTrace(now) {
  const present = TRACED.filter((name) => meter.has(name));
  if (!present.length) return;
  if (present.join() !== trace.drawn) {
    trace.drawn = present.join();
    trace.chart?.destroy();
    trace.chart = lineChart(box, document.getElementById("live-legend"), {
      fromZero: true, newest: true,
      lines: present.map((quantity) => ({
        quantity,
        phase: PHASES.find((phase) => quantity.endsWith(phase)),
        label: present.length === 1 ? "Power"
          : quantity === "power" ? "Total" : quantity.slice(-2).toUpperCase(),
      })),
    });
  }
  const minutes = meter.minutes(now);
  const from = now - 60 * minutes;
  const columns = meter.trace.columns(from, meter.gap_s);
  trace.chart.update([columns[0], ...present.map((q) => columns[1 + TRACED.indexOf(q)])], from, now);
  const span = minutes === 1 ? "Last minute" : `Last ${minutes} minutes`;
  say(document.getElementById("live-title"), span);
  box.setAttribute("aria-label",
    `Power, ${span}; now ${phrase("power", meter.value("power"))}`);
}

const show = paced(() => {
  const now = now_s();
  say(document.getElementById("name"), meter.name);
  document.title = `${phrase("power", meter.value("power"))} · ${meter.name}`;
  say(document.getElementById("about"), about(meter));
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
    notice(row ? "" : `No reading of meter ${meter.id} has come yet.`);
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
    notice(`What is stored cannot be shown now: ${error.message}`);
    setTimeout(ask, 5000, true);
  }
  root.dataset.ready = "";
  show();
}

const ask = connect({
  onReading(id, reading) {
    if (id !== meter.id) return;
    if (meter.last_s === null) ask(true);
    if (!meter.take(reading)) return;
    readings.add(reading);
    show();
  },
  onStatus(id, text) {
    const news = id === meter.id && meter.hear(text);
    show();
    return news;
  },
  onChange: refresh,
  first: refresh(true),
});
setInterval(show, 1000);
