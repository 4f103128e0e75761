// Readings of the utility's own meter: a form for an editor, and the list of them.

import { element, number, setText } from "./catalogue.js";
import { showWrong } from "./field_errors.js";
import { t } from "./language.js";
import { getJson, now_s, request } from "./live.js";
import { entered, epoch, iso } from "./site_time.js";
import { typedNumber } from "./typed_number.js";
import { comparison, item, shown, titleOf } from "./utility_entry.js";

const FEW = 12;
const EVERY_MS = 15_000;

const panel = document.getElementById("utility");
const form = panel.querySelector("form");
const [list, rest, said] = ["list", "rest", "said"].map((name) => panel.querySelector(`.utility-${name}`));
const isEditor = Boolean(form);

let meters = [];
let entries = [];
let isWhole = false;
/** The entry that the form corrects. */
let corrected = null;
/** Whether a person has chosen the time: until then it goes on. */
let isTimed = false;

/** The name of a meter, where there are several. */
const nameOf = (id) => (meters.length > 1
  ? meters.find((meter) => meter.meter_id === id)?.name ?? id : "");
const titled = (entry) => titleOf(entry, nameOf(entry.meter_id));

function showList() {
  const most = isWhole ? Infinity : FEW;
  list.replaceChildren(...entries.slice(0, most).map((entry) => item(entry, nameOf(entry.meter_id), isEditor)));
  panel.querySelector(".utility-none").hidden = entries.length > 0;
  rest.hidden = entries.length <= most;
  setText(rest, t("All {count}", { count: number(entries.length, 0) }));
}

async function loadList() {
  const found = await getJson("/utility-readings/");
  entries = found.toSorted((a, b) => Date.parse(b.ts) - Date.parse(a.ts));
  showList();
}

// -- the form ------------------------------------------------------------------------------------

function say(text, ...more) {
  said.replaceChildren(text, ...more);
}

/** Let the time of the form go on until a person chooses one. */
function showTime() {
  if (!isTimed && !corrected) form.elements.ts.value = entered(now_s());
  form.elements.ts.max = entered(now_s());
}

function showRegisters() {
  const chosen = meters.find(({ meter_id: id }) => id === form.elements.meter.value);
  const isThere = corrected?.register === "export"
    || typeof chosen?.latest?.energy_export === "number";
  form.elements.register.closest(".field").hidden = !isThere;
  if (!isThere) form.elements.register.value = "import";
}

function showUnderstood() {
  const value = typedNumber(form.elements.value.value);
  setText(form.querySelector(".understood"), Number.isFinite(value) ? `= ${shown(value)}` : "");
}

/** Fill the form with an entry to correct; without one, for a new entry. */
function fill(entry) {
  corrected = entry;
  isTimed = false;
  form.elements.value.value = entry
    ? new Intl.NumberFormat(undefined, { maximumFractionDigits: 3, useGrouping: false }).format(entry.value) : "";
  if (entry) {
    form.elements.meter.value = entry.meter_id;
    form.elements.ts.value = entered(Date.parse(entry.ts) / 1000);
  }
  form.elements.register.value = entry?.register ?? "import";
  form.querySelector("[data-do=cancel]").hidden = !entry;
  setText(form.querySelector("legend"), entry
    ? t("Correct the reading of {when}", { when: titled(entry) }) : t("New reading"));
  showWrong(form, [], plainly);
  showTime();
  showRegisters();
  showUnderstood();
}

function plainly({ msg }) {
  if (/future/.test(msg)) return t("This time is in the future.");
  if (/less than or equal/.test(msg)) return t("This number is too large.");
  return msg;
}

/** The time that the form says: that of the corrected entry to the second where it is the same. */
function time_s() {
  const text = form.elements.ts.value;
  const before_s = corrected ? Date.parse(corrected.ts) / 1000 : NaN;
  return text === entered(before_s || 0) ? before_s : epoch(text);
}

/** What is wrong before anything is sent. */
function* problems() {
  const { value, ts } = form.elements;
  if (!value.value.trim()) yield { loc: ["body", "value"], msg: t("Enter what the meter shows.") };
  else if (!Number.isFinite(typedNumber(value.value))) {
    yield { loc: ["body", "value"], msg: t("Enter a number, such as {example}.", { example: number(12345.6, 1) }) };
  }
  if (!ts.value) yield { loc: ["body", "ts"], msg: t("Enter when the meter showed this.") };
}

