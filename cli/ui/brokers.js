// Brokers, one broker, and the controllers.

import { ago, bytes, chip, count, empty, fill, h, link, number, panel, table } from "./dom.js";
import { get, path } from "./api.js";
import { configs } from "./configs.js";

const STATES = {
  in_service: ["in service", "good"], stopping: ["stopping", "warn"], down: ["out of service", "bad"],
  not_heard_of: ["not heard of", "bad"], unknown: ["unknown: no majority", "warn"],
};

export async function brokers(root, page) {
  page.title("Brokers");
  const list = h("div");
  fill(root, h("div", { class: "head" }, h("h1", null, "Brokers")), list);
  const disks = new Map();
  let told = [];

  function draw() {
    const all = told.reduce((sum, broker) => sum + broker.partitions_led, 0);
    const rows = told.map((broker) => h("tr", null,
      h("td", { class: "names" }, h("a", { class: "rowlink", href: link("brokers", broker.id) }, `Broker ${broker.id}`), broker.is_this_node && [" ", chip("this node", "info")]),
      h("td", null, chip(...STATES[broker.state]), broker.full_log_directories > 0 && chip("disk full", "bad")),
      h("td", { class: "hide-s" }, broker.listeners.map((one) => h("div", { class: "mono" }, `${one.name.toLowerCase()} ${one.host}:${one.port}`))),
      h("td", { class: "hide-s" }, broker.rack ?? h("span", { class: "faint" }, "none")),
      h("td", { class: "right nowrap" }, number(broker.partitions_led), h("span", { class: "faint small hide-s" }, all ? ` ${Math.round((broker.partitions_led / all) * 100)} %` : "")),
      h("td", { class: "right" }, number(broker.partitions_held)),
      h("td", { class: "hide-s" }, disk(disks.get(broker.id)))));
    fill(list, h("div", { class: "panel" }, table([["Broker"], ["State"], ["Listeners", "hide-s"], ["Rack", "hide-s"], ["Leads", "right"], ["Holds", "right"], ["Disk", "hide-s"]], rows)));
  }

  async function refresh(withDisks = true) {
    try {
      told = (await get(path("brokers"), page.signal)).brokers;
      draw();
      if (withDisks) await Promise.allSettled(told.filter((broker) => broker.state !== "down" && broker.state !== "not_heard_of").map(async (broker) => {
        disks.set(broker.id, (await get(path("brokers", broker.id, "log-dirs"), page.signal)).log_dirs);
        draw();
      }));
    } catch (error) {
      if (!told.length) page.failed(list, error);
    }
  }
  page.live("metadata", () => refresh());
  page.live("hello", () => refresh());
  // That the controllers have lost their majority comes with no event.
  page.every(5000, () => refresh(false));
  await refresh();
}

function meter(part) {
  const filled = h("i", { class: part > 0.92 ? "bad" : part > 0.8 ? "warn" : "" });
  filled.style.width = `${(part * 100).toFixed(1)}%`;
  return h("div", { class: "meter" }, filled);
}

function disk(dirs) {
  if (!dirs) return h("span", { class: "faint" }, "–");
  return dirs.map((dir) => {
    if (dir.error) return chip("failed", "bad");
    const used = dir.total_bytes ? 1 - dir.usable_bytes / dir.total_bytes : 0;
    return h("div", { title: dir.path }, h("div", { class: "small soft nowrap" }, `${bytes(dir.log_bytes)} in logs, ${bytes(dir.usable_bytes)} free`), meter(used));
  });
}

