// One topic: who holds which partition, its records, settings and readers.

import { bytes, chip, count, empty, fill, h, link, number, panel, table } from "./dom.js";
import { get, path, send } from "./api.js";
import { ask, confirmByName, toast } from "./dialog.js";
import { configs } from "./configs.js";
import { lagOf, silent } from "./groups.js";
import { messages, produce } from "./messages.js";
import { state } from "./topics.js";

const TABS = [["partitions", "Partitions"], ["messages", "Messages"], ["settings", "Settings"], ["groups", "Groups"]];
const STATES = { leader: "leader", in_sync: "in sync", lagging: "behind", offline: "away" };
/** Rows of the grid that are shown before somebody asks for more. */
const ROWS = 100;

export async function topic(root, page) {
  const [name, tab = "partitions"] = page.parts;
  page.title(name);
  const [head, body] = [h("div", { class: "head" }), h("div", { class: "stack" })];
  const tabs = h("nav", { class: "tabs", "aria-label": "Parts of the topic" }, TABS.map(([key, title]) =>
    h("a", { href: link("topics", name, key), "aria-current": key === tab ? "page" : null }, title)));
  fill(root, h("div", null, head, tabs), body);
  const show = { partitions, messages, settings, groups }[tab] ?? partitions;
  const told = await get(path("topics", name), page.signal);
  const headline = headOf(head, told, page);
  if (show !== partitions) {
    page.live("metadata", async () => {
      try {
        headline(await get(path("topics", name), page.signal));
      } catch {
        // It says what it was.
      }
    });
  }
  await show(body, page, told, headline);
}

/** The head of the page: what can be clicked stays in its place while the rest is drawn anew. */
function headOf(head, first, page) {
  let told = first;
  const facts = h("div", { class: "sub" });
  fill(head,
    h("div", { class: "grow" }, h("div", { class: "crumb" }, h("a", { href: "#/topics" }, "Topics")), h("h1", null, told.name), facts),
    !told.is_internal && h("div", { class: "row" }, page.changes(
      h("button", { onclick: () => produce(told) }, "Produce"),
      h("button", { onclick: () => grow(told) }, "Add partitions"),
      h("button", { class: "danger", onclick: () => remove(told) }, "Delete"))));
  const draw = (newer) => {
    told = newer;
    const sum = (key) => told.partitions.filter((partition) => partition[key]).length;
    const faults = { offline: sum("is_offline"), under_min_isr: sum("is_under_min_isr"), under_replicated: sum("is_under_replicated") };
    fill(facts, state(faults), h("span", null, count(told.partitions.length, "partition")),
      h("span", null, `min ISR ${told.min_insync_replicas}`), h("span", { class: "hide-s" }, "id ", h("code", null, told.topic_id)));
  };
  draw(told);
  return draw;
}

function grow(told) {
  ask({
    title: `Add partitions to ${told.name}`,
    action: "Add",
    body: [
      h("div", { class: "note warn" }, "Keys go to other partitions from then on, and partitions cannot be taken away again."),
      h("label", { class: "field" }, "Partitions in all", h("input", { name: "count", type: "number", min: told.partitions.length + 1, value: told.partitions.length + 1, required: true })),
    ],
    async submit(form) {
      await send("POST", path("topics", told.name, "partitions"), { count: Number(form.get("count")) });
      toast(`${told.name} has ${form.get("count")} partitions`);
    },
  });
}

function remove(told) {
  confirmByName({
    title: "Delete topic",
    text: `All records of ${count(told.partitions.length, "partition")} are deleted. There is no way back.`,
    name: told.name,
    action: "Delete",
    async submit() {
      await send("DELETE", path("topics", told.name));
      toast(`Deleted ${told.name}`);
      location.hash = "#/topics";
    },
  });
}

