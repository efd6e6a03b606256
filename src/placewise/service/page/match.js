/** Both photos side by side, with the matched points that one geometry explains. */

import { Problem, json, pictureOf } from "./api.js";
import { byId, draw } from "./elements.js";
import { visit } from "./visit.js";
import { counted, said } from "./words.js";

const MOST_LINES = 60;
const GAP = 12;
const UNIT = 1000;

const KINDS = {
  homography: "as on one flat front, or seen from one spot",
  similarity: "by one shift, turn and scale",
  fundamental: "as two views of one solid scene",
};

let opened = 0;
let redraw = null;

export function start() {
  const dialog = byId("match");
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    opened += 1;
    redraw = null;
  });
  matchMedia("(max-width: 40rem)").addEventListener("change", () => redraw?.());
}

/** Show a photo of this visit beside a hit. The browser puts the focus back where it was when the view is closed. */
export async function open(item, hit) {
  const turn = ++opened;
  const dialog = byId("match");
  byId("match-title").textContent = hit.place ?? hit.path;
  dialog.querySelector(".view").replaceChildren();
  say("Looking for points that both photos have …", "");
  dialog.showModal();
  const pictures = await Promise.all([item.picture, hit.thumbnail ? pictureOf(hit.thumbnail).catch(() => null) : null]);
  const sides = [
    { address: pictures[0], name: `Your photo ${item.name}`, size: [item.answer.width, item.answer.height], points: [] },
    { address: pictures[1], name: `${hit.path} of the gallery`, size: await sizeOf(pictures[1]), points: [] },
  ];
  if (turn !== opened) return;
  render(sides);
  try {
    if (visit.gallery?.features === 0) throw new Problem(409, "features", ""); // do not send it for nothing
    const match = await json(`/v1/photos/${hit.id}/match`, {
      method: "POST",
      body: item.file,
      headers: { "Content-Type": "application/octet-stream" },
    });
    if (turn !== opened) return;
    sides[0] = { ...sides[0], size: match.query_size, points: match.query_points };
    sides[1] = { ...sides[1], size: match.photo_size, points: match.photo_points };
    render(sides);
    say(...wordsOf(match));
  } catch (problem) {
    if (turn === opened) say(...wordsOfProblem(problem));
  }
}

function say(text, more) {
  byId("match-says").textContent = text;
  byId("match-more").textContent = more;
}

function wordsOf(match) {
  const drawn = Math.min(match.query_points.length, MOST_LINES);
  const some = drawn < match.inliers ? `The ${drawn} most distinct of them are drawn. ` : "";
  const odds = match.significance >= 1 ? `By chance that happens once in 10${superscript(Math.round(match.significance))} pairs.` : "";
  if (match.accepted) {
    return [`The geometry agrees: ${counted(match.inliers, "point")} fit together, ${KINDS[match.kind] ?? "by one geometry"}.`, some + odds];
  }
  if (!match.inliers) return ["The geometry finds nothing in common: no points fit together.", "Similar photos may still show different things."];
  return [`The geometry does not confirm it: ${counted(match.inliers, "point")} fit together, which chance alone can do.`, some];
}

function wordsOfProblem(problem) {
  if (problem.kind === "features") {
    const of = visit.gallery?.features === 0 ? "" : " of this photo";
    return [`The points cannot be compared: this gallery keeps no local features${of}.`, "“placewise index … --features” keeps them."];
  }
  if (problem.status === 404) return ["The points cannot be compared: the photo is no longer in the gallery.", ""];
  const [title, text] = said(problem);
  return [`The points cannot be compared. ${title}.`, text];
}

const superscript = (number) => [...String(number)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");

async function sizeOf(address) {
  const image = new Image();
  image.src = address ?? "";
  await image.decode().catch(() => null);
  return [image.naturalWidth || 4, image.naturalHeight || 3];
}

/** One drawing of both: beside one another, or on a phone one above the other. */
function render(sides) {
  redraw = () => render(sides);
  const isNarrow = matchMedia("(max-width: 40rem)").matches;
  const frames = isNarrow ? stacked(sides) : beside(sides);
  const width = Math.max(...frames.map((frame) => frame.x + frame.width));
  const height = Math.max(...frames.map((frame) => frame.y + frame.height));
  const drawing = draw(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${sides[0].name} beside ${sides[1].name}` },
    ...sides.flatMap((side, number) => photo(side, frames[number])),
    ...lines(sides, frames),
  );
  byId("match").querySelector(".view").replaceChildren(drawing);
  drawing.style.setProperty("--aspect", width / height);
}

/** Equally high, next to one another. */
function beside(sides) {
  let x = 0;
  const shares = sides.map(({ size: [width, height] }) => width / height);
  const tall = (UNIT - GAP) / (shares[0] + shares[1]);
  return shares.map((share) => {
    const frame = { x, y: 0, width: share * tall, height: tall };
    x += frame.width + GAP;
    return frame;
  });
}

/** Equally wide, one below the other. */
function stacked(sides) {
  let y = 0;
  return sides.map(({ size: [width, height] }) => {
    const frame = { x: 0, y, width: UNIT / 2, height: ((UNIT / 2) * height) / width };
    y += frame.height + GAP;
    return frame;
  });
}

function photo({ address }, { x, y, width, height }) {
  const place = { x, y, width, height };
  const back = draw("rect", { ...place, class: "blank" });
  return address ? [back, draw("image", { ...place, href: address, preserveAspectRatio: "none" })] : [back];
}

function lines(sides, frames) {
  const [from, to] = sides.map(({ points, size }, number) => points.slice(0, MOST_LINES).map((point) => placed(point, size, frames[number])));
  return from.map(([x1, y1], number) => {
    const [x2, y2] = to[number];
    const ends = [[x1, y1], [x2, y2]].map(([cx, cy]) => draw("circle", { cx, cy, r: 4.2 }));
    const pair = draw("g", { class: "pair-of-points" }, draw("line", { x1, y1, x2, y2 }), ...ends);
    pair.style.setProperty("--hue", Math.round((number * 137.5) % 360));
    return pair;
  });
}

/** A pixel of the original, on the drawing. */
function placed([x, y], [width, height], frame) {
  return [frame.x + ((x + 0.5) / width) * frame.width, frame.y + ((y + 0.5) / height) * frame.height];
}
