// The list of topics, and making a new one.

import { bytes, chip, count, empty, fill, h, link, number, table } from "./dom.js";
import { get, path, query, send } from "./api.js";
import { ask, toast } from "./dialog.js";

const PAGE_SIZE = 50;

export async function topics(root, page) {
  page.title("Topics");
  const asked = {
    search: page.values.get("search") ?? "", internal: page.values.get("internal") === "true",
    faulty: page.values.get("faulty") === "true", sort: "name", page: 1,
  };
  const list = h("div");
  const search = h("input", { class: "search", type: "search", placeholder: "Search topics  /", value: asked.search, "aria-label": "Search topics" });
  const box = (name, text) => {
    const input = h("input", { type: "checkbox", checked: asked[name] });
    input.addEventListener("change", () => { asked[name] = input.checked; asked.page = 1; refresh(); });
    return h("label", { class: "check" }, input, text);
  };
  let waiting = null;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { asked.search = search.value; asked.page = 1; refresh(); }, 120);
  });
  fill(root,
    h("div", { class: "head" }, h("h1", { class: "grow" }, "Topics"), page.changes(h("button", { class: "primary", onclick: create }, "Create topic"))),
    h("div", { class: "row" }, search, box("faulty", "Only those with problems"), box("internal", "Internal")),
    list);

  let turn = 0;
  const sizes = new Map();
  async function refresh() {
    const mine = ++turn;
    const values = { ...asked, page_size: PAGE_SIZE };
    try {
      const told = await get(path("topics") + query(values), page.signal);
      if (mine !== turn) return;
      draw(told);
      if (told.topics.length) measure(mine, values);
    } catch (error) {
      if (mine === turn && !list.querySelector("table")) page.failed(list, error);
    }
  }

  /** What the topics take on disk: their brokers have to be asked, and the list does not wait for them. */
  async function measure(mine, values) {
    try {
      const full = await get(path("topics") + query({ ...values, sizes: true }), page.signal);
      for (const topic of full.topics) sizes.set(topic.name, topic.size_bytes);
      if (mine === turn) for (const cell of list.querySelectorAll("[data-size]")) fill(cell, bytes(sizes.get(cell.dataset.size)));
    } catch {
      // Then it stays unknown.
    }
  }

  function sorted(title, key, style = "") {
    const isRising = asked.sort === key;
    const press = () => { asked.sort = isRising ? `-${key}` : key; asked.page = 1; refresh(); };
    const mark = asked.sort === key ? " ↑" : asked.sort === `-${key}` ? " ↓" : "";
    return [title, style, h("button", { onclick: press, title: `Sort by ${title.toLowerCase()}` }, title + mark)];
  }

  function draw(told) {
    if (!told.topics.length) {
      const isSearch = asked.search || asked.faulty;
      fill(list, h("div", { class: "panel" }, isSearch
        ? empty(asked.faulty ? "No topic has problems" : "No topic matches", asked.faulty ? "Every partition has a leader and all its replicas in sync." : `Nothing has “${asked.search}” in its name.`)
        : empty("There are no topics yet", "A topic comes into being when you create it, or when a client first writes to it.",
          page.changes(h("button", { class: "primary", onclick: create }, "Create topic")))));
      return;
    }
    const focused = document.activeElement?.dataset?.topic;
    const rows = told.topics.map((topic) => h("tr", null,
      h("td", { class: "wide" }, h("a", { class: "rowlink", href: link("topics", topic.name), "data-topic": topic.name }, topic.name), topic.is_internal && [" ", chip("internal")]),
      h("td", null, state(topic)),
      h("td", { class: "right" }, number(topic.partitions)),
      h("td", { class: "right hide-s" }, topic.replication_factor),
      h("td", { class: "right nowrap hide-s", "data-size": topic.name }, bytes(sizes.get(topic.name)))));
    const pages = Math.ceil(told.total / PAGE_SIZE);
    const turnTo = (step) => () => { asked.page += step; refresh(); scrollTo(0, 0); };
    fill(list, h("div", { class: "panel" },
      table([sorted("Name", "name"), sorted("State", "faults"), sorted("Partitions", "partitions", "right"), sorted("Replicas", "replication_factor", "right hide-s"), ["On disk", "right hide-s"]], rows),
      h("div", { class: "pager" }, h("span", { class: "grow" }, `${count(told.total, "topic")}${pages > 1 ? `, page ${told.page} of ${pages}` : ""}`),
        pages > 1 && [h("button", { disabled: told.page <= 1, onclick: turnTo(-1) }, "Previous"), h("button", { disabled: told.page >= pages, onclick: turnTo(1) }, "Next")])));
    if (focused) [...list.querySelectorAll("[data-topic]")].find((one) => one.dataset.topic === focused)?.focus();
  }

  page.live("metadata", refresh);
  page.live("hello", refresh);
  await refresh();
}

export function state(topic) {
  if (topic.offline) return chip(`${topic.offline} without leader`, "bad");
  if (topic.under_min_isr) return chip(`${topic.under_min_isr} below min ISR`, "bad");
  if (topic.under_replicated) return chip(`${topic.under_replicated} out of sync`, "warn");
  return chip("in sync", "good");
}

function create() {
  const field = (name, title, props) => h("label", { class: "field" }, title, h("input", { name, autocomplete: "off", ...props }));
  ask({
    title: "Create topic",
    action: "Create",
    body: [
      field("name", "Name", { required: true, maxlength: 249, spellcheck: "false" }),
      h("div", { class: "pair" },
        field("partitions", "Partitions", { type: "number", min: 1, placeholder: "the cluster's default" }),
        field("replication_factor", "Replicas of each", { type: "number", min: 1, placeholder: "the cluster's default" })),
      h("label", { class: "field" }, "Settings, one key=value a line", h("textarea", { name: "configs", rows: 3, placeholder: "retention.ms=604800000\ncleanup.policy=delete", spellcheck: "false" })),
    ],
    async submit(form) {
      const name = form.get("name").trim();
      const whole = (key) => (form.get(key) ? Number(form.get(key)) : null);
      const settings = form.get("configs").split("\n").map((row) => row.trim()).filter(Boolean).map((row) => {
        const at = row.indexOf("=");
        if (at < 1) throw new Error(`This is no key=value: ${row}`);
        return [row.slice(0, at).trim(), row.slice(at + 1).trim()];
      });
      await send("POST", path("topics"), { name, partitions: whole("partitions"), replication_factor: whole("replication_factor"), configs: Object.fromEntries(settings) });
      toast(`Created ${name}`);
      location.hash = link("topics", name);
    },
  });
}
