// Elements and numbers. Whatever comes from the cluster becomes a text node or an attribute's value, never markup.

const SVG = "http://www.w3.org/2000/svg";

function build(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

/** Puts children behind those that an element has: nodes, texts, lists of them; nothing where there is nothing. */
export function add(element, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** An element. */
export const h = (tag, props, ...children) => build(document.createElement(tag), props, children);

/** An element of a drawing. */
export const svg = (tag, props, ...children) => build(document.createElementNS(SVG, tag), props, children);

/** Replaces what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

const GROUPED = new Intl.NumberFormat("en-US");

export const number = (value) => (value === null || value === undefined ? "–" : GROUPED.format(value));

export function short(value) {
  if (value === null || value === undefined) return "–";
  for (const [size, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size * 10) return `${(value / size).toFixed(value >= size * 100 ? 0 : 1)}${name}`;
  }
  return Number.isInteger(value) ? GROUPED.format(value) : value.toFixed(value < 10 ? 1 : 0);
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  let size = value;
  for (const unit of ["B", "KiB", "MiB", "GiB", "TiB"]) {
    if (size < 1024 || unit === "TiB") return `${unit === "B" || size >= 100 ? Math.round(size) : size.toFixed(1)} ${unit}`;
    size /= 1024;
  }
  return "–";
}

export function ago(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

const two = (value) => String(value).padStart(2, "0");

export const clock = (ms) => {
  const at = new Date(ms);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
};

export const date = (ms) => {
  if (ms === null || ms === undefined) return "–";
  const at = new Date(ms);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${clock(ms)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
};

export const chip = (text, kind = "") => h("span", { class: `chip ${kind}` }, text);

export const empty = (title, text, action) => h("div", { class: "empty" }, h("strong", null, title), text, action && h("div", null, action));

/** A panel with a title row. */
export const panel = (title, ...body) =>
  h("section", { class: "panel" }, title && h("div", { class: "title" }, typeof title === "string" ? h("h2", null, title) : title), body);

/** A table: columns are [heading, class of the column, heading's element instead of a text]. */
export function table(columns, rows, kind = "") {
  const head = columns.map(([name, style = "", element]) => h("th", { class: style, scope: "col" }, element ?? name));
  return h("div", { class: "scroll" }, h("table", { class: kind }, h("thead", null, h("tr", null, head)), h("tbody", null, rows)));
}

/** A page's path with its parts escaped. */
export const link = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;
