/** The slider: what another tau would decide, of this photo and of all of this visit; each photo is a dot above it. */

import { announce, byId, make, show } from "./elements.js";
import { comparable, isKnown, on, placeOf, tauOf, tryTau, visit } from "./visit.js";
import { counted, level } from "./words.js";

let telling = 0;

export function start() {
  byId("tau").addEventListener("input", ({ target }) => {
    const value = Number(target.value);
    const own = visit.current.answer.tau;
    tryTau(Math.abs(value - own) < Number(target.step) / 2 ? null : value);
    clearTimeout(telling);
    telling = setTimeout(() => announce(byId("tau-says").textContent), 600);
  });
  byId("tau-back").addEventListener("click", () => {
    tryTau(null);
    byId("tau").focus();
    announce(byId("tau-says").textContent);
  });
  for (const event of ["current", "items", "tau", "gallery"]) on(event, render);
}

function render() {
  const item = visit.current;
  const has = Boolean(item?.answer) && item.state === "answered" && item.answer.confidence !== null && item.answer.tau !== null;
  show(byId("scale"), has);
  if (!has) return;
  const among = comparable(item);
  const slider = byId("tau");
  slider.min = Math.min(0, ...among.map((one) => Math.floor(one.answer.confidence * 10) / 10));
  slider.value = tauOf(item);
  slider.setAttribute("aria-valuetext", `tau ${level(tauOf(item), 1)}`);
  const at = (value) => (value - Number(slider.min)) / (1 - Number(slider.min));
  slider.style.setProperty("--at", at(tauOf(item)));
  byId("dots").replaceChildren(...among.map((one) => dot(one, at)), own(item, at));
  byId("tau-says").textContent = words(item, among);
  const back = byId("tau-back");
  back.textContent = `Back to the gallery’s tau, ${level(item.answer.tau, 1)}`;
  show(back, visit.tau !== null);
}

function dot(item, at) {
  const one = make("i", { className: `${isKnown(item) ? "known" : "unknown"}${item === visit.current ? " current" : ""}` });
  one.style.setProperty("--at", Math.min(1, at(item.answer.confidence)));
  return one;
}

function own(item, at) {
  const mark = make("b", { textContent: "tau" });
  mark.style.setProperty("--at", at(item.answer.tau));
  return mark;
}

function words(item, among) {
  const tau = tauOf(item);
  const tried = visit.tau !== null;
  const decided = isKnown(item) ? `KNOWN${placeOf(item) ? ` as ${placeOf(item)}` : ""}` : "UNKNOWN";
  const said = [tried ? `At tau ${level(tau, 1)} this photo would be ${decided}.` : `The gallery’s tau is ${level(tau, 1)}; slide to try another.`];
  if (among.length > 1) {
    const known = among.filter(isKnown).length;
    const are = tried ? "would be" : known === 1 ? "is" : "are";
    said.push(`${known} of ${counted(among.length, "photo")} of this visit ${are} KNOWN.`);
  }
  const choices = (visit.gallery?.calibration?.choices ?? []).filter((choice) => choice.tau <= tau + 5e-4);
  if (choices.length) {
    const rate = Math.min(...choices.map((choice) => choice.expected_rate));
    said.push(`About ${(100 * rate).toFixed(1)} % of photos of unknown places, or fewer, are expected to pass here.`);
  }
  return said.join(" ");
}
