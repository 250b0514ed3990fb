// The console's frame: where a page is found, what all of them share, and the keys.

import { add, chip, empty, fill, h, svg } from "./dom.js";
import { get, path } from "./api.js";
import * as live from "./live.js";
import { tell } from "./dialog.js";

const ICONS = {
  overview: "M4 13h6V4H4zM14 20h6v-9h-6zM4 20h6v-4H4zM14 8h6V4h-6z",
  topics: "M4 6h16M4 12h16M4 18h10",
  groups: "M9 11a3.5 3.5 0 100-7 3.5 3.5 0 000 7zM2.5 20c.5-4 3-6 6.5-6s6 2 6.5 6M16 4.3a3.5 3.5 0 010 6.4M18 14.5c2 .8 3.2 2.7 3.5 5.5",
  brokers: "M4 4h16v6H4zM4 14h16v6H4zM8 7h.01M8 17h.01",
  quorum: "M12 8a3 3 0 100-6 3 3 0 000 6zM5 22a3 3 0 100-6 3 3 0 000 6zM19 22a3 3 0 100-6 3 3 0 000 6zM10.5 7.7L6.5 16.3M13.5 7.7l4 8.6M8 19h8",
};
const PLACES = [
  ["overview", "Overview", "o"],
  ["topics", "Topics", "t"],
  ["groups", "Groups", "g"],
  ["brokers", "Brokers", "b"],
  ["quorum", "Quorum", "q"],
];
/** A page's module is loaded when it is first asked for: the page that is opened first waits for no other's. */
const PAGES = {
  overview: { one: async () => (await import("./overview.js")).overview },
  topics: { one: async () => (await import("./topics.js")).topics, of: async () => (await import("./topic.js")).topic },
  groups: { one: async () => (await import("./groups.js")).groups, of: async () => (await import("./groups.js")).group },
  brokers: { one: async () => (await import("./brokers.js")).brokers, of: async () => (await import("./brokers.js")).broker },
  quorum: { one: async () => (await import("./brokers.js")).quorum },
};
const STALE_CHECK_MS = 10_000;
/** What a node tells of the cluster is how it was before, where this stands among the reasons of the overview. */
const STALE = ["NO_MAJORITY", "NO_CONTROLLER"];

const nav = document.getElementById("nav");
const bar = document.getElementById("bar");
const main = document.getElementById("main");
/** Whether this node lets the console change things: asked once, and again by the next page when it could not be told. */
let mayChange = null;
let leave = null;
/** Said above every page but the overview, which has it among its reasons. */
const stale = h("div", { class: "note warn", id: "stale", hidden: true });

const icon = (name) =>
  svg("svg", { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": 1.8, "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));

function frame() {
  fill(
    nav,
    h("a", { class: "brand", href: "#/overview" }, h("img", { src: document.querySelector("link[rel=icon]").href, alt: "" }), "Moldau"),
    PLACES.map(([name, title]) => h("a", { class: "item", href: `#/${name}`, "data-place": name }, icon(name), title)),
    h("div", { class: "foot", id: "foot" }),
  );
  const state = h("span", { class: "row small soft", title: "Whether this page hears of changes as they happen" }, h("span", { class: "dot" }), h("span", null, "connecting"));
  live.onState((isLive) => {
    state.firstChild.className = isLive ? "dot good" : "dot bad";
    state.lastChild.textContent = isLive ? "live" : "no connection";
  });
  fill(
    bar,
    h("span", { class: "grow cluster", id: "cluster" }),
    h("span", { id: "mode" }),
    state,
    h("button", { class: "plain", onclick: switchTheme, title: "Light or dark (.)", "aria-label": "Light or dark" }, "◐"),
    h("button", { class: "plain hide-s", onclick: help, title: "Keys (?)", "aria-label": "Keys" }, "?"),
  );
}

async function introduce() {
  try {
    const told = await get(path("overview"));
    fill(document.getElementById("cluster"), `Cluster ${told.cluster_id} · node ${told.node_id}`);
    fill(document.getElementById("foot"), `Moldau ${told.version}`);
    fill(document.getElementById("mode"), told.read_only && chip("read-only"));
    const reason = told.reasons.find((one) => STALE.includes(one.code));
    stale.hidden = !reason;
    if (reason) fill(stale, h("strong", null, reason.text), " What is shown of brokers, leaders and replicas is how it was before.");
    return !told.read_only;
  } catch {
    // The page itself says what is wrong.
    mayChange = null;
    return false;
  }
}

function switchTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try {
    localStorage.setItem("moldau.theme", root.dataset.theme);
  } catch {
    // Then it holds for this page.
  }
}

function help() {
  const key = (keys, text) => [h("span", null, keys.split(" ").map((one) => [h("kbd", null, one), " "])), h("span", null, text)];
  tell("Keys", h("div", { class: "keys" },
    key("/", "search on this page"),
    PLACES.map(([, title, letter]) => key(`g ${letter}`, title)),
    key("j k", "next and previous row"), key("Enter", "open the row"), key("r", "read the page anew"),
    key(".", "light or dark"), key("Esc", "close, or leave a field"), key("?", "this list")));
}

