// Groups of all kinds: how far behind they are, who is in them, and moving their offsets.

import { chip, count, empty, fill, h, link, number, panel, table } from "./dom.js";
import { get, path, query, send } from "./api.js";
import { spark } from "./chart.js";
import { ask, confirmByName, toast } from "./dialog.js";

const PAGE_SIZE = 50;
/** Points of a group's lag that are remembered while its page is open. */
const POINTS_MAX = 300;

function stateChip(state) {
  const known = state.toLowerCase().replaceAll("_", "");
  const kind = known === "stable" ? "good" : known === "dead" ? "bad" : known.includes("rebalance") || known.includes("assigning") || known === "reconciling" ? "warn" : "";
  return chip(state, kind);
}

/** What a group is behind; a sum that lacks a partition's end would look like one that has caught up. */
export const lagOf = (told) => (told.lag === null ? h("span", { class: "soft", title: "The end of a partition is not known now" }, "unknown") : number(told.lag));

/** Brokers whose groups are not in what was told. */
export const silent = (told) => (told.silent_brokers?.length ? `; broker ${told.silent_brokers.join(", ")} does not answer, its groups are not shown` : "");

export async function groups(root, page) {
  page.title("Groups");
  const asked = { search: "", type: "", page: 1 };
  const list = h("div");
  const search = h("input", { class: "search", type: "search", placeholder: "Search groups  /", "aria-label": "Search groups" });
  const type = h("select", { "aria-label": "Kind" }, [["", "All kinds"], ["consumer", "Consumer"], ["classic", "Classic"], ["share", "Share"], ["streams", "Streams"]].map(([value, text]) => h("option", { value }, text)));
  let waiting = null;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { asked.search = search.value; asked.page = 1; refresh(); }, 120);
  });
  type.addEventListener("change", () => { asked.type = type.value; asked.page = 1; refresh(); });
  fill(root, h("div", { class: "head" }, h("h1", { class: "grow" }, "Groups")), h("div", { class: "row" }, search, type), list);

  const known = new Map();
  let turn = 0;
  async function refresh() {
    const mine = ++turn;
    try {
      const values = { ...asked, page_size: PAGE_SIZE };
      if (!list.querySelector("table")) {
        const quick = await get(path("groups") + query(values), page.signal);
        if (mine === turn) draw(quick);
      }
      const told = await get(path("groups") + query({ ...values, details: true }), page.signal);
      for (const one of told.groups) known.set(one.group, one);
      if (mine === turn) draw(told);
    } catch (error) {
      if (mine === turn && !list.querySelector("table")) page.failed(list, error);
    }
  }

  function draw(told) {
    if (!told.groups.length) {
      fill(list, h("div", { class: "panel" }, asked.search || asked.type ? empty("No group matches", "") : told.silent_brokers.length
        ? empty("No group is known now", `Broker ${told.silent_brokers.join(", ")} does not answer, and may have some.`)
        : empty("There are no groups yet", "A group comes into being when its first consumer joins, or commits an offset.")));
      return;
    }
    const focused = document.activeElement?.dataset?.group;
    const rows = told.groups.map((one) => {
      const full = { ...known.get(one.group), ...one };
      return h("tr", null,
        h("td", { class: "wide" }, h("a", { class: "rowlink", href: link("groups", one.group), "data-group": one.group }, one.group)),
        h("td", { class: "hide-s" }, chip(one.type)), h("td", null, stateChip(one.state)),
        h("td", { class: "right" }, number(full.members)), h("td", { class: "right hide-s" }, number(full.topics?.length)), h("td", { class: "right" }, lagOf(full)));
    });
    const pages = Math.ceil(told.total / PAGE_SIZE);
    const turnTo = (step) => () => { asked.page += step; list.replaceChildren(); refresh(); };
    fill(list, h("div", { class: "panel" },
      table([["Group"], ["Kind", "hide-s"], ["State"], ["Members", "right"], ["Topics", "right hide-s"], ["Lag", "right"]], rows),
      h("div", { class: "pager" }, h("span", { class: "grow" }, `${count(told.total, "group")}${pages > 1 ? `, page ${told.page} of ${pages}` : ""}${told.without_details ? `; ${told.without_details} did not tell more in time` : ""}${silent(told)}`),
        pages > 1 && [h("button", { disabled: told.page <= 1, onclick: turnTo(-1) }, "Previous"), h("button", { disabled: told.page >= pages, onclick: turnTo(1) }, "Next")])));
    if (focused) [...list.querySelectorAll("[data-group]")].find((one) => one.dataset.group === focused)?.focus();
  }

  page.every(3000, refresh);
  await refresh();
}

