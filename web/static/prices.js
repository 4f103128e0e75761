// The page of the prices: dynamic ones of today and tomorrow, the tariffs, and what the consumption of
// a period would have cost by each of them.

import { element, setText } from "./catalogue.js";
import { t } from "./language.js";
import { connect, getJson, notice, now_s } from "./live.js";
import { stepChart, stepTable, stepTexts } from "./price_steps.js";
import { dayOf, daysAfter, epoch, iso } from "./site_time.js";
import { tariffPanel } from "./tariff_panel.js";
import { whatIf } from "./what_if.js";

const box = (id) => document.getElementById(id);
const compare = whatIf(box("period"), box("comparison"), box("consumed"));

let tariffs = [];
let stored = [];
let redraw = 0;

/** The names of the lists of dynamic prices that tariffs have or that are stored. */
const lists = () => [...new Set([
  ...tariffs.map(({ dynamic }) => dynamic), ...stored.map(({ name }) => name),
])].filter(Boolean);

/** The rates of a tariff that apply on a day. */
const ratesOn = (tariff, day) => tariff.rates.findLast(({ valid_from: from }) => from <= day);

function showTariffs() {
  const today = dayOf(now_s());
  box("tariffs").replaceChildren(...tariffs.map((tariff) => tariffPanel(tariff, today)));
  box("empty").hidden = tariffs.length > 0;
  setText(box("summary"), "");
}

async function showDynamic() {
  const names = lists();
  box("dynamic").hidden = !names.length;
  if (!names.length) return;
  const select = box("list");
  const wanted = new URLSearchParams(location.search).get("list");
  const name = names.includes(wanted) ? wanted : names[0];
  select.replaceChildren(...names.map((each) => element("option", { value: each }, each)));
  select.value = name;
  box("list-field").hidden = names.length < 2;
  setText(box("wanted"), name);
  const today = dayOf(now_s());
  const span = [epoch(today), epoch(daysAfter(today, 2))];
  const query = new URLSearchParams({ from: iso(span[0]), to: iso(span[1]) });
  const found = stored.some((each) => each.name === name)
    ? (await getJson(`/tariffs/${encodeURIComponent(name)}/prices?${query}`)).prices : [];
  drawDynamic(found, name, today, span);
}

/** Draw prices as they were fetched; again each minute, as now goes on. */
function drawDynamic(found, name, today, span) {
  clearTimeout(redraw);
  redraw = setTimeout(drawDynamic, 60_000, found, name, today, span);
  const user = tariffs.find(({ dynamic }) => dynamic === name);
  const markup = (user && ratesOn(user, today)?.markup) || 0;
  const currency = (user ?? tariffs[0])?.currency ?? "";
  const prices = found.map(({ from, price }) => [Date.parse(from) / 1000, price + markup]);
  const texts = stepTexts(prices, { span, currency, markup, now: now_s() });
  for (const id of ["steps", "readout"]) box(id).hidden = !prices.length;
  box("dynamic").querySelector("details").hidden = !prices.length;
  box("no-prices").hidden = prices.length > 0;
  setText(box("gaps"), prices.length ? texts.gaps : "");
  box("gaps").hidden = !box("gaps").textContent;
  setText(box("readout"), texts.now);
  box("steps").setAttribute("aria-label", texts.summary);
  if (prices.length) {
    stepChart(box("steps"), prices, { span, currency, now: now_s() },
      (text) => setText(box("readout"), text || texts.now));
  }
  box("table").replaceChildren(stepTable(prices, currency));
}

box("list").addEventListener("change", ({ target }) => {
  history.pushState(null, "", `?${new URLSearchParams({ list: target.value })}`);
  showDynamic().catch(failed);
});

const failed = (error) => notice(t("The prices are unavailable: {why}", { why: error.message }));

async function refresh() {
  try {
    const [answer, meters] = await Promise.all([
      getJson("/tariffs/"), getJson("/meters/?fields=name,role,parent"),
    ]);
    ({ tariffs, prices: stored } = answer);
    notice(answer.trouble ? t("The tariff file is wrong, so that the tariffs before apply: {why}",
      { why: answer.trouble }) : "");
    showTariffs();
    box("what-if").hidden = !tariffs.length || !meters.length;
    compare.offer(meters, tariffs);
    await showDynamic();
  } catch (error) {
    failed(error);
  }
}

addEventListener("popstate", () => {
  compare.showAddress();
  showDynamic().catch(failed);
});
connect({ first: refresh(), onChange: refresh });
