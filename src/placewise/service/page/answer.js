/** The answer, first and large: KNOWN with the place, or UNKNOWN, how sure, and why. */

import { askAgain } from "./asking.js";
import { byId, make, show } from "./elements.js";
import { isKnown, isProbability, on, placeOf, tauOf, visit } from "./visit.js";
import { compared, reason, said, shortName } from "./words.js";

let shown = null;

export function start() {
  on("current", render);
  on("tau", renderVerdict);
}

function render() {
  const item = visit.current;
  show(byId("answer"), item !== null);
  document.body.classList.toggle("fresh", item === null);
  if (!item) return;
  if (shown !== item) renderPhoto(item);
  shown = item;
  renderVerdict();
}

async function renderPhoto(item) {
  const figure = byId("asked");
  figure.replaceChildren(make("figcaption", { className: "soft", textContent: item.name }));
  const address = await item.picture;
  if (item !== visit.current) return;
  const picture = address
    ? make("img", { src: address, alt: `Your photo ${item.name}` })
    : make("p", { className: "missing", textContent: "This browser cannot show this file." });
  figure.prepend(picture);
}

function renderVerdict() {
  const item = visit.current;
  if (!item) return;
  const kind = item.answer && item.state === "answered" ? (isKnown(item) ? "known" : "unknown") : item.state;
  const words = { known, unknown, failed }[kind]?.(item) ?? looking(item);
  const card = byId("answer");
  if (card.dataset.kind !== kind) card.dataset.kind = kind;
  card.setAttribute("aria-busy", String(item.state === "waiting" || item.state === "asking"));
  const isTried = visit.tau !== null && Boolean(item.answer);
  byId("badge").replaceChildren(words.badge, ...(isTried ? [make("small", { textContent: "if tau were different" })] : []));
  byId("verdict").textContent = words.verdict;
  byId("sure").textContent = words.sure;
  byId("why").textContent = words.why;
  byId("more").replaceChildren(...(words.more ?? []));
  document.title = item.answer ? `${words.badge}${kind === "known" ? `: ${words.verdict}` : ""} · Placewise` : "Placewise";
}

function known(item) {
  const place = placeOf(item);
  const best = item.answer.hits[0];
  return {
    badge: "KNOWN",
    verdict: place ?? (best ? `Near ${shortName(best.path)}` : "A place without a name"),
    sure: sureOf(item),
    why: whyOf(item),
  };
}

function unknown(item) {
  const place = placeOf(item);
  return {
    badge: "UNKNOWN",
    verdict: visit.gallery?.photos === 0 ? "The gallery is empty" : "A place I do not know",
    sure: place === null ? sureOf(item) : `Most like ${place}, but only ${sureOf(item, false)}`,
    why: whyOf(item),
  };
}

function failed({ problem, ...rest }) {
  const [verdict, sure] = said(problem);
  const again = make("button", { type: "button", textContent: "Try again" });
  again.addEventListener("click", () => askAgain([visit.current]));
  const may = problem.status === 0 || problem.status === 401 || problem.status === 408 || problem.status >= 429;
  return { badge: "No answer", verdict, sure, why: rest.name, more: may ? [again] : [] };
}

function looking({ waitS }) {
  const sure = waitS ? `The service is busy. Trying again in ${waitS} s …` : "";
  return { badge: "One moment", verdict: "Looking …", sure, why: "" };
}

/** The confidence and tau, as a sentence of its own or as the end of one. */
function sureOf(item, isSentence = true) {
  const { confidence } = item.answer;
  if (confidence === null) return "";
  const [value, tau] = compared(confidence, tauOf(item));
  if (isProbability()) return `${isSentence ? capital(value) : value} sure; KNOWN begins at ${tau}.`;
  return `${isSentence ? "The best photo is " : ""}${value} similar; KNOWN begins at ${tau}.`;
}

const capital = (text) => `${text[0].toUpperCase()}${text.slice(1)}`;

const whyOf = (item) => (visit.tau === null ? reason(item.answer.reason) : "");
