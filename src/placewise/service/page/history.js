/** The photos of this visit; one click goes back to an answer. */

import { byId, make, show } from "./elements.js";
import { choose, isKnown, on, visit } from "./visit.js";

const buttons = new Map();

export function start() {
  for (const event of ["items", "tau"]) on(event, render);
}

function render() {
  show(byId("history"), visit.items.length > 0);
  const list = byId("history").querySelector("ol");
  for (const item of visit.items) {
    if (!buttons.has(item)) {
      buttons.set(item, made(item));
      list.append(make("li", {}, buttons.get(item)));
    }
    update(item, buttons.get(item));
  }
}

function made(item) {
  const button = make("button", { type: "button" }, make("span", { className: "mark" }));
  button.addEventListener("click", () => choose(item));
  item.picture.then((address) => {
    if (address) button.prepend(make("img", { src: address, alt: "" }));
  });
  return button;
}

function update(item, button) {
  const kind = item.answer && item.state === "answered" ? (isKnown(item) ? "known" : "unknown") : item.state;
  button.className = kind;
  button.querySelector(".mark").textContent = { known: "✓", unknown: "?", failed: "!" }[kind] ?? "…";
  const words = { known: "KNOWN", unknown: "UNKNOWN", failed: "no answer" }[kind] ?? "being asked";
  button.setAttribute("aria-label", `${item.name}: ${words}`);
  if (item === visit.current) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
}
