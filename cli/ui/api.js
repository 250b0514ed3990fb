// The calls of /api/v1.

/** A call that failed: `code` to act upon, the message for people. */
export class Failed extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The path of a call, its parts escaped. */
export const path = (...parts) => `/api/v1/${parts.map(encodeURIComponent).join("/")}`;

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

async function failure(response) {
  const body = await response.json().catch(() => null);
  const error = body?.error ?? { code: String(response.status), message: `The node answered with status ${response.status}.` };
  return new Failed(response.status, error.code, error.message);
}

async function ask(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failed(0, "GONE", "This node does not answer. The page goes on by itself when it is back.");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

export const get = async (address, signal) => (await ask(address, { signal })).json();

/** A call that changes something. */
export async function send(method, address, body = {}) {
  const headers = { "Content-Type": "application/json" };
  return (await ask(address, { method, headers, body: JSON.stringify(body) })).json();
}

/** Reads an answer of lines of JSON as they come. */
export async function lines(address, signal, take) {
  const response = await ask(address, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) take(JSON.parse(part));
  }
}
