// Records: looking through them, reading one, writing one.

import { add, bytes, count, date, empty, fill, h, number, table } from "./dom.js";
import { lines, path, query, send } from "./api.js";
import { ask, toast } from "./dialog.js";

/** Records that stay on the page: older scans' rows make room. */
const SHOWN_MAX = 2000;
/** JSON that is nested deeper, or has more parts, is shown as the text that it is: laid out it would stop the page. */
const DEPTH_MAX = 64;
const PARTS_MAX = 20_000;
const REASONS = {
  end: "everything there was is looked through",
  limit: "as many as asked for",
  bytes: "as many bytes as one scan looks through",
  count: "as many records as one scan looks through",
  time: "as long as one scan may take",
  cancelled: "cancelled",
};

export async function messages(body, page, told) {
  const field = (title, control) => h("label", { class: "field" }, title, control);
  const input = (name, props) => h("input", { name, autocomplete: "off", spellcheck: "false", ...props });
  const from = h("select", { name: "from" }, [["newest", "Newest first"], ["oldest", "From the beginning"], ["offset", "From an offset"], ["time", "From a time"], ["live", "As they come"]].map(([value, text]) => h("option", { value }, text)));
  const partition = h("select", { name: "partition" }, h("option", { value: "" }, "All"), told.partitions.map((one) => h("option", { value: one.partition }, one.partition)));
  const offset = field("Offset", input("offset", { type: "number", min: 0, value: "0" }));
  const time = field("Time", input("time", { type: "datetime-local", step: 1 }));
  const limit = h("select", { name: "limit" }, [25, 50, 100, 500].map((value) => h("option", { value, selected: value === 50 }, value)));
  const go = h("button", { class: "primary", type: "submit" }, "Search");
  const cancel = h("button", { type: "button", hidden: true }, "Cancel");
  const form = h("form", { class: "panel" }, h("div", { class: "body scanbar" },
    field("Where", from), offset, time, field("Partition", partition),
    field("Key has", input("key")), field("Value has", input("value", { class: "" })), field("Header", input("header", { placeholder: "name, or name: part" })),
    field("Records", limit), h("div", { class: "buttons" }, go, cancel)));
  const bar = h("div", { class: "progress" }, h("i"));
  const status = h("div", { class: "row small soft", role: "status" });
  const list = h("div");
  fill(body, h("div", null, form, bar), status, list);
  const showFields = () => {
    offset.hidden = from.value !== "offset";
    time.hidden = from.value !== "time";
  };
  from.addEventListener("change", showFields);
  showFields();

  let records = [];
  let scanning = null;
  let turn = 0;

  function asked() {
    const values = Object.fromEntries(new FormData(form));
    const { from: where, partition: of, key, value, header, limit: most } = values;
    const at = where === "time" ? new Date(values.time).getTime() : null;
    if (where === "time" && Number.isNaN(at)) throw new Error("Choose a time first.");
    return { from: where, partition: of, key, value, header, limit: most, offset: where === "offset" ? values.offset : null, time_ms: at };
  }

  async function scan(more = {}) {
    const mine = ++turn;
    scanning?.abort();
    scanning = new AbortController();
    page.signal.addEventListener("abort", () => scanning.abort());
    const isMore = Object.keys(more).length > 0;
    if (!isMore) records = [];
    if (from.value === "live") list.replaceChildren();
    let end = null;
    let problem = null;
    let failed = null;
    const isLive = from.value === "live";
    const before = records;
    const fresh = [];
    let drawn = 0;
    const arrange = () => { records = isLive ? [...fresh.slice().reverse(), ...before].slice(0, SHOWN_MAX) : [...before, ...fresh].slice(-SHOWN_MAX); };
    cancel.hidden = false;
    bar.classList.add("on");
    fill(status, "Looking…");
    try {
      const values = { ...asked(), ...more };
      await lines(path("topics", told.name, "messages") + query(values), scanning.signal, (line) => {
        if (mine !== turn) return;
        if (line.type === "record") fresh.push(line);
        else if (line.type === "progress") fill(status, isLive ? `Waiting for what comes: ${count(line.found, "record")} so far` : `Looked through ${count(line.scanned, "record")}, ${bytes(line.bytes)}; ${number(line.found)} match`);
        else if (line.type === "done") end = line;
        else problem = line.message;
        // Rows show up while the scan goes on, and who has one open keeps it.
        if (fresh.length > drawn && line.type === "progress" && !list.querySelector("tr.detail")) {
          drawn = fresh.length;
          arrange();
          draw();
        }
      });
    } catch (error) {
      problem = error.name === "AbortError" ? null : error.message;
      failed = error;
    }
    if (mine !== turn) return;
    bar.classList.remove("on");
    cancel.hidden = true;
    arrange();
    if (failed?.code === "NO_BROKER") page.failed(list, failed);
    else if (fresh.length > drawn || !records.length) draw();
    fill(status, end
      ? [`${count(end.scanned, "record")} looked through, ${bytes(end.bytes)} in ${end.elapsed_ms} ms: ${REASONS[end.reason] ?? end.reason}.`, goOn(end)]
      : problem ? h("span", { class: "error grow" }, problem) : "Cancelled.");
  }

  function goOn(end) {
    if (end.reason === "end" || end.reason === "cancelled") return null;
    const offsets = Object.entries(end.before ?? end.at).map(([of, at]) => `${of}:${at}`).join(",");
    if (from.value === "live") return h("button", { onclick: () => scan() }, "Go on");
    return h("button", { onclick: () => scan(end.before ? { before: offsets } : { at: offsets }) }, end.before ? "Older" : "Go on");
  }

  function draw() {
    if (!records.length) {
      fill(list, h("div", { class: "panel" }, empty("No records", "Nothing here matches. Begin somewhere else, or look for less.")));
      return;
    }
    fill(list, h("div", { class: "panel" }, table([["Part.", "right"], ["Offset", "right"], ["Time", "hide-s"], ["Key"], ["Value"], ["Size", "right hide-s"]], records.map(row), "messages")));
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    scan();
  });
  cancel.addEventListener("click", () => scanning?.abort());
  await scan();
}