/** `#/topics/name/messages?from=oldest` as page, parts and values. */
function place() {
  const [route, values = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = route.split("/").filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { name: parts[0] ?? "overview", parts: parts.slice(1), values: new URLSearchParams(values) };
}

/** What a page is given: its place, ways to hear of changes, and a signal that it was left. */
function context(at) {
  const left = new AbortController();
  const timers = [];
  const known = mayChange;
  return {
    parts: at.parts,
    values: at.values,
    signal: left.signal,
    mayChange: known,
    /** Room for what changes things: filled when it is known that this node allows it. */
    changes(...children) {
      const room = h("span", { class: "changes" });
      known.then((may) => may && fill(room, children));
      return room;
    },
    title: (text) => { document.title = `${text} · Moldau`; },
    live: live.on,
    watchGroup: (name) => live.reset(name),
    every: (ms, work) => timers.push(setInterval(work, ms)),
    leave() {
      left.abort();
      timers.forEach(clearInterval);
    },
    /** Puts what a page says of a failure into a part of it. */
    failed(element, error) {
      if (error.name === "AbortError" || left.signal.aborted) return;
      if (error.code === "NO_BROKER") {
        elsewhere(element, left.signal);
        return;
      }
      fill(element, h("div", { class: "panel" }, empty(error.status === 404 ? "Not found" : "This cannot be shown now", error.message)));
    },
  };
}

/** What a controller without a broker cannot tell: the same page of the brokers that are there. */
async function elsewhere(element, signal) {
  // A page that asks again finds the same.
  if (element.querySelector("#elsewhere")) return;
  const places = h("div", { class: "row", id: "elsewhere" });
  fill(element, h("div", { class: "panel" }, empty("Brokers tell this",
    "This node is a controller without a broker: it knows the metadata, and has no logs, groups or clients.", places)));
  try {
    const { brokers } = await get(path("brokers"), signal);
    const port = location.port ? `:${location.port}` : "";
    // Where a broker serves HTTP nobody else is told; most have the port of this node. One on this very host has another one.
    fill(places, brokers.filter((one) => one.state !== "down" && one.listeners.length).map((one) => {
      const name = one.listeners[0].host;
      const host = name.includes(":") ? `[${name}]` : name;
      return `${host}${port}` === location.host
        ? h("span", null, `Broker ${one.id} at ${host}, at a port of its own`)
        : h("a", { href: `//${host}${port}/ui/${location.hash}` }, `Broker ${one.id} at ${host}${port}`);
    }));
  } catch {
    // Then it is said without them.
  }
}

async function show() {
  leave?.();
  const at = place();
  const load = (at.parts.length ? PAGES[at.name]?.of : PAGES[at.name]?.one) ?? null;
  for (const item of nav.querySelectorAll("a.item")) {
    if (item.dataset.place === at.name) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  mayChange ??= introduce();
  const given = context(at);
  leave = given.leave;
  live.reset(at.name === "groups" && at.parts.length ? at.parts[0] : null);
  const root = h("div", { class: "stack" });
  fill(main, at.name !== "overview" && stale, root);
  scrollTo(0, 0);
  if (!load) {
    add(root, h("div", { class: "panel" }, empty("There is no such page", "Its address may have been mistyped.", h("a", { href: "#/overview" }, "To the overview"))));
    return;
  }
  try {
    const page = await load();
    // Somebody may have gone on while it was loaded.
    if (given.signal.aborted) return;
    await page(root, given);
    // What a measurement reads: from here on the page shows what it is for, and takes keys and clicks.
    if (!performance.getEntriesByName("interactive").length) {
      performance.mark("interactive");
      loadTheOthers();
    }
  } catch (error) {
    given.failed(root, error);
  }
}

/** The other pages' modules, so that going there waits for nothing, and a node that is upgraded meanwhile mixes no versions. */
function loadTheOthers() {
  const all = Object.values(PAGES).flatMap((page) => Object.values(page));
  (window.requestIdleCallback ?? setTimeout)(() => all.forEach((load) => load().catch(() => {})));
}

let before = "";
function move(step) {
  const rows = [...main.querySelectorAll("a.rowlink, tr.rowlink")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step));
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
}

addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, textarea, select, dialog");
  if (event.key === "Escape" && isTyping && !event.target.closest("dialog")) {
    event.target.blur();
    return;
  }
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const last = before;
  before = event.key;
  if (last === "g") {
    const target = PLACES.find(([, , letter]) => letter === event.key);
    before = "";
    if (target) {
      location.hash = `#/${target[0]}`;
      event.preventDefault();
    }
    return;
  }
  const actions = {
    "/": () => main.querySelector("input.search, input[name=value]")?.focus(),
    "?": help,
    ".": switchTheme,
    j: () => move(1),
    k: () => move(-1),
    r: show,
  };
  if (actions[event.key]) {
    event.preventDefault();
    actions[event.key]();
  }
});

frame();
addEventListener("hashchange", show);
setInterval(() => document.hidden || introduce(), STALE_CHECK_MS);
show();
