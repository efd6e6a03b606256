/** Asks for a key where the service wants one. */

import { askForKeyBy, hasKey, useKey } from "./api.js";
import { byId, show } from "./elements.js";

/** Ask whenever it is needed; `onChange` hears of another key that the user chose to give. */
export function start(onChange) {
  const dialog = byId("key-dialog");
  const field = byId("key");
  let done = null;

  function asked(said) {
    byId("key-says").textContent = said;
    field.value = "";
    dialog.showModal();
    field.focus();
    return new Promise((settle) => {
      done = settle;
    });
  }

  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(field.value.trim());
    field.value = "";
    show(byId("key-button"), true);
    finish(true);
    dialog.close();
  });
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => finish(false));

  function finish(given) {
    done?.(given);
    done = null;
  }

  askForKeyBy((wasWrong) => {
    if (wasWrong) useKey("");
    return asked(wasWrong ? "The service does not know this key." : "");
  });
  show(byId("key-button"), hasKey());
  byId("key-button").addEventListener("click", async () => {
    if (await asked("")) onChange();
  });
}
