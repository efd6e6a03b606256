/**
 * What this visit is about: the gallery, the photos that were asked, and the tau that is tried out.
 *
 * Nothing of it outlives the tab. A photo is {name, file, picture, state, answer, problem, added}: `state` is waiting,
 * asking, answered or failed, `picture` promises the address of an upright picture that can be shown, or null.
 */

const listeners = { stale: [], gallery: [], items: [], current: [], tau: [] };

export const visit = { gallery: null, items: [], current: null, tau: null };

/**
 * Call a function whenever something has changed: the gallery, the list of photos and their states, the current photo
 * and its answer, or tau; `stale` says that the gallery may be another one by now.
 */
export function on(event, listener) {
  listeners[event].push(listener);
}

/** Tell everybody that something has changed. */
export function changed(...events) {
  for (const event of events) for (const listener of listeners[event]) listener();
}

/** Look at a photo of this visit. */
export function choose(item) {
  visit.current = item;
  changed("items", "current");
}

/** Try out another tau; null is the gallery's own. */
export function tryTau(tau) {
  visit.tau = tau;
  changed("tau");
}

/** Whether the confidence is a probability; otherwise it is the best similarity itself. */
export const isProbability = () => visit.gallery?.calibration?.confidence === "probability";

/** The tau that decides on a photo that has been answered. */
export const tauOf = (item) => visit.tau ?? item.answer.tau;

/** Whether a photo is KNOWN at the tau that is tried out. */
export function isKnown(item) {
  if (visit.tau === null) return item.answer.known;
  return item.answer.confidence !== null && item.answer.confidence >= visit.tau;
}

/** The place that a photo shows if it is KNOWN; null where that has none. */
export function placeOf(item) {
  const { place, hits } = item.answer;
  if (place !== null || visit.gallery?.calibration === null) return place ?? hits[0]?.place ?? null;
  return hits.find((hit) => hit.place !== null)?.place ?? null;
}

/** The photos of this visit that the same tau decides on as on this one. */
export function comparable(item) {
  return visit.items.filter((one) => one.answer && one.answer.confidence !== null && one.answer.tau === item.answer.tau);
}
