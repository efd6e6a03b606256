/** What is searched, at the head of the page, and what must be known before its answers are trusted. */

import { call, forgetPictures, json } from "./api.js";
import { askAgain } from "./asking.js";
import { announce, byId, make, show } from "./elements.js";
import { changed, on, tryTau, visit } from "./visit.js";
import { counted, said } from "./words.js";

export function start() {
  on("stale", load);
}

/** Load the gallery; where it decides in another way than before, everything is asked once more. */
export async function load() {
  const before = visit.gallery;
  try {
    visit.gallery = await json("/v1/gallery");
  } catch (problem) {
    if (before === null) notice(...said(problem), button("Try again", load));
    return;
  }
  if (before) forgetPictures();
  render();
  changed("gallery");
  if (before && decision(before) !== decision(visit.gallery)) {
    tryTau(null);
    askAgain(visit.items.filter((item) => item.answer));
  }
}

const decision = ({ calibration }) => calibration && `${calibration.tau} ${calibration.confidence} ${calibration.made}`;

function render() {
  const { name, photos, places, calibration, model } = visit.gallery;
  const of = places ? ` of ${counted(places, "place")}` : "";
  byId("facts").textContent = `${name} · ${counted(photos, "photo")}${of}`;
  byId("facts").title = `Model ${model.name}${calibration ? `; ${calibration.promise}` : ""}`;
  tellState();
}

function tellState() {
  const { photos, calibration, caution, may, name } = visit.gallery;
  if (!photos) {
    const how = may.write ? "Ask a photo here, then add it with its place, or fill the gallery with" : "Fill it with";
    notice("This gallery is empty", `Every answer is UNKNOWN until it holds photos. ${how}`, code(`placewise index PHOTOS --gallery ${name}`));
  } else if (!calibration) {
    const words = "What is KNOWN and what is UNKNOWN is decided by a convention that promises nothing. The gallery can learn from its own photos where UNKNOWN begins:";
    notice("This gallery is not calibrated", words, calibrating());
  } else if (caution) {
    const [, what] = /: ([^;]+)/.exec(caution) ?? [null, caution];
    const words = `It still decides as before (${what}). Once it is as you want it:`;
    notice("The gallery has changed since it was calibrated", words, calibrating());
  } else {
    show(byId("notice"), false);
  }
}

function calibrating() {
  if (!visit.gallery.may.write) return code(`placewise calibrate --gallery ${visit.gallery.name}`);
  return button("Calibrate now", async ({ target }) => {
    target.disabled = true;
    target.textContent = "Calibrating …";
    try {
      await call("/v1/calibrate", { method: "POST" });
      announce("The gallery is calibrated.");
    } catch (problem) {
      notice(...said(problem));
      return;
    }
    load();
  });
}

function notice(title, words, more = null) {
  byId("notice").replaceChildren(make("p", {}, make("b", { textContent: title }), make("br"), words, " ", more ?? ""));
  show(byId("notice"), true);
}

const code = (text) => make("code", { textContent: text });

function button(text, work) {
  const made = make("button", { type: "button", textContent: text });
  made.addEventListener("click", work);
  return made;
}
