// Settings, each with where its value comes from.

import { chip, empty, fill, h, table } from "./dom.js";
import { get, send } from "./api.js";
import { ask, toast } from "./dialog.js";

export async function configs(body, page, address, canChange) {
  let entries = [];
  const list = h("div");
  const search = h("input", { class: "search", type: "search", placeholder: "Search settings  /", "aria-label": "Search settings" });
  const changed = h("input", { type: "checkbox" });
  fill(body, h("div", { class: "row" }, search, h("label", { class: "check" }, changed, "Only what is not a default")), list);
  search.addEventListener("input", draw);
  changed.addEventListener("change", draw);

  async function refresh() {
    try {
      entries = (await get(address, page.signal)).configs;
      draw();
    } catch (error) {
      page.failed(list, error);
    }
  }

  function draw() {
    const wanted = search.value.trim().toLowerCase();
    const shown = entries.filter((entry) => entry.name.includes(wanted) && (!changed.checked || !entry.is_default));
    const rows = shown.map((entry) => h("tr", null,
      h("td", { class: "mono name" }, entry.name),
      h("td", { class: "mono wide" }, entry.is_sensitive ? h("span", { class: "faint" }, "hidden") : entry.value === "" ? h("span", { class: "faint" }, "empty") : entry.value ?? h("span", { class: "faint" }, "none")),
      h("td", { class: "nowrap" }, chip(entry.source, entry.is_default ? "" : "info")),
      h("td", { class: "hide-s small soft wide" }, entry.otherwise.map((other) => `${other.source}: ${other.value ?? "none"}`).join("; ")),
      canChange && h("td", { class: "right" }, h("button", { class: "plain", onclick: () => edit(entry), "aria-label": `Change ${entry.name}` }, "Change"))));
    const columns = [["Setting"], ["Value"], ["Source"], ["Otherwise", "hide-s"], ...(canChange ? [["", "right"]] : [])];
    fill(list, h("div", { class: "panel" }, rows.length ? table(columns, rows, "settings") : empty("No setting matches", changed.checked ? "Everything is as it is by default." : "")));
  }

  function edit(entry) {
    const isOwn = entry.source === "topic";
    const { dialog } = ask({
      title: entry.name,
      action: "Set",
      body: [
        h("label", { class: "field" }, "Value", h("input", { name: "value", value: entry.value ?? "", autocomplete: "off", spellcheck: "false" })),
        entry.otherwise.length > 0 && h("p", { class: "small soft" }, `Otherwise: ${entry.otherwise.map((other) => `${other.value ?? "none"} (${other.source})`).join(", ")}`),
        isOwn && h("div", null, h("button", { type: "button", onclick: async () => {
          try {
            await send("PATCH", address, { delete: [entry.name] });
            dialog.close();
            toast(`${entry.name} is set back`);
            await refresh();
          } catch (error) {
            toast(error.message, true);
          }
        } }, "Set back to what it would be otherwise")),
      ],
      async submit(form) {
        await send("PATCH", address, { set: { [entry.name]: form.get("value") } });
        toast(`${entry.name} is set`);
        await refresh();
      },
    });
  }

  await refresh();
}
