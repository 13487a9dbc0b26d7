// Puts the page together: feeds into the model, the model into views.
import { Feeds } from "./net/feed.js";
import { Model } from "./model/model.js";
import { tokenFor } from "./net/token.js";
import { el } from "./views/dom.js";
import { mount as picture } from "./views/picture.js";
import { mount as history } from "./views/history.js";
import { mount as controls } from "./views/controls.js";
import { mount as election } from "./views/election.js";
import { mount as charts } from "./views/charts.js";
import { mount as tree } from "./views/tree.js";
import { mount as tasks } from "./views/tasks.js";
import { mount as events } from "./views/events.js";

const TABS = [
  ["election", "Election", election],
  ["charts", "Charts", charts],
  ["tree", "Tree", tree],
  ["tasks", "Tasks", tasks],
  ["events", "Events", events],
];
const TOAST_MS = 6000;
const TICK_MS = 1000;
const ALONE = [{ id: 1, admin: location.origin }]; // a standalone server has no members

function themed() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    const chosen = localStorage.getItem("theme");
    document.documentElement.dataset.theme = chosen ?? (dark.matches ? "dark" : "light");
    dispatchEvent(new Event("theme"));
  };
  dark.addEventListener("change", show);
  document.getElementById("theme").addEventListener("click", () => {
    localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    show();
  });
  show();
}

function toast(text) {
  const shown = el("div", { class: "toast" }, text);
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), TOAST_MS);
}

/** Tabs as a tab list that arrows walk; the chosen one is in the address. */
function tabbed(context) {
  const list = document.getElementById("tabs");
  const panel = document.getElementById("panel");
  const tabs = TABS.map(([name, title, mount]) => {
    const root = el("div", { class: `view view-${name}`, hidden: true });
    panel.append(root);
    const button = el("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "panel" }, title);
    button.addEventListener("click", () => { location.hash = name; });
    list.append(button);
    return { name, root, button, view: mount(root, context) };
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = tabs.findIndex((tab) => tab.button === document.activeElement);
    const next = tabs[(at + step + tabs.length) % tabs.length];
    next.button.focus();
    location.hash = next.name;
  });
  const show = () => {
    const name = location.hash.slice(1);
    const chosen = tabs.find((tab) => tab.name === name) ?? tabs[0];
    for (const tab of tabs) {
      const on = tab === chosen;
      tab.root.hidden = !on;
      tab.button.setAttribute("aria-selected", String(on));
      tab.button.tabIndex = on ? 0 : -1;
      tab.view.shown(on);
    }
    panel.scrollTop = 0;
    panel.setAttribute("aria-labelledby", chosen.button.id);
  };
  addEventListener("hashchange", show);
  show();
}

function summarized(model) {
  const line = document.getElementById("summary");
  let last = "";
  model.addEventListener("change", () => {
    const text = summary(model);
    if (text !== last) line.textContent = last = text;
  });
}

function summary(model) {
  const ids = model.members.length ? model.members.map((member) => member.id) : model.ids();
  const states = ids.map((id) => model.state(id));
  const leader = states.find((state) => state.alive && state.role === "leading" && state.serving);
  const serving = states.filter((state) => state.alive && state.serving).length;
  const when = model.recording ? `Recording: ${model.recording.title}. ` : model.live ? "" : "In the past: ";
  if (!ids.length) return "Connecting…";
  if (leader) return `${when}peer ${leader.id} leads epoch ${leader.epoch}; ${serving} of ${ids.length} peers serve`;
  const alone = states.find((state) => state.role === "standalone");
  if (alone) return `${when}one standalone server`;
  if (states.every((state) => !state.alive)) return `${when}no peer is heard`;
  const looking = states.filter((state) => state.alive && state.role === "looking").length;
  return `${when}no leader; ${looking} of ${ids.length} peers look for one`;
}

async function begin() {
  themed();
  const model = new Model();
  let peersInfo = { self: null, controls: false, token: false, peers: [] };
  try {
    peersInfo = await (await fetch("/peers.json")).json();
  } catch {
    toast("This admin port does not answer; recordings can be opened all the same.");
  }
  const token = peersInfo.token ? await tokenFor() : "";
  const feeds = new Feeds(model, token);
  const context = { model, feeds, peersInfo, token, toast };
  picture(document.getElementById("picture"), context);
  history(document.getElementById("history"), context);
  if (peersInfo.controls) controls(document.getElementById("controls"), context);
  tabbed(context);
  summarized(model);
  feeds.follow(peersInfo.peers.length ? peersInfo.peers : ALONE);
  setInterval(() => model.tick(), TICK_MS);
}

begin();