export async function broker(root, page) {
  const [id] = page.parts;
  page.title(`Broker ${id}`);
  const all = (await get(path("brokers"), page.signal)).brokers;
  const told = all.find((one) => String(one.id) === id);
  if (!told) {
    fill(root, h("div", { class: "panel" }, empty("Not found", `There is no broker ${id}.`)));
    return;
  }
  const [dirs, settings] = [h("div"), h("div", { class: "stack" })];
  fill(root,
    h("div", { class: "head" }, h("div", null,
      h("div", { class: "crumb" }, h("a", { href: "#/brokers" }, "Brokers")),
      h("h1", null, `Broker ${id}`),
      h("div", { class: "sub" }, chip(...STATES[told.state]), h("span", null, `leads ${number(told.partitions_led)} of ${count(told.partitions_held, "partition")} held`),
        told.rack && h("span", null, `rack ${told.rack}`), told.listeners.map((one) => h("code", null, `${one.host}:${one.port}`))))),
    dirs, h("h2", null, "Settings"), settings);
  try {
    const rows = (await get(path("brokers", id, "log-dirs"), page.signal)).log_dirs.map((dir) => h("tr", null,
      h("td", { class: "mono wide" }, dir.path), h("td", null, dir.error ? chip(dir.error, "bad") : chip("online", "good")),
      h("td", { class: "right hide-s" }, number(dir.partitions)), h("td", { class: "right nowrap hide-s" }, bytes(dir.log_bytes)), h("td", { class: "right nowrap" }, bytes(dir.usable_bytes)), h("td", { class: "right nowrap hide-s" }, bytes(dir.total_bytes))));
    fill(dirs, panel("Log directories", table([["Path"], ["State"], ["Replicas", "right hide-s"], ["In logs", "right hide-s"], ["Free", "right"], ["Of", "right hide-s"]], rows)));
  } catch (error) {
    page.failed(dirs, error);
  }
  await configs(settings, page, path("brokers", id, "configs"), false);
}

export async function quorum(root, page) {
  page.title("Quorum");
  const body = h("div", { class: "stack" });
  fill(root, h("div", { class: "head" }, h("h1", null, "Metadata quorum")), body);

  async function refresh() {
    try {
      draw(await get(path("quorum"), page.signal));
    } catch (error) {
      page.failed(body, error);
    }
  }

  function draw(told) {
    const card = (name, value, note) => h("div", { class: "panel card" }, h("div", { class: "name" }, name), h("div", { class: "value" }, value), h("div", { class: "hint" }, note));
    const rows = told.replicas.map((one) => h("tr", null,
      h("td", { class: "nowrap" }, `Node ${one.id}`), h("td", null, chip(one.role, one.role === "leader" ? "info" : "")),
      h("td", { class: "right hide-s" }, number(one.log_end_offset)),
      h("td", { class: "right" }, one.lag === 0 ? "0" : h("strong", null, number(one.lag))),
      h("td", { class: "right nowrap" }, one.role === "leader" ? "–" : contact(one.last_fetch_ms_ago)),
      h("td", { class: "right nowrap hide-s" }, one.role === "leader" ? "–" : ago(one.last_caught_up_ms_ago)),
      h("td", { class: "mono hide-s" }, (one.endpoints ?? []).map((text) => text.replace(/^[A-Z_]+:\/\//, "")).join(", "))));
    fill(body,
      h("div", { class: "cards" },
        card("Leader", `node ${told.leader_id}`, `epoch ${number(told.leader_epoch)}`),
        card("Committed up to", number(told.high_watermark), "high watermark"),
        card("Applied by this node", number(told.applied_here), told.applied_here + 1 >= told.high_watermark ? "up to date" : `${number(told.high_watermark - 1 - told.applied_here)} behind`),
        card("Voters", number(told.replicas.filter((one) => one.role !== "observer").length), "a majority has to be there")),
      panel("Replicas of the metadata", table([["Node"], ["Role"], ["Log end", "right hide-s"], ["Behind by", "right"], ["Last contact", "right"], ["Caught up", "right hide-s"], ["Address", "hide-s"]], rows)));
  }

  page.every(2000, refresh);
  page.live("hello", refresh);
  await refresh();
}

const contact = (ms) => (ms !== null && ms > 10000 ? chip(ago(ms), "bad") : ago(ms));
