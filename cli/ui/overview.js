// The cluster at a glance.

import { bytes, chip, clock, count, empty, fill, h, number, panel, short } from "./dom.js";
import { get, path } from "./api.js";
import { chart } from "./chart.js";

const VERDICTS = {
  healthy: ["good", "Healthy", "All partitions have a leader, and every replica is in sync."],
  degraded: ["warn", "Working, with less in reserve", ""],
  unhealthy: ["bad", "Something does not work", ""],
};
const QUARTER_HOUR_MS = 15 * 60 * 1000;

export async function overview(root, page) {
  page.title("Overview");
  const [top, charts, below] = [h("div", { class: "stack" }), h("div"), h("div")];
  fill(root, top, charts, below);
  let samples = [];
  let hasBroker = true;

  async function refresh() {
    try {
      const told = await get(path("overview"), page.signal);
      hasBroker = told.has_broker;
      fill(top, verdict(told), cards(told));
      fill(below, feed(told.changes));
    } catch (error) {
      page.failed(top, error);
    }
  }
  const draw = () => fill(charts, chartsOf(samples, hasBroker));

  page.live("hello", refresh);
  page.live("metadata", refresh);
  page.live("sample", (sample) => {
    if (!sample) return;
    samples = [...samples, sample].filter((one) => one.at_ms > sample.at_ms - QUARTER_HOUR_MS);
    draw();
  });
  // What only the controllers know changes without an event.
  page.every(5000, refresh);
  await refresh();
  try {
    samples = (await get(path("history"), page.signal)).samples;
  } catch {
    // The charts begin with what comes.
  }
  draw();
}

function verdict(told) {
  const [kind, title, text] = VERDICTS[told.verdict];
  const reasons = told.reasons.map((reason) =>
    h("li", null,
      h("span", { class: `dot ${reason.severity === "error" ? "bad" : "warn"}` }),
      h("span", null, h("strong", null, reason.text), " ", h("span", { class: "soft" }, reason.advice))));
  return h("section", { class: `panel verdict ${kind}`, id: "verdict", "data-verdict": told.verdict },
    h("div", { class: "grow" }, h("h2", null, title), text && h("p", { class: "soft" }, text), reasons.length > 0 && h("ul", { class: "reasons" }, reasons)));
}

function card(name, value, note, href, kind = "") {
  return h(href ? "a" : "div", { class: `panel card ${kind}`, href },
    h("div", { class: "name" }, name), h("div", { class: "value" }, value), h("div", { class: "hint" }, note || " "));
}

function cards(told) {
  const { partitions, brokers, controller } = told;
  const away = brokers.registered - brokers.in_service;
  return h("div", { class: "cards" },
    brokers.is_known
      ? card("Brokers", `${brokers.in_service} / ${brokers.registered}`, away ? `${away} out of service` : "all in service", "#/brokers", away ? "warn" : "")
      : card("Brokers", `? / ${brokers.registered}`, "unknown: no majority", "#/brokers", "bad"),
    card("Topics", number(told.topics), count(partitions.total, "partition"), "#/topics"),
    card("Out of sync", number(partitions.under_replicated), "partitions with replicas behind", "#/topics?faulty=true", partitions.under_replicated ? "warn" : ""),
    card("Below min ISR", number(partitions.under_min_isr), "refuse acks=all", "#/topics?faulty=true", partitions.under_min_isr ? "bad" : ""),
    card("Without a leader", number(partitions.offline), "cannot be used", "#/topics?faulty=true", partitions.offline ? "bad" : ""),
    card("Controller", controller ? `node ${controller.leader_id}` : "none",
      controller ? `epoch ${number(controller.epoch)}, ${count(controller.voters, "voter")}` : "they do not answer", "#/quorum", controller ? "" : "bad"));
}

function chartsOf(samples, hasBroker) {
  const of = (title, key, show, floor) =>
    chart({ title, show, floor, spanMs: QUARTER_HOUR_MS, points: samples.map((sample) => [sample.at_ms, sample[key]]) });
  return [
    h("div", { class: "row" }, h("h2", null, "This node, the last 15 minutes")),
    h("div", { class: "charts", id: "charts" },
      hasBroker && [
        of("Records written per second", "records_per_second", short, 1),
        of("Written by clients", "bytes_in_per_second", (value) => `${bytes(value)}/s`, 1024),
        of("Read by clients", "bytes_out_per_second", (value) => `${bytes(value)}/s`, 1024),
      ],
      of("Processor, of one core", "cpu_percent", (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} %`, 5),
      of("Memory", "resident_bytes", bytes, 1),
      hasBroker && of("Logs on disk", "log_bytes", bytes, 1)),
  ].map((part, index) => (index ? part : h("div", { class: "head" }, part)));
}

function feed(changes) {
  const rows = changes.map((change) =>
    h("li", null,
      h("time", { datetime: new Date(change.at_ms).toISOString() }, clock(change.at_ms)),
      h("span", { class: `dot ${change.is_bad ? "bad" : change.kind === "topic" ? "" : "good"}` }),
      h("span", { class: "grow" }, change.text),
      chip(change.kind)));
  return panel("Recent changes",
    rows.length ? h("ul", { class: "feed" }, rows) : empty("Nothing has changed", "Elections, brokers that come and go, and new topics show up here as this node sees them."));
}
