/** Requests to the service: with the key, with a second try where it is busy, and with problems as errors. */

const KEPT = "placewise-key";
const LONGEST_WAIT_S = 30;

let key = kept();
let ask = null;
let asking = null;

/** What the service refuses, after RFC 9457; status 0 where it does not answer at all. */
export class Problem extends Error {
  constructor(status, kind, detail) {
    super(detail);
    Object.assign(this, { status, kind });
  }
}

function kept() {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return ""; // a browser that keeps nothing
  }
}

export const hasKey = () => key !== "";

/** Use a key from now on, and keep it until the tab is closed; an empty one is none. */
export function useKey(text) {
  key = text;
  try {
    if (text) sessionStorage.setItem(KEPT, text);
    else sessionStorage.removeItem(KEPT);
  } catch {
    // then it is kept in memory only
  }
}

/** How to ask the user for a key: a function of whether the last one was wrong; true where one was given. */
export function askForKeyBy(asker) {
  ask = asker;
}

/**
 * A response that is fine.
 *
 * Where a key is wanted the user is asked, and where the service is busy it is tried once more after the time that it
 * names; `onWait` is told the seconds. Everything else that is not fine is a Problem.
 */
export async function call(path, { onWait, ...options } = {}) {
  for (let again = false; ; ) {
    const used = key;
    const response = await answered(path, used, options);
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (problem.status === 401 && (used !== key || (await keyGiven(used !== "")))) continue;
    const wait = Number(response.headers.get("Retry-After"));
    if (again || !(problem.status === 503 || problem.status === 429) || !(wait > 0)) throw problem;
    again = true;
    const seconds = Math.min(wait, LONGEST_WAIT_S);
    onWait?.(seconds);
    await new Promise((done) => setTimeout(done, seconds * 1000));
  }
}

/** The document of a response that is fine. */
export async function json(path, options) {
  return (await call(path, options)).json();
}

async function answered(path, used, options) {
  const headers = used ? { Authorization: `Bearer ${used}`, ...options.headers } : options.headers;
  try {
    return await fetch(path, { ...options, headers, credentials: "omit", redirect: "error" });
  } catch {
    throw new Problem(0, "offline", "");
  }
}

async function problemOf(response) {
  try {
    const { kind, detail } = await response.json();
    return new Problem(response.status, String(kind), String(detail));
  } catch {
    return new Problem(response.status, "error", response.statusText);
  }
}

/** Ask once, however many requests want a key at the same time. */
async function keyGiven(wasWrong) {
  asking ??= ask(wasWrong).finally(() => {
    asking = null;
  });
  return asking;
}

const pictures = new Map();

/** Ask for pictures anew: another gallery may have come, with other photos under the same addresses. */
export const forgetPictures = () => pictures.clear();

/** The address of a small picture of the gallery, which may be shown to those only who have a key. */
export function pictureOf(path) {
  if (!pictures.has(path)) {
    const found = call(path)
      .then((response) => response.blob())
      .then((blob) => URL.createObjectURL(blob));
    found.catch(() => pictures.delete(path));
    pictures.set(path, found);
  }
  return pictures.get(path);
}
