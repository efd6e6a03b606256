/** Values and problems in words. */

import { isProbability, visit } from "./visit.js";

const PERCENT = "\u00a0%"; // on the same line as its number

export const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/**
 * A confidence or a tau: percent for a probability, two digits for a similarity; with more digits where asked for.
 *
 * Nothing is quite certain, so what would be rounded to 0 or 100 % is not.
 */
export function level(value, more = 0) {
  if (!isProbability()) return value.toFixed(2 + more);
  const least = 10 ** -more;
  if (value < 1 && 100 - 100 * value < least / 2) return `over ${(100 - least).toFixed(more)}${PERCENT}`;
  if (value > 0 && 100 * value < least / 2) return `under ${least.toFixed(more)}${PERCENT}`;
  return `${(100 * value).toFixed(more)}${PERCENT}`;
}

/** A confidence and a tau with as many digits as tell them apart. */
export function compared(confidence, tau) {
  const more = [0, 1, 2, 3].find((digits) => level(confidence, digits) !== level(tau, digits)) ?? 4;
  return [level(confidence, more), level(tau, more)];
}

/** Why, without the comparison before the colon, which the page shows by itself. */
export function reason(text) {
  const [, why] = /^[^:]* tau [^:]*: (.+)$/.exec(text) ?? [null, ""];
  const words = why || (/ tau /.test(text) ? "" : text);
  return words && `${words[0].toUpperCase()}${words.slice(1)}.`;
}

const SAID = {
  offline: ["The service does not answer", "It may have been stopped, or the connection is gone."],
  not_an_image: ["This is no photo", "The file is of no kind that can be read. JPEG, PNG, WebP and TIFF can."],
  image_truncated: ["The photo is cut off", "A part of the file is missing. Copy it again."],
  image_unreadable: ["The photo is damaged", "It cannot be read. Copy it again."],
  image_unusable: ["There is nothing to see", "The network finds nothing in this photo to compare."],
  no_image: ["This file is empty", "There is nothing in it."],
  busy: ["The service is busy", "Too many photos are being worked on. Try again in a moment."],
  timeout: ["The service is busy", "It could not answer in time. Try again in a moment."],
  slow: ["The upload took too long", "Try again with a better connection, or a smaller photo."],
  rate: ["Too many questions at once", "Wait a little and try again."],
  gallery: ["The gallery cannot be read", "Who runs the service finds the reason in its log."],
  key: ["A key is needed", "This gallery is not open to everybody."],
  scope: ["This key may not change the gallery", "Ask who runs the service for one that may."],
  other_host: ["This address is not served without a key", "Open the page as localhost."],
};

/** A problem as a heading and a sentence. */
export function said(problem) {
  const limits = visit.gallery?.limits;
  if (problem.kind === "too_large" && limits) {
    return ["The file is too large", `This service takes up to ${megabytes(limits.max_body_bytes)}. ${problem.message}`];
  }
  if (problem.kind === "image_too_large" && limits) {
    const most = Math.round(limits.max_pixels / 1e6);
    return ["The photo has too many pixels", `This service reads photos of up to ${most} megapixels.`];
  }
  return SAID[problem.kind] ?? ["This did not work", sentence(problem.message)];
}

export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

const sentence = (text) => text && `${text[0].toUpperCase()}${text.slice(1)}.`;

/** The last part of a photo's name in the gallery. */
export const shortName = (path) => path.split("/").pop();