const summary = (payload) => {
  if (payload === null) return h("span", { class: "faint" }, "null");
  if (payload.text === "") return h("span", { class: "faint" }, "empty");
  return payload.text !== undefined ? payload.text.slice(0, 300) : `0x${payload.hex.slice(0, 120)}`;
};
const size = (payload) => payload?.bytes ?? 0;

function row(record) {
  const line = h("tr", { class: "rowlink", tabindex: 0, "aria-expanded": "false" },
    h("td", { class: "right" }, record.partition), h("td", { class: "right" }, number(record.offset)),
    h("td", { class: "nowrap hide-s" }, date(record.timestamp_ms)),
    h("td", { class: "key" }, summary(record.key)), h("td", { class: "value" }, summary(record.value)),
    h("td", { class: "right nowrap hide-s" }, bytes(size(record.key) + size(record.value))));
  let detail = null;
  const open = () => {
    if (detail) {
      detail.remove();
      detail = null;
    } else {
      detail = h("tr", { class: "detail" }, h("td", { colspan: 6 }, details(record)));
      line.after(detail);
    }
    line.classList.toggle("open", Boolean(detail));
    line.setAttribute("aria-expanded", String(Boolean(detail)));
  };
  line.addEventListener("click", open);
  line.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
  return line;
}

function details(record) {
  return [
    h("div", { class: "row small soft" },
      h("span", null, `Partition ${record.partition}, offset ${number(record.offset)}`),
      h("span", null, `${date(record.timestamp_ms)}${record.is_log_append_time ? " (set by the broker)" : ""}`),
      h("span", null, count(record.headers.length, "header"))),
    record.headers.length > 0 && h("div", { class: "payload" }, h("div", { class: "title" }, h("strong", null, "Headers")),
      table([["Name"], ["Value"]], record.headers.map((header) => h("tr", null, h("td", { class: "mono wide" }, header.key), h("td", { class: "mono wide" }, header.value === null ? h("span", { class: "faint" }, "null") : header.value.text ?? `0x${header.value.hex}`))))),
    payload("Key", record.key),
    payload("Value", record.value),
  ];
}