export async function group(root, page) {
  const [name] = page.parts;
  page.title(name);
  const [head, offsets, members] = [h("div", { class: "head" }), h("div"), h("div")];
  fill(root, head, offsets, members);
  const lags = [];
  let headline = null;

  function draw(told) {
    if (told.error) {
      headline = null;
      fill(head, h("h1", null, name));
      fill(offsets, h("div", { class: "panel" }, empty("This group cannot be shown now", told.error.message)));
      members.replaceChildren();
      return;
    }
    if (told.lag !== null) lags.push(told.lag);
    if (lags.length > POINTS_MAX) lags.shift();
    headline ??= headOf(head, page);
    headline(told, lags);
    fill(offsets, offsetsOf(told));
    fill(members, membersOf(told));
  }

  page.live("group", draw);
  draw(await get(path("groups", name), page.signal));
}

/** The head of the page: what can be clicked stays in its place while the lag is drawn anew each second. */
function headOf(head, page) {
  let told = null;
  const [name, facts, lag, line] = [h("h1"), h("div", { class: "sub" }), h("strong", { id: "lag" }), h("span", { class: "hide-s" })];
  fill(head,
    h("div", { class: "grow" }, h("div", { class: "crumb" }, h("a", { href: "#/groups" }, "Groups")), name, facts),
    h("div", { class: "row" }, h("span", { class: "soft small" }, "Lag"), lag, line,
      page.changes(h("button", { onclick: () => reset(told) }, "Reset offsets"), h("button", { class: "danger", onclick: () => remove(told) }, "Delete"))));
  return (newer, lags) => {
    told = newer;
    fill(name, told.group);
    fill(facts, stateChip(told.state), chip(told.type),
      told.coordinator !== null && h("span", null, "coordinator ", h("a", { href: link("brokers", told.coordinator) }, `broker ${told.coordinator}`)),
      told.assignor && h("span", null, `assignor ${told.assignor}`), told.epoch !== null && h("span", null, `epoch ${told.epoch}`));
    fill(lag, lagOf(told));
    fill(line, spark(lags));
  };
}

function offsetsOf(told) {
  const rows = told.offsets.map((one) => {
    const span = one.end !== null && one.start !== null ? one.end - one.start : 0;
    const done = span > 0 && one.lag !== null ? Math.max(0, Math.min(1, 1 - one.lag / span)) : one.lag === 0 ? 1 : 0;
    return h("tr", null,
      h("td", { class: "wide" }, h("a", { href: link("topics", one.topic) }, one.topic)), h("td", { class: "right" }, one.partition),
      h("td", { class: "right" }, number(one.committed)), h("td", { class: "right hide-s" }, number(one.end)),
      h("td", { class: "right" }, one.lag === null ? "–" : h("strong", null, number(one.lag))),
      h("td", { class: "hide-s" }, h("div", { class: "meter", title: `${Math.round(done * 100)} % read` }, bar(done))),
      h("td", { class: "small soft hide-s wide" }, one.member ?? (told.type === "share" ? "shared" : "nobody")));
  });
  return panel("Offsets", rows.length
    ? table([["Topic"], ["Part.", "right"], ["Committed", "right"], ["End", "right hide-s"], ["Lag", "right"], ["Read", "hide-s"], ["Member", "hide-s"]], rows)
    : empty("No offsets", "The group has neither committed an offset nor been given a partition."));
}

function bar(part) {
  const filled = h("i");
  filled.style.width = `${(part * 100).toFixed(1)}%`;
  return filled;
}

