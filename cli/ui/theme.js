// Before anything is painted, so that nobody who chose the dark is dazzled first.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("moldau.theme");
  } catch {
    // Without storage the system's choice holds.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
