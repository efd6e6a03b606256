/**
 * The map: where the gallery's photos were taken, and the answer among them, drawn from positions alone.
 *
 * Latitudes and longitudes become metres by the equirectangular projection around the middle m of all positions:
 * east = R (lon - lon_m) cos lat_m, north = R (lat - lat_m).
 */

import { json } from "./api.js";
import { byId, make, show } from "./elements.js";
import { isKnown, on, placeOf, visit } from "./visit.js";
import { counted } from "./words.js";

const EARTH_M = 6371008.8; // the mean radius of the Earth (IUGG)
const MOST = 5000;
const MARGIN = 28;
const LEAST_M = 60;
const DEEPEST = 200;
const STEP = 40;

let ground = null; // {photos, total, at(position), middle of the first longitude}
let view = { zoom: 1, east: 0, north: 0 };
let canvas = null;

export function start() {
  canvas = byId("map").querySelector("canvas");
  on("gallery", load);
  for (const event of ["current", "tau"]) on(event, render);
  new ResizeObserver(render).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
  startMoving();
}

async function load() {
  const before = ground;
  try {
    const { photos, total } = visit.gallery.with_position ? await json(`/v1/map?limit=${MOST}`) : { photos: [], total: 0 };
    ground = photos.length ? groundOf(photos, total) : null;
  } catch {
    ground = null; // no map is better than an empty one
  }
  if (!before) showAll();
  show(byId("map"), ground !== null);
  render();
}

function groundOf(photos, total) {
  const first = photos[0].position.lon;
  const near = (lon) => ((((lon - first + 180) % 360) + 360) % 360) - 180; // across the 180th meridian, too
  const middle = (values) => (Math.min(...values) + Math.max(...values)) / 2;
  const lat = middle(photos.map((photo) => photo.position.lat));
  const lon = middle(photos.map((photo) => near(photo.position.lon)));
  const radian = Math.PI / 180;
  const at = (position) => [
    EARTH_M * (near(position.lon) - lon) * radian * Math.cos(lat * radian),
    EARTH_M * (position.lat - lat) * radian,
  ];
  const spots = photos.map((photo) => ({ photo, at: at(photo.position) }));
  const half = (axis) => Math.max(LEAST_M / 2, ...spots.map((spot) => Math.abs(spot.at[axis])));
  return { spots, total, at, half: [half(0), half(1)] };
}

function showAll() {
  view = { zoom: 1, east: 0, north: 0 };
}

// ---- moving ---------------------------------------------------------------------------------------------------------

function startMoving() {
  let from = null;
  canvas.addEventListener("pointerdown", (event) => {
    from = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) return;
    move(from[0] - event.clientX, event.clientY - from[1]);
    from = [event.clientX, event.clientY];
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (from = null));
  canvas.addEventListener("wheel", wheel, { passive: false });
  canvas.addEventListener("dblclick", () => zoom(2));
  canvas.addEventListener("keydown", keyed);
  for (const button of byId("map").querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => ({ in: () => zoom(1.6), out: () => zoom(1 / 1.6), all: () => zoom(0) })[button.dataset.zoom]());
  }
}

/** With Ctrl the wheel zooms; without, the page scrolls. */
function wheel(event) {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
}

