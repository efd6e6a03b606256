/** The hits: thumbnails with bars of similarity; each opens the match view. */

import { pictureOf } from "./api.js";
import { breakable, byId, make, show } from "./elements.js";
import { open } from "./match.js";
import { isKnown, isProbability, on, placeOf, tauOf, visit } from "./visit.js";
import { shortName } from "./words.js";

let shown = null;

export function start() {
  on("current", render);
  on("tau", mark);
  on("gallery", mark);
}

function render() {
  const answer = visit.current?.answer ?? null;
  const hits = answer?.hits ?? [];
  show(byId("hits"), hits.length > 0);
  if (shown !== answer) byId("hits").querySelector("ol").replaceChildren(...hits.map(card));
  shown = answer;
  mark();
}

function card(hit, number) {
  const picture = make("span", { className: "picture" });
  if (hit.thumbnail) showPicture(picture, hit.thumbnail);
  else picture.append(make("span", { className: "missing", textContent: "no small picture" }));
  const bar = make("span", { className: "bar" }, make("i"), make("b"));
  bar.firstChild.style.setProperty("--at", Math.max(0, Math.min(1, hit.similarity)));
  const facts = [
    make("span", { className: "place" }, ...breakable(hit.place ?? shortName(hit.path))),
    make("span", { className: "number" }, "similarity ", make("b", { textContent: hit.similarity.toFixed(3) })),
    bar,
    hit.inliers === null ? null : make("span", { className: "soft", textContent: `${hit.inliers} points agree` }),
    hit.place === null ? null : make("span", { className: "soft path", textContent: hit.path }),
  ];
  const button = make("button", { type: "button", className: "hit", disabled: hit.id === null }, picture, ...facts.filter(Boolean));
  button.setAttribute("aria-label", labelOf(hit, number));
  button.title = hit.path;
  button.addEventListener("click", () => open(visit.current, hit));
  return make("li", {}, button);
}

function labelOf(hit, number) {
  const inliers = hit.inliers === null ? "" : `, ${hit.inliers} points agree`;
  return `Hit ${number + 1}: ${hit.place ?? hit.path}, similarity ${hit.similarity.toFixed(3)}${inliers}. Compare both photos`;
}

async function showPicture(place, path) {
  try {
    place.append(make("img", { src: await pictureOf(path), alt: "" }));
  } catch {
    place.append(make("span", { className: "missing", textContent: "no small picture" }));
  }
}

/** What tau changes: the hits of the place that is named, and where tau is, if it is a similarity. */
function mark() {
  const item = visit.current;
  if (!item?.answer) return;
  const known = isKnown(item);
  const place = placeOf(item);
  const onBars = !isProbability() && item.answer.tau !== null;
  byId("hits-says").textContent = `Choose one to see both photos side by side.${onBars ? " The line in each bar is tau." : ""}`;
  byId("hits").classList.toggle("known", known);
  byId("hits").querySelectorAll(".hit").forEach((button, number) => {
    const hit = item.answer.hits[number];
    button.classList.toggle("named", known && place !== null && hit.place === place);
    const line = button.querySelector(".bar b");
    show(line, onBars);
    if (onBars) line.style.setProperty("--at", Math.max(0, Math.min(1, tauOf(item))));
  });
}