async function partitions(body, page, first, headline) {
  let told = first;
  let offsets = new Map();
  let isAll = false;
  const grid = h("div");
  fill(body, grid);

  function draw() {
    const all = told.partitions;
    const shown = isAll ? all : all.slice(0, ROWS);
    const brokers = told.brokers.filter((broker) => all.some((one) => one.replicas.some((replica) => replica.broker === broker.id)));
    const columns = [
      ["Part.", "right"],
      ...brokers.map((broker) => ["", "broker", h("span", { title: broker.rack ? `rack ${broker.rack}` : null }, `Broker ${broker.id}`, !broker.is_alive && [" ", h("span", { class: "dot bad", title: "out of service" })])]),
      ["Leader", "right hide-s"], ["Epoch", "right hide-s"], ["Start", "right hide-s"], ["End", "right"], ["On disk", "right hide-s"],
    ];
    const rows = shown.map((one) => {
      const at = offsets.get(one.partition);
      return h("tr", { "data-partition": one.partition },
        h("td", { class: "right" }, one.partition),
        brokers.map((broker) => h("td", { class: "broker" }, cell(one, broker.id))),
        h("td", { class: "right hide-s" }, one.leader ?? chip("none", "bad"), one.leader !== null && one.leader !== one.preferred_leader && h("span", { class: "faint", title: `broker ${one.preferred_leader} is preferred` }, " *")),
        h("td", { class: "right hide-s" }, number(one.leader_epoch)),
        h("td", { class: "right hide-s" }, number(at?.start)),
        h("td", { class: "right" }, number(at?.end)),
        h("td", { class: "right nowrap hide-s" }, at?.replicas.length ? bytes(Math.max(...at.replicas.map((replica) => replica.bytes))) : "–"));
    });
    const legend = h("div", { class: "legend" }, Object.entries(STATES).map(([key, text]) => h("span", { class: `cell ${key}` }, text)));
    fill(grid, panel([h("h2", { class: "grow" }, "Replicas"), legend], table(columns, rows, "grid"),
      all.length > shown.length && h("div", { class: "pager" }, h("span", { class: "grow" }, `${number(shown.length)} of ${number(all.length)} partitions`),
        h("button", { onclick: () => { isAll = true; draw(); } }, "Show all"))));
  }

  async function measure() {
    try {
      const rows = (await get(path("topics", told.name, "offsets"), page.signal)).partitions;
      offsets = new Map(rows.map((row) => [row.partition, row]));
      draw();
    } catch {
      // While a leader is missing, ends are what they were; the grid tells why.
    }
  }

  async function refresh() {
    try {
      told = await get(path("topics", told.name), page.signal);
      draw();
      headline(told);
    } catch (error) {
      page.failed(grid, error);
    }
  }

  page.live("hello", refresh);
  page.live("metadata", refresh);
  page.every(3000, measure);
  draw();
  measure();
}

function cell(partition, broker) {
  const replica = partition.replicas.find((one) => one.broker === broker);
  if (!replica) return null;
  const moving = partition.adding.includes(broker) ? ", being added" : partition.removing.includes(broker) ? ", being removed" : "";
  const eligible = partition.elr.includes(broker) ? ", may lead" : "";
  return h("span", { class: `cell ${replica.state}`, title: `broker ${broker}: ${STATES[replica.state]}${moving}${eligible}` }, STATES[replica.state]);
}

async function settings(body, page, told) {
  await configs(body, page, path("topics", told.name, "configs"), await page.mayChange);
}

async function groups(body, page, told) {
  const place = h("div");
  fill(body, place);
  async function refresh() {
    try {
      const of = await get(path("topics", told.name, "groups"), page.signal);
      const rows = of.groups.map((group) => h("tr", null,
        h("td", { class: "wide" }, h("a", { class: "rowlink", href: link("groups", group.group) }, group.group)),
        h("td", { class: "hide-s" }, chip(group.type)), h("td", null, group.state),
        h("td", { class: "right hide-s" }, number(group.members)), h("td", { class: "right" }, lagOf(group))));
      fill(place, h("div", { class: "panel" }, rows.length
        ? table([["Group"], ["Type", "hide-s"], ["State"], ["Members", "right hide-s"], ["Lag here", "right"]], rows)
        : empty("No group reads this topic", "Groups show up here once they have committed an offset, or have a partition assigned."),
      (of.not_looked_at > 0 || of.silent_brokers.length > 0) && h("div", { class: "note small" }, `${count(of.not_looked_at, "group")} did not tell in time, or were too many to ask${silent(of)}.`)));
    } catch (error) {
      if (!place.querySelector("table")) page.failed(place, error);
    }
  }
  page.every(3000, refresh);
  await refresh();
}
