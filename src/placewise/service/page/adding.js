/** Adding the photo to the gallery, where that is allowed, and taking it back. */

import { call, json } from "./api.js";
import { announce, byId, make, show } from "./elements.js";
import { changed, isKnown, on, placeOf, visit } from "./visit.js";
import { said } from "./words.js";

const PAGE = 1000;
const MOST_PAGES = 5;

let shown = null;
let suggested = false;

export function start() {
  byId("adding").querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    add(visit.current);
  });
  byId("place").addEventListener("focus", suggest);
  on("current", render);
  on("gallery", render);
}

function render() {
  const item = visit.current;
  const may = Boolean(item?.answer) && item.state === "answered" && Boolean(visit.gallery?.may.write);
  show(byId("adding"), may);
  if (!may) return;
  show(byId("position-row"), visit.gallery.with_position > 0);
  show(byId("adding").querySelector("form"), item.added === null);
  if (shown === item) return;
  shown = item;
  byId("place").value = isKnown(item) ? (placeOf(item) ?? "") : "";
  byId("position").value = "";
  tell(item);
}

/** The names of places, asked for when they are first needed; a very large gallery offers some of them. */
async function suggest() {
  if (suggested) return;
  suggested = true;
  const names = new Set(visit.current.answer.hits.map((hit) => hit.place));
  try {
    for (let after = 0, pages = 0; after !== null && pages < MOST_PAGES; pages += 1) {
      const page = await json(`/v1/photos?limit=${PAGE}&after=${after}`);
      for (const photo of page.photos) names.add(photo.place);
      after = page.next;
    }
  } catch {
    suggested = false; // what there is will do, and the next time it is tried again
  }
  const sorted = [...names].filter((name) => name !== null).sort((a, b) => a.localeCompare(b));
  byId("places").replaceChildren(...sorted.map((name) => make("option", { value: name })));
}

async function add(item) {
  const form = new FormData();
  form.append("image", item.file, item.name);
  const place = byId("place").value.trim();
  if (place) form.append("place", place);
  const position = byId("position").value.trim();
  if (position && visit.gallery.with_position) {
    const [lat = "", lon = ""] = position.split(/[\s,;]+/);
    form.append("lat", lat);
    form.append("lon", lon);
  }
  await doing(item, async () => {
    const response = await call("/v1/photos", { method: "POST", body: form });
    item.added = { ...(await response.json()), isNew: response.status === 201 };
    suggested = false;
  });
}

async function undo(item) {
  await doing(item, async () => {
    try {
      await call(`/v1/photos/${item.added.id}`, { method: "DELETE" });
    } catch (problem) {
      if (problem.status !== 404) throw problem; // somebody else was faster
    }
    item.added = null;
  });
  if (item === visit.current && !item.added) byId("adding").querySelector("[type=submit]").focus();
}

/** Change the gallery, say what came of it, and look at the gallery anew. */
async function doing(item, work) {
  const before = item.added;
  const buttons = byId("adding").querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  let trouble = "";
  try {
    await work();
  } catch (problem) {
    trouble = said(problem).join(". ");
  }
  for (const button of buttons) button.disabled = false;
  if (item === visit.current) {
    tell(item, trouble || (before && !item.added ? "The photo has been taken out of the gallery again." : ""));
    render();
  }
  if (!trouble) changed("stale");
}

function tell(item, text = "") {
  const place = byId("added");
  if (!item.added) {
    place.replaceChildren(...(text ? [make("p", { textContent: text })] : []));
    if (text) announce(text);
    return;
  }
  const where = item.added.place ? ` as a photo of ${item.added.place}` : "";
  const words = item.added.isNew ? `Added${where}.` : `The gallery holds this photo already${where}.`;
  const button = make("button", { type: "button", textContent: "Undo" });
  button.addEventListener("click", () => undo(item));
  place.replaceChildren(make("p", { className: "done", textContent: words }), ...(item.added.isNew ? [button] : []));
  if (text) place.append(make("p", { className: "wrong", textContent: text }));
  announce(text || words);
  if (item.added.isNew) button.focus({ preventScroll: true });
}