function payload(title, value) {
  if (value === null) return h("div", { class: "payload" }, h("div", { class: "title" }, h("strong", { class: "grow" }, title), h("span", { class: "faint" }, title === "Value" ? "null: a tombstone" : "null")));
  const raw = value.text !== undefined ? new TextEncoder().encode(value.text) : Uint8Array.from(value.hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  const tokens = value.text !== undefined && !value.is_cut ? tokensOf(value.text) : null;
  let parsed;
  try {
    parsed = tokens ? JSON.parse(value.text) : undefined;
  } catch {
    // It is no JSON.
  }
  const views = [
    parsed !== null && typeof parsed === "object" && ["JSON", () => pretty(tokens)],
    value.text !== undefined && ["Text", () => value.text],
    ["Hex", () => dump(raw)],
  ].filter(Boolean);
  const shown = h("pre");
  const switches = views.map(([name, view]) => h("button", { type: "button", class: "switch", "aria-pressed": "false", onclick: (event) => choose(event.currentTarget, view) }, name));
  const choose = (pressed, view) => {
    for (const one of switches) one.setAttribute("aria-pressed", String(one === pressed));
    fill(shown, view());
  };
  choose(switches[0], views[0][1]);
  const copy = h("button", { type: "button", class: "plain", onclick: () => navigator.clipboard?.writeText(shown.textContent).then(() => toast("Copied"), () => toast("The browser does not let pages copy here", true)) }, "Copy");
  return h("div", { class: "payload" }, h("div", { class: "title" }, h("strong", null, title), h("span", { class: "faint grow" }, `${bytes(value.bytes)}${value.is_cut ? ", the first 64 KiB" : ""}`), switches, copy), shown);
}

/** The tokens of what may be JSON, unless it is nested too deep, or too much of it. */
function tokensOf(text) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[{}[\],:]/g) ?? [];
  if (tokens.length > PARTS_MAX) return null;
  let depth = 0;
  for (const token of tokens) {
    if (token === "{" || token === "[") depth += 1;
    else if (token === "}" || token === "]") depth -= 1;
    if (depth > DEPTH_MAX) return null;
  }
  return tokens;
}

/** JSON with its parts in colours and laid out anew: by its own tokens, so that large numbers stay as they are written. */
function pretty(tokens) {
  const out = document.createDocumentFragment();
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  tokens.forEach((token, index) => {
    const next = tokens[index + 1];
    if (token === "{" || token === "[") {
      depth += 1;
      add(out, token);
      if (next !== "}" && next !== "]") add(out, line());
    } else if (token === "}" || token === "]") {
      depth -= 1;
      const last = tokens[index - 1];
      if (last !== "{" && last !== "[") add(out, line());
      add(out, token);
    } else if (token === ",") {
      add(out, [token, line()]);
    } else if (token === ":") {
      add(out, ": ");
    } else {
      const kind = token.startsWith('"') ? (next === ":" ? "key" : "string") : /^[-\d]/.test(token) ? "number" : "word";
      add(out, h("span", { class: `tok-${kind}` }, token));
    }
  });
  return out;
}

/** Sixteen bytes a line, as digits and as the characters that can be shown. */
function dump(raw) {
  const rows = [];
  for (let at = 0; at < raw.length; at += 16) {
    const part = [...raw.subarray(at, at + 16)];
    const digits = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = part.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    rows.push(`${at.toString(16).padStart(6, "0")}  ${digits.padEnd(47)}  ${text}`);
  }
  return rows.join("\n");
}

/** The box to write one record with. */
export function produce(told) {
  const tombstone = h("input", { type: "checkbox", name: "tombstone" });
  const value = h("textarea", { name: "value", rows: 7, spellcheck: "false" });
  tombstone.addEventListener("change", () => { value.disabled = tombstone.checked; });
  const written = h("div", { class: "note", hidden: true });
  ask({
    title: `Produce to ${told.name}`,
    action: "Produce",
    body: [
      h("div", { class: "pair" },
        h("label", { class: "field" }, "Key", h("input", { name: "key", autocomplete: "off", spellcheck: "false", placeholder: "none" })),
        h("label", { class: "field" }, "Partition", h("select", { name: "partition" }, h("option", { value: "" }, "By the key, or any"), told.partitions.map((one) => h("option", { value: one.partition }, one.partition))))),
      h("label", { class: "field" }, "Value", value),
      h("div", { class: "row" },
        h("label", { class: "check" }, tombstone, "No value (a tombstone)"),
        h("label", { class: "check" }, h("input", { type: "checkbox", name: "hex" }), "Key and value are hexadecimal digits")),
      h("label", { class: "field" }, "Headers, one name: value a line", h("textarea", { name: "headers", rows: 2, spellcheck: "false" })),
      written,
    ],
    async submit(form) {
      const suffix = form.get("hex") ? "_hex" : "";
      const body = {};
      if (form.get("partition") !== "") body.partition = Number(form.get("partition"));
      if (form.get("key")) body[`key${suffix}`] = form.get("key");
      if (!form.get("tombstone")) body[`value${suffix}`] = form.get("value") ?? "";
      body.headers = form.get("headers").split("\n").filter((row) => row.trim()).map((row) => {
        const at = row.indexOf(":");
        return at < 0 ? { key: row.trim() } : { key: row.slice(0, at).trim(), value: row.slice(at + 1).trim() };
      });
      const at = await send("POST", path("topics", told.name, "messages"), body);
      fill(written, `Written to partition ${at.partition} at offset ${number(at.offset)}, on every replica in sync.`).hidden = false;
      return false;
    },
  });
}
