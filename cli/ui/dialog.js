// Questions to the user, and short news.

import { fill, h } from "./dom.js";

/** News that goes away by itself. */
export function toast(text, isBad = false) {
  const shown = h("div", { class: isBad ? "toast bad" : "toast" }, text);
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), isBad ? 8000 : 4000);
}

/**
 * A dialog with a form. `submit` gets the form's values; while it fails the dialog stays, and shows why. A result of `false`
 * keeps it open as well.
 */
export function ask({ title, body, action, isDanger = false, submit }) {
  const problem = h("div", { class: "error", role: "alert", hidden: true });
  const confirm = h("button", { class: isDanger ? "primary danger" : "primary", type: "submit" }, action);
  const form = h(
    "form",
    { method: "dialog" },
    h("div", { class: "title" }, title),
    h("div", { class: "body" }, body, problem),
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), confirm),
  );
  const dialog = h("dialog", { "aria-label": title }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    confirm.disabled = true;
    problem.hidden = true;
    try {
      if ((await submit(new FormData(form))) !== false) dialog.close();
    } catch (error) {
      fill(problem, error.message).hidden = false;
    } finally {
      confirm.disabled = false;
    }
  });
  return show(dialog, confirm);
}

/** A question whose answer cannot be taken back: the name has to be typed. */
export function confirmByName({ title, text, name, action, submit }) {
  const typed = h("input", { name: "typed", autocomplete: "off", spellcheck: "false", "aria-label": "Name" });
  const body = [h("p", null, text), h("label", { class: "field" }, h("span", null, "Type ", h("code", null, name), " to confirm"), typed)];
  const { confirm } = ask({ title, body, action, isDanger: true, submit });
  confirm.disabled = true;
  typed.addEventListener("input", () => { confirm.disabled = typed.value !== name; });
  typed.focus();
}

/** Something to read. */
export function tell(title, ...body) {
  const dialog = h("dialog", { "aria-label": title });
  const close = h("button", { class: "primary", type: "button", onclick: () => dialog.close() }, "Close");
  dialog.append(h("div", { class: "title" }, title), h("div", { class: "body" }, body), h("div", { class: "buttons" }, close));
  show(dialog, close);
}

function show(dialog, confirm) {
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return { dialog, confirm };
}
