// The operator's secret: from the address, from this tab's memory, or asked for; tried before anything is built on it.
import { el } from "../views/dom.js";

const KEPT_AS = "token";
const TRIED_AT = "/commands/ruok"; // answers 401 to a wrong one

/**
 * A token that this admin port takes; waits until there is one.
 * @returns {Promise<string>}
 */
export async function tokenFor() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given !== null) hide();
  let token = given ?? sessionStorage.getItem(KEPT_AS) ?? "";
  let wrong = false;
  while (!token || !(await isTaken(token))) {
    wrong = wrong || token !== "";
    token = await asked(wrong);
    wrong = true;
  }
  sessionStorage.setItem(KEPT_AS, token);
  return token;
}

/** Nobody who looks over a shoulder, or at a screenshot, shall read the secret. */
function hide() {
  window.history.replaceState(null, "", location.pathname);
}

async function isTaken(token) {
  try {
    return (await fetch(TRIED_AT, { headers: { Authorization: `Bearer ${token}` } })).status !== 401;
  } catch {
    return true; // nobody is there who could refuse it: feeds are dialled again until somebody is
  }
}

function asked(wrong) {
  const { promise, resolve } = Promise.withResolvers();
  const field = el("input", { type: "password", id: "token", autocomplete: "off", required: true, pattern: "[A-Za-z0-9._~\\-]+" });
  const form = el("form", { method: "dialog" },
    el("h2", {}, "These peers want a token"),
    wrong ? el("p", { class: "problem", role: "alert" }, "That one is not right.") : null,
    el("p", {}, el("label", { for: "token" }, "The admin token of the ensemble")),
    el("div", { class: "row" }, field, el("button", { class: "main" }, "Open")));
  const dialog = el("dialog", { "aria-label": "Token" }, form);
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.remove();
    resolve(field.value);
  });
  document.body.append(dialog);
  dialog.showModal();
  return promise;
}
