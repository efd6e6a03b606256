/** Photos come in, dropped, pasted, chosen or taken, and are asked two at a time; the original is what is sent. */

import { Problem, json } from "./api.js";
import { announce, byId } from "./elements.js";
import { pictureOfFile } from "./photo.js";
import { changed, choose, isKnown, placeOf, visit } from "./visit.js";
import { counted, level, megabytes, said } from "./words.js";

const HITS = 8;
const AT_A_TIME = 2;

let running = 0;

/** Take photos from wherever they come. */
export function start() {
  for (const [button, input] of [["choose", "chosen"], ["take", "taken"]]) {
    byId(button).addEventListener("click", () => byId(input).click());
    byId(input).addEventListener("change", ({ target }) => {
      take(target.files);
      target.value = "";
    });
  }
  document.addEventListener("paste", ({ clipboardData }) => take(clipboardData.files));
  startDropping();
}

function startDropping() {
  let depth = 0;
  const isPhoto = (event) => [...event.dataTransfer.types].includes("Files");
  const over = (by) => {
    depth = Math.max(0, depth + by);
    document.body.classList.toggle("over", depth > 0);
  };
  addEventListener("dragenter", (event) => isPhoto(event) && over(1));
  addEventListener("dragleave", (event) => isPhoto(event) && over(-1));
  addEventListener("dragover", (event) => isPhoto(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!isPhoto(event)) return;
    event.preventDefault();
    over(-depth);
    take(event.dataTransfer.files);
  });
}

/** Begin with files; the first of them is looked at. */
function take(files) {
  const items = [...files].map((file) => ({
    name: file.name || "photo",
    file,
    picture: pictureOfFile(file),
    state: "waiting",
    waitS: 0,
    answer: null,
    problem: null,
    added: null,
  }));
  if (!items.length) return;
  visit.items.push(...items);
  choose(items[0]);
  work();
}

/** Ask once more, all photos or one: after a failure, or when the gallery decides in another way. */
export function askAgain(items = visit.items) {
  for (const item of items) Object.assign(item, { state: "waiting", problem: null });
  changed("items", "current");
  work();
}

async function work() {
  while (running < AT_A_TIME) {
    const item = visit.items.find((one) => one.state === "waiting");
    if (!item) return;
    running += 1;
    item.state = "asking";
    settle(item).finally(() => {
      running -= 1;
      work();
      if (!running) announceAll();
    });
  }
}

async function settle(item) {
  update(item);
  try {
    const { answers, caution } = await ask(item);
    [item.answer] = answers;
    item.state = "answered";
    if (isAnother(item.answer, caution)) changed("stale");
  } catch (problem) {
    Object.assign(item, { state: "failed", answer: null, problem });
  }
  item.waitS = 0;
  update(item);
  if (item === visit.current) announceAnswer(item);
}

/** Whether the gallery decides in another way than it did when the page loaded it. */
function isAnother({ tau }, caution) {
  const { gallery } = visit;
  return gallery === null || caution !== gallery.caution || (gallery.calibration !== null && gallery.calibration.tau !== tau);
}

async function ask(item) {
  const limit = visit.gallery?.limits.max_body_bytes ?? Infinity;
  if (item.file.size > limit) throw new Problem(413, "too_large", `This one has ${megabytes(item.file.size)}.`);
  return json(`/v1/locate?k=${HITS}`, {
    method: "POST",
    body: item.file,
    headers: { "Content-Type": "application/octet-stream" },
    onWait: (seconds) => {
      item.waitS = seconds;
      update(item);
    },
  });
}

function update(item) {
  changed("items");
  if (item === visit.current) changed("current");
}

function announceAnswer(item) {
  if (item.problem) return announce(said(item.problem).join(". "));
  const { confidence } = item.answer;
  const sure = confidence === null ? "" : ` Confidence ${level(confidence)}.`;
  return announce(`${isKnown(item) ? `KNOWN: ${placeOf(item) ?? "a place without a name"}.` : "UNKNOWN."}${sure}`);
}

function announceAll() {
  const answered = visit.items.filter((item) => item.answer);
  if (answered.length < 2) return;
  const known = answered.filter(isKnown).length;
  announce(`${byId("status").textContent} ${counted(answered.length, "photo")} answered, ${known} of them KNOWN.`);
}
