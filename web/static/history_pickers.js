// What a person picks on the history page: subjects, other quantities; and its keys.

import { element, family, isKnown, label, names as catalogue, phaseOf, unit } from "./catalogue.js";
import { ENERGY, paintOf } from "./history_bars.js";
import { PHASES, POWER } from "./history_lines.js";
import { HOUSE, MOST_SUBJECTS, spanOf } from "./history_state.js";
import { t } from "./language.js";

/** The meters that are shown, the house among them; the only meter of a house stands for it. */
export function subjectsOf(state, meters) {
  const [only] = meters.size === 1 ? meters.values() : [];
  if (only) return [only];
  const firsts = [...meters.values()].map(({ first_s }) => first_s ?? Infinity);
  const house = { id: HOUSE, name: t("House"), first_s: Math.min(...firsts), last_s: null, has: new Set() };
  return state.of.map((id) => (id === HOUSE ? house
    : meters.get(id) ?? { id, name: id, first_s: null, last_s: null, has: new Set(), isUnknown: true }));
}

/** What is shown where the address does not say: energy, and power of an hour or without counters. */
export function shownOf(state, chosen) {
  const counts = chosen.some(({ id, has }) => id === HOUSE || has.has("energy") || has.has("energy_import"));
  const known = ["energy", "cost", POWER, PHASES];
  if (state.show && (known.includes(state.show) || isKnown(state.show))) return state.show;
  return counts && spanOf(state) !== "hour" ? "energy" : POWER;
}

const order = new Intl.Collator(undefined, { numeric: true });
const option = (value, text, isChosen = false) => {
  const made = element("option", { value }, text);
  made.selected = isChosen;
  return made;
};

/** Whether what is to be built is there already: a list that is built again closes in one's hand. */
function isBuilt(target, ...parts) {
  const built = JSON.stringify(parts);
  if (target.dataset.built === built) return true;
  target.dataset.built = built;
  return false;
}

/** Show which subjects are chosen, and which more there are to compare with. */
export function showSubjects(subject, compared, compare, meters, chosen) {
  const sorted = [...meters.values()].sort((a, b) => order.compare(a.name, b.name));
  const all = [...(meters.size === 1 ? [] : [{ id: HOUSE, name: t("House") }]), ...sorted];
  const ids = chosen.map(({ id }) => id);
  if (isBuilt(subject, all.map(({ id, name }) => [id, name]), ids)) return;
  const unknown = all.some(({ id }) => id === ids[0]) ? [] : [chosen[0]];
  subject.replaceChildren(...[...all, ...unknown].map(({ id, name }) => option(id, name, id === ids[0])));
  subject.parentElement.toggleAttribute("data-several", ids.length > 1);
  compared.replaceChildren(...chosen.slice(1).map(({ id, name }, place) => element("li", {},
    element("button", {
      type: "button", "data-id": id, "data-paint": paintOf(place + 1), "aria-label": t("Leave out {name}", { name }),
    }, name))));
  const others = all.filter(({ id }) => !ids.includes(id));
  compare.replaceChildren(option("", t("Compare with …")), ...others.map(({ id, name }) => option(id, name)));
  compare.hidden = !others.length || ids.length >= MOST_SUBJECTS;
}

/** The quantities beside energy and power that the chosen meters send: heads of families. */
function quantitiesOf(chosen) {
  const sent = (name) => chosen.some(({ has }) => family(name).some((each) => has.has(each)));
  const isPart = (name) => phaseOf(name) || /_(import|export)(_l\d)?$|_l\d_l\d$/.test(name);
  return catalogue.filter((name) =>
    name !== POWER && unit(name) !== unit(ENERGY) && !isPart(name) && sent(name));
}

/** Show which other quantities there are to choose from. */
export function showMore(more, chosen, show) {
  const heads = quantitiesOf(chosen);
  const phases = chosen.length === 1 && family(POWER).some((name) => phaseOf(name) && chosen[0].has.has(name));
  const isOther = show === PHASES || (show !== POWER && show !== "energy" && isKnown(show));
  if (isBuilt(more, heads, phases, show)) return;
  more.replaceChildren(option("", t("More …")),
    ...(phases ? [option(PHASES, t("{name} by phase", { name: label(POWER) }), show === PHASES)] : []),
    ...heads.map((name) => option(name, label(name), name === show)));
  if (isOther && show !== PHASES && !heads.includes(show)) more.append(option(show, label(show), true));
  more.hidden = more.options.length < 2;
  more.toggleAttribute("data-chosen", isOther);
}

/** Call `choose`, `add`, `leave` with the id of a subject, `show` with the name of a quantity. */
export function listenToPickers(subject, compared, compare, more, { choose, add, leave, show }) {
  subject.addEventListener("change", () => choose(subject.value));
  compare.addEventListener("change", () => compare.value && add(compare.value));
  more.addEventListener("change", () => show(more.value || null));
  compared.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button) leave(button.dataset.id);
  });
}

/** Call the action of a key, where no field or scrolled table needs the key itself. */
export function listenToKeys(actions) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("select, textarea, input:not([type=checkbox]), .scroll")) return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
