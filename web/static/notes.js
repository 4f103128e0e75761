// What a person should look at: the notes of the house, each with the page where one acts.

import { element, format } from "./catalogue.js";
import { t } from "./language.js";
import { BASE } from "./live.js";
import { nodeOf, siteNow } from "./site.js";

const list = document.getElementById("notes");

/** The sentence of a note of each kind; one of another kind is shown as the server says it. */
const SENTENCES = {
  parent_unknown: (values) => t("{name}: its parent “{other}” has no readings.", values),
  parents_circle: (values) => t("{name}: its parents lead in a circle ({other}).", values),
  children_exceed: (values) => t("{name}: the meters below it have measured {energy} more than it since yesterday. Check their parents and roles.", values),
  production_imports: (values) => t("{name}: its role is production, but it has imported {energy} more than it exported since yesterday. Are supply and load swapped?", values),
  no_export: (values) => t("{name}: it counts no export, so that what the house feeds in is shown as consumption.", values),
  no_price: (values) => t("{name}: {energy} since yesterday have no price, so that the cost is not known.", values),
};

let shown = "";

function item({ meter_id: id, text, kind, kwh, other }) {
  const name = nodeOf(id)?.name ?? id;
  const sentence = SENTENCES[kind]?.({ name, other, energy: kwh === null ? "" : format("energy_import", kwh) });
  const link = kind === "no_price" ? element("a", { href: `${BASE}/view/prices` }, t("Prices"))
    : element("a", { href: `${BASE}/view/meters?meter=${encodeURIComponent(id)}` }, t("Settings"));
  const english = element("span", { lang: "en" }, `${name}: ${text}`);
  return element("li", {}, sentence ?? english, " ", link);
}

/** Show the notes of the house, where there are any. */
export function showNotes() {
  const notes = siteNow()?.notes ?? [];
  const now = JSON.stringify(notes);
  if (now === shown) return;
  shown = now;
  list.replaceChildren(...notes.map(item));
  list.hidden = !notes.length;
}
