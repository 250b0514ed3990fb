// What cannot wait for the modules.

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

// The module of the page that is opened comes beside those that all pages share, and not after them.
(() => {
  const [, name = "", part] = location.hash.split(/[/?]/);
  const brokers = ["brokers", "configs"];
  const modules = { "": ["overview", "chart"], overview: ["overview", "chart"], topics: ["topics"], groups: ["groups", "chart"], brokers, quorum: brokers };
  const isOneTopic = name === "topics" && part && !location.hash.includes("?");
  const ofPage = Object.hasOwn(modules, name) ? modules[name] : [];
  for (const module of isOneTopic ? ["topic", "topics", "messages", "groups", "configs", "chart"] : ofPage) {
    const preload = document.createElement("link");
    preload.rel = "modulepreload";
    preload.href = new URL(`${module}.js`, document.currentScript.src).href;
    document.head.append(preload);
  }
})();