const addressOf = ({ meter_id: id }) => `/utility-readings/${encodeURIComponent(id)}`;

function enter({ meter_id: id, register, ts, value }) {
  return request(addressOf({ meter_id: id }), {
    method: "POST", body: JSON.stringify({ register, ts, value }),
    headers: { "Content-Type": "application/json" },
  });
}

const remove = (entry) => request(
  `${addressOf(entry)}?${new URLSearchParams({ ts: entry.ts, register: entry.register })}`,
  { method: "DELETE" });

const isSame = (a, b) => a.meter_id === b.meter_id && a.register === b.register
  && Date.parse(a.ts) === Date.parse(b.ts);

/** Do something with an entry, and say what became of it. */
async function attempt(work, done) {
  try {
    const response = await work();
    await loadList();
    if (response.status === 202) say(t("Sent, but not stored yet: check that the recorder runs."));
    else done(await response.json());
  } catch (error) {
    if (error.problems?.length) {
      showWrong(form, error.problems, plainly);
      say(t("Not saved."));
    } else say(t("Not saved: {why}", { why: error.message }));
    loadList().catch(() => {}); // of two steps, one may have been taken
  }
}

async function save() {
  const wrong = [...problems()];
  showWrong(form, wrong, ({ msg }) => msg);
  say(wrong.length ? t("Not saved.") : "");
  if (wrong.length) return;
  const { meter, register, value } = form.elements;
  const entry = { meter_id: meter.value, register: register.value, value: typedNumber(value.value), ts: iso(time_s()) };
  const before = corrected;
  await attempt(async () => {
    const response = await enter(entry);
    if (before && !isSame(before, entry)) await remove(before);
    return response;
  }, (stored) => {
    fill(null);
    say(t("Saved: {reading}.", { reading: `${titled(stored)}, ${shown(stored.value)}` }), " ", comparison(stored));
  });
}

function takeAway(entry) {
  return attempt(() => remove(entry), () => {
    const undo = element("button", { type: "button", class: "button" }, t("Undo"));
    undo.addEventListener("click", () => attempt(() => enter(entry), () => say(t("It is there again."))));
    say(t("Removed: {reading}.", { reading: `${titled(entry)}, ${shown(entry.value)}` }), " ", undo);
    if (corrected && isSame(corrected, entry)) fill(null);
    undo.focus();
  });
}

function offer() {
  const { meter } = form.elements;
  const wanted = new URLSearchParams(location.search).get("meter");
  const before = meter.value || wanted || meters.find(({ role }) => role === "grid")?.meter_id;
  meter.replaceChildren(...meters.map(({ meter_id: id, name }) =>
    element("option", { value: id }, name === id ? id : `${name} (${id})`)));
  meter.value = meters.some(({ meter_id: id }) => id === before) ? before : meters[0].meter_id;
  meter.closest(".field").hidden = meters.length < 2;
  showRegisters();
}

/** Fetch meters and entries again; a form that a person fills in stays. */
export async function refreshUtility() {
  meters = await getJson("/meters/?fields=name,role,latest");
  if (isEditor && meters.length) offer();
  await loadList();
}

/** Show the panel where the list of statements is, to an editor or where there are entries. */
export function showUtility(isList) {
  panel.hidden = !isList || !meters.length || !(isEditor || entries.length);
  const link = document.getElementById("to-utility");
  if (link) link.hidden = panel.hidden;
}

/** Go to the form where the address asks for it: it was hidden when the page opened. */
export function leadToUtility() {
  if (location.hash !== "#utility" || panel.hidden) return;
  panel.scrollIntoView();
  form?.elements.value.focus({ preventScroll: true });
}

if (isEditor) {
  fill(null);
  setInterval(showTime, EVERY_MS);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
  form.addEventListener("input", ({ target: { name } }) => {
    if (name === "ts") isTimed = true;
    if (name === "meter") showRegisters();
    showUnderstood();
    say("");
  });
  form.querySelector("[data-do=cancel]").addEventListener("click", () => {
    fill(null);
    say("");
  });
}
rest.addEventListener("click", () => {
  isWhole = true;
  showList();
});
list.addEventListener("click", ({ target }) => {
  const what = target.closest("button")?.dataset.do;
  const index = [...list.children].indexOf(target.closest("li"));
  if (what === "remove") takeAway(entries[index]);
  if (what !== "correct") return;
  fill(entries[index]);
  say("");
  form.elements.value.focus();
  form.elements.value.select();
});
