// Server-sent events: one stream for the whole console, opened anew where a page watches a group.

import { query } from "./api.js";

let source = null;
let watched = null;
let listeners = new Map();
/** Whether something may have been missed: a page that has just been read need not be read again. */
let wasLost = false;
const states = new Set();

/** Hears whether events come. */
export const onState = (hear) => states.add(hear);

function told(isLive) {
  for (const hear of states) hear(isLive);
}

function open() {
  source?.close();
  source = new EventSource(`/api/v1/events${query({ group: watched })}`);
  source.addEventListener("open", () => told(true));
  source.addEventListener("error", () => {
    wasLost = true;
    told(false);
  });
  for (const event of ["hello", "metadata", "sample", "group"]) {
    source.addEventListener(event, (message) => {
      if (event === "hello" && !wasLost) return;
      if (event === "hello") wasLost = false;
      for (const hear of listeners.get(event) ?? []) hear(JSON.parse(message.data));
    });
  }
}

// A browser has six connections to one address for all its tabs: one that nobody looks at gives its own back, and hears
// `hello` when somebody looks again.
function rest() {
  wasLost = true;
  source?.close();
  source = null;
}
addEventListener("pagehide", rest);
addEventListener("pageshow", (event) => event.persisted && open());
document.addEventListener("visibilitychange", () => (document.hidden ? rest() : source ?? open()));

/** Forgets what the page before has heard. */
export function reset(group = null) {
  listeners = new Map();
  const isOpen = source && source.readyState !== EventSource.CLOSED;
  if (isOpen && watched === group) return;
  watched = group;
  if (!document.hidden) open();
}

export function on(event, hear) {
  listeners.set(event, [...(listeners.get(event) ?? []), hear]);
}