function membersOf(told) {
  const rows = told.members.map((one) => {
    const topics = new Map();
    for (const at of one.assignment) topics.set(at.topic, [...(topics.get(at.topic) ?? []), at.partition]);
    const held = [...topics].map(([topic, all]) => `${topic}: ${all.join(", ")}`);
    for (const [role, tasks] of Object.entries(one.tasks ?? {})) if (tasks.length) held.push(`${role} tasks: ${tasks.join(", ")}`);
    return h("tr", null,
      h("td", { class: "wide" }, h("div", null, one.client_id), h("div", { class: "small faint mono" }, one.member_id, one.instance_id && ` (static: ${one.instance_id})`)),
      h("td", { class: "hide-s" }, one.host), h("td", { class: "right hide-s" }, one.epoch ?? "–"), h("td", { class: "wide small" }, held.length ? held.map((text) => h("div", null, text)) : "–"));
  });
  return panel(`Members${rows.length ? ` (${rows.length})` : ""}`, rows.length
    ? table([["Client"], ["Host", "hide-s"], ["Epoch", "right hide-s"], ["Partitions"]], rows)
    : empty("No members", "Nobody reads in this group now."));
}

function reset(told) {
  const topics = [...new Set(told.offsets.map((one) => one.topic))];
  const to = h("select", { name: "to" }, [["earliest", "The first record there is"], ["latest", "Behind the last record"], ["offset", "An offset"], ["time_ms", "A time"], ["shift", "By so many records"]].map(([value, text]) => h("option", { value }, text)));
  const at = h("label", { class: "field" }, "Offset, or by how many (back: negative)", h("input", { name: "at", type: "number", value: "0" }));
  const time = h("label", { class: "field" }, "Time", h("input", { name: "time", type: "datetime-local", step: 1 }));
  const preview = h("div", { "aria-live": "polite" });
  let checked = null;
  const { confirm, dialog } = ask({
    title: `Reset offsets of ${told.group}`,
    action: "Show what would change",
    body: [
      h("label", { class: "field" }, "Topics", h("select", { name: "topic" }, h("option", { value: "" }, topics.length > 1 ? "All that the group has offsets in" : topics[0] ?? "none"), topics.length > 1 && topics.map((topic) => h("option", { value: topic }, topic)))),
      h("label", { class: "field" }, "To", to), at, time, preview,
    ],
    async submit(form) {
      const where = form.get("to");
      const body = { to: where, topics: form.get("topic") ? [form.get("topic")] : [] };
      if (where === "time_ms") body.at = new Date(form.get("time")).getTime();
      else if (where === "offset" || where === "shift") body.at = Number(form.get("at"));
      if (Number.isNaN(body.at)) throw new Error("Choose a time first.");
      const text = JSON.stringify(body);
      if (checked !== text) {
        const plan = await send("POST", path("groups", told.group, "reset"), { ...body, dry_run: true });
        checked = plan.blocked ? null : text;
        fill(preview, planOf(plan));
        confirm.textContent = plan.blocked ? "Check again" : "Move the offsets";
        return false;
      }
      await send("POST", path("groups", told.group, "reset"), { ...body, dry_run: false });
      toast(`The offsets of ${told.group} were moved`);
      return true;
    },
  });
  const changed = () => {
    at.hidden = to.value !== "offset" && to.value !== "shift";
    time.hidden = to.value !== "time_ms";
    checked = null;
    confirm.textContent = "Show what would change";
    preview.replaceChildren();
  };
  dialog.addEventListener("input", changed);
  changed();
}

function planOf(plan) {
  const rows = plan.offsets.map((one) => h("tr", null, h("td", { class: "wide" }, one.topic), h("td", { class: "right" }, one.partition), h("td", { class: "right" }, number(one.from)),
    h("td", { class: "right" }, one.from === one.to ? h("span", { class: "faint" }, "stays") : h("strong", null, number(one.to)))));
  return [
    plan.blocked ? h("div", { class: "note warn" }, `This cannot be done now: ${plan.blocked}.`) : h("div", { class: "note" }, "Nothing has changed yet. This is what would:"),
    h("div", { class: "panel" }, table([["Topic"], ["Part.", "right"], ["From", "right"], ["To", "right"]], rows)),
  ];
}

function remove(told) {
  confirmByName({
    title: "Delete group",
    text: "The group's offsets are forgotten. Its consumers, when they come back, begin where their own settings say.",
    name: told.group,
    action: "Delete",
    async submit() {
      await send("DELETE", path("groups", told.group));
      toast(`Deleted ${told.group}`);
      location.hash = "#/groups";
    },
  });
}