function keyed(event) {
  const act = {
    ArrowLeft: () => move(-STEP, 0),
    ArrowRight: () => move(STEP, 0),
    ArrowUp: () => move(0, STEP),
    ArrowDown: () => move(0, -STEP),
    "+": () => zoom(1.6),
    "-": () => zoom(1 / 1.6),
    0: () => zoom(0),
  }[event.key];
  if (!act || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  act();
}

function move(x, y) {
  if (!ground) return;
  const scale = scaleNow();
  const within = (value, half) => Math.max(-half, Math.min(half, value));
  view.east = within(view.east + x / scale, ground.half[0]);
  view.north = within(view.north + y / scale, ground.half[1]);
  render();
}

function zoom(by) {
  if (by === 0) showAll();
  else view.zoom = Math.max(1, Math.min(DEEPEST, view.zoom * by));
  if (view.zoom === 1) showAll();
  canvas.classList.toggle("held", view.zoom > 1); // a finger moves the map only when there is something beside it
  render();
}

/** Pixels a metre. */
function scaleNow() {
  const [east, north] = ground.half;
  return view.zoom * Math.min((canvas.clientWidth / 2 - MARGIN) / east, (canvas.clientHeight / 2 - MARGIN) / north);
}

// ---- drawing --------------------------------------------------------------------------------------------------------

function render() {
  if (!ground || byId("map").hidden || !canvas.clientWidth) return;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const pen = canvas.getContext("2d");
  pen.scale(devicePixelRatio, devicePixelRatio);
  const scale = scaleNow();
  const spot = ([east, north]) => [width / 2 + (east - view.east) * scale, height / 2 - (north - view.north) * scale];
  const found = foundOn();
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  const step = roundBelow(width / 6 / scale);
  grid(pen, spot, [width, height], step, color("line"));
  for (const one of ground.spots) dot(pen, spot(one.at), 3.2, color(one.photo.place !== null && one.photo.place === found.place ? found.kind : "soft"), 0.5);
  for (const hit of found.others) ring(pen, spot(ground.at(hit.position)), color("ink"));
  if (found.best) {
    const at = spot(ground.at(found.best.position));
    pin(pen, at, color(found.kind), color("card"));
    label(pen, at, found.place ?? "", width, color("ink"), color("faint"));
  }
  scaleBar(pen, height, step * scale, step, color("ink"));
  describe(found);
}

/** What of the current answer has a position. */
function foundOn() {
  const item = visit.current;
  if (!item?.answer) return { best: null, others: [], place: null, kind: "soft" };
  const placed = item.answer.hits.filter((hit) => hit.position);
  const place = placeOf(item);
  const known = isKnown(item);
  const best = known ? (placed.find((hit) => hit.place === place) ?? null) : null;
  return { best, others: placed.filter((hit) => hit !== best), place: known ? place : null, kind: known ? "known" : "unknown" };
}

function dot(pen, [x, y], radius, color, alpha) {
  pen.globalAlpha = alpha;
  pen.fillStyle = color;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
  pen.globalAlpha = 1;
}

function ring(pen, [x, y], color) {
  pen.strokeStyle = color;
  pen.lineWidth = 1.6;
  pen.beginPath();
  pen.arc(x, y, 6.5, 0, 2 * Math.PI);
  pen.stroke();
}

function pin(pen, [x, y], color, inside) {
  pen.fillStyle = color;
  pen.strokeStyle = inside;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.moveTo(x, y);
  pen.bezierCurveTo(x - 13, y - 17, x - 14, y - 36, x, y - 36);
  pen.bezierCurveTo(x + 14, y - 36, x + 13, y - 17, x, y);
  pen.closePath();
  pen.fill();
  pen.stroke();
  dot(pen, [x, y - 23], 4.5, inside, 1);
}

/** The greatest 1, 2 or 5 times a power of ten that is no more. */
function roundBelow(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return power * ([5, 2, 1].find((step) => step * power <= most) ?? 1);
}

/** Lines every so many metres, so that distances can be seen anywhere. */
function grid(pen, spot, [width, height], step, color) {
  pen.strokeStyle = color;
  pen.lineWidth = 1;
  pen.beginPath();
  const [x0, y0] = spot([0, 0]);
  const scale = spot([1, 0])[0] - x0;
  const first = (from) => ((from % (step * scale)) + step * scale) % (step * scale);
  for (let x = first(x0); x < width; x += step * scale) {
    pen.moveTo(x, 0);
    pen.lineTo(x, height);
  }
  for (let y = first(y0); y < height; y += step * scale) {
    pen.moveTo(0, y);
    pen.lineTo(width, y);
  }
  pen.stroke();
}

/** The name of the place beside its pin, where there is room. */
function label(pen, [x, y], text, width, color, around) {
  pen.font = font(600);
  const isLeft = x > width / 2;
  pen.textAlign = isLeft ? "right" : "left";
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  pen.strokeStyle = around;
  pen.fillStyle = color;
  const short = text.length > 28 ? `${text.slice(0, 27)}…` : text;
  for (const write of ["strokeText", "fillText"]) pen[write](short, x + (isLeft ? -17 : 17), y - 19);
  pen.textAlign = "left";
}

const font = (weight) => `${weight} 12px ${getComputedStyle(document.body).fontFamily}`;

function scaleBar(pen, height, length, metres, color) {
  const [x, y] = [14, height - 14];
  pen.strokeStyle = pen.fillStyle = color;
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.moveTo(x, y - 5);
  pen.lineTo(x, y);
  pen.lineTo(x + length, y);
  pen.lineTo(x + length, y - 5);
  pen.stroke();
  pen.font = font(400);
  pen.fillText(metres >= 1000 ? `${metres / 1000} km` : `${metres} m`, x + 6, y - 7);
}

function describe({ best, others, place, kind }) {
  const some = ground.spots.length < ground.total ? `${counted(ground.spots.length, "photo")} of ${ground.total.toLocaleString("en")}` : counted(ground.total, "photo");
  const where = best ? ` The answer${place ? `, ${place},` : ""} is at ${best.position.lat.toFixed(5)}, ${best.position.lon.toFixed(5)}.` : "";
  canvas.setAttribute("aria-label", `Map of ${some} with a position.${where} Arrow keys move it, plus and minus zoom.`);
  const entries = [
    ["dot", some, true],
    [`pin ${kind}`, "the answer", best !== null],
    ["ring", best ? "other hits" : "hits", others.length > 0],
  ];
  const shown = entries.filter(([, , has]) => has);
  byId("map").querySelector(".key").replaceChildren(...shown.map(([sign, words]) => make("li", {}, make("i", { className: sign }), words)));
}
