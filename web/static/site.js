// The meters of the house by role and parent, and today's energy: the answer of GET /site/, which the
// live powers of the meters complete.

import { format, money } from "./catalogue.js";
import { t } from "./language.js";
import { getJson, now_s } from "./live.js";

const EVERY_S = 30;
const ENERGY = "energy_import";

/** The words for the roles; consumers need none. */
const ROLES = {
  grid: t("Grid"), production: t("Production"), storage: t("Storage"), consumer: "",
};
const ORDER = Object.keys(ROLES);

let fetched_s = -Infinity;
let nodes = new Map();

let site = null;

/** The house as GET /site/ had it last; null where there is none. */
export const siteNow = () => site;

/** The nodes in the page's order: grid, production, storage, consumers, each with those below it. */
function* flatten(branches, parent = null) {
  const rank = ({ role }) => ORDER.indexOf(role);
  for (const node of branches.toSorted((a, b) => rank(a) - rank(b))) {
    yield Object.assign(node, { parent });
    yield* flatten(node.children, node);
  }
}

/** The nodes of the house. */
export const allNodes = () => [...nodes.values()];

export const nodeOf = (meterId) => nodes.get(meterId);

/** Words for a meter's place in the house. */
export function placeOf(meterId) {
  const node = nodes.get(meterId);
  if (!node) return [];
  return [node.role_is_assumed ? "" : ROLES[node.role],
    node.parent ? t("in {name}", { name: node.parent.name }) : ""];
}

const hasRoleAbove = (node) =>
  Boolean(node.parent) && (node.parent.role === node.role || hasRoleAbove(node.parent));

/** The outermost meters of a role: those below them measure parts of the same. */
export const outermost = (role) =>
  allNodes().filter((node) => node.role === role && !hasRoleAbove(node));

/** The nearest meters below one that have another role: they are no part of what it stands for. */
function others(node) {
  return node.children.flatMap((child) => (child.role === node.role ? others(child) : [child]));
}

/** A function of node and meters that returns the power now; null where one is not known. */
const less = (parts) => (node, powerOf) => {
  const powers = [node, ...parts(node)].map(({ meter_id: id }) => powerOf(id));
  return powers.includes(null) ? null : powers.slice(1).reduce((rest, power) => rest - power, powers[0]);
};

/** The power of a node in its role; that of the grid is whole. */
export const ownPower = less((node) => (node.role === "grid" ? [] : others(node)));

/** The power that no meter below a node measures. */
export const restPower = less((node) => node.children);

/** Today's energy and cost of a meter as one text; empty where they are not known. */
export function todayOf(meterId) {
  const node = nodes.get(meterId);
  if (!node?.today) return "";
  const { imported, exported, cost } = node.today;
  const flows = node.role === "production" ? [exported || imported] : [imported];
  if (exported > 0 && imported > 0) flows.push(-exported);
  if (exported > 0 && !imported && node.role !== "production") flows[0] = -exported;
  const texts = flows.filter((kwh) => kwh !== null).map((kwh) => format(ENERGY, kwh));
  if (cost !== null && site.currency) texts.push(money(cost, site.currency));
  return texts.join(" · ");
}

/** Fetch the house where the last answer is old; return whether there is a new answer. */
export async function refreshSite() {
  const now = now_s();
  if (document.hidden || now - fetched_s < EVERY_S) return false;
  fetched_s = now;
  try {
    site = await getJson("/site/");
  } catch {
    site = null; // the page's own refresh shows the error
  }
  nodes = new Map([...flatten(site?.meters ?? [])].map((node) => [node.meter_id, node]));
  return true;
}

/** Fetch the house soon: a meter is new. */
export function siteChanged() {
  fetched_s = Math.min(fetched_s, now_s() - EVERY_S + 2);
}
