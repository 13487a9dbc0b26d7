// The bar below: looking back over the last minutes, seeing an election again, saving and opening recordings.
import { button, clock, el } from "./dom.js";
import { Player, SPEEDS } from "./player.js";
import { Timeline } from "./timeline.js";
import { framesOf } from "./told.js";
import { electionsOf, isTold } from "../model/elections.js";
import { read, written } from "../model/recording.js";

const RENDER_MS = 100;
const AGAIN_MS = 2000;
const KEYS_MS = { ArrowLeft: -1000, ArrowRight: 1000, PageUp: 10000, PageDown: -10000 };
const FINE_MS = 10; // a step with Shift
const REPLAY_MS = 8000; // an election seen again takes about so long
const LEAD_MS = 30; // at most of the time before and behind it, and half of what it took itself
const LEAD_MIN_MS = 3;
const REVOKE_MS = 1000;

/** The bar; it drives the shown time of the model. */
export function mount(root, { model, feeds, toast }) {
  const slider = el("input", { type: "range", id: "scrub", min: 0, max: 0, value: 0, step: 1, "aria-label": "Time shown" });
  const shown = el("output", { class: "mono num", for: "scrub" });
  const speed = el("select", { id: "speed", "aria-label": "Speed of playing" },
    SPEEDS.map((times) => el("option", { value: times, selected: times === 1 }, `${times}×`)));
  const file = el("input", { type: "file", hidden: true, id: "recording", accept: ".rec", "aria-label": "Recording" });
  const player = new Player(model, () => Number(speed.value));
  const timeline = new Timeline(model);
  const play = button("▶ Play", () => player.toggle(), { id: "play", title: "Play from the shown time on" });
  const live = button("● Live", () => {
    speed.value = 1;
    if (model.recording) location.reload();
    else model.scrub(null);
  }, { id: "live" });
  const replay = button("↺ ", () => again(model, player, speed, toast), {
    id: "replay", title: "See the last election again, slowly", "aria-label": "See the last election again, slowly",
  });
  replay.append(el("span", { class: "wide" }, "Election"));
  const save = button("Save", () => saved(model), { id: "save", title: "Save what is known as a recording" });
  const open = button("Open…", () => file.click(), { id: "open", title: "Open a recording, of a page or of `trioquorum simulate --record`" });
  root.append(
    el("div", { class: "row playing" }, live, play, replay, speed),
    el("div", { class: "track grow" }, timeline.root, slider),
    el("div", { class: "row keeping" }, shown, save, open, file));

  slider.addEventListener("input", () => {
    const wanted_ms = Number(slider.value); // before anything renders the bar anew
    player.stop();
    model.scrub(wanted_ms);
  });
  slider.addEventListener("keydown", (event) => {
    const step_ms = KEYS_MS[event.key];
    if (!step_ms) return;
    event.preventDefault();
    player.stop();
    const [oldest, newest] = model.range();
    const to_ms = model.now_ms + (event.shiftKey ? Math.sign(step_ms) * FINE_MS : step_ms);
    model.scrub(to_ms >= newest ? null : Math.max(oldest, to_ms));
  });
  file.addEventListener("change", () => {
    if (file.files.length) opened(file.files[0], { model, feeds, toast });
    file.value = "";
  });

  const render = () => {
    const [oldest, newest] = model.range();
    if (Number.isFinite(oldest)) {
      slider.min = Math.floor(oldest);
      slider.max = newest;
      slider.value = model.live ? newest : model.now_ms;
    }
    shown.textContent = model.live ? "now" : clock(Math.round(model.now_ms));
    slider.setAttribute("aria-valuetext", shown.textContent);
    play.textContent = player.playing ? "❚❚ Stop" : "▶ Play";
    play.disabled = model.live;
    live.classList.toggle("main", !model.live);
    live.textContent = model.recording ? "✕ Close" : "● Live";
    live.title = model.recording ? "Close the recording: back to live" : "Show what is now";
    save.disabled = model.recording !== null;
    timeline.draw();
  };
  const soon = sparing(render);
  model.addEventListener("change", soon);
  for (const kind of ["time", "loaded"]) model.addEventListener(kind, render);
  player.addEventListener("change", render);
  setInterval(() => timeline.again(), AGAIN_MS);
  render();
}

/** `draw`, at most every `RENDER_MS`; never lost. */
function sparing(draw) {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    setTimeout(() => {
      waits = false;
      draw();
    }, RENDER_MS);
  };
}

/** Play the last election up to the shown time, as slowly as one can follow, and stop behind it. */
function again(model, player, speed, toast) {
  const until_ms = model.live ? Infinity : model.now_ms;
  const known = electionsOf(framesOf(model, isTold, { to_ms: Infinity })).filter(({ began_ms }) => began_ms <= until_ms);
  const election = known.findLast(({ joined }) => !joined) ?? known.at(-1);
  if (!election) return toast("No election is known of in the time that can be looked at.");
  const ended_ms = election.frames.at(-1).wall_ms;
  const lead_ms = Math.min(LEAD_MS, Math.max(LEAD_MIN_MS, (ended_ms - election.began_ms) / 2));
  const from_ms = election.began_ms - lead_ms;
  const to_ms = ended_ms + lead_ms;
  speed.value = SPEEDS.findLast((times) => times <= (to_ms - from_ms) / REPLAY_MS) ?? SPEEDS[0];
  player.stop();
  model.scrub(from_ms);
  player.play(to_ms);
}

function saved(model) {
  const at = new Date().toISOString();
  const address = URL.createObjectURL(new Blob(written(model, `live, ${at}`), { type: "application/octet-stream" }));
  const link = el("a", { href: address, download: `trioquorum-${at.replaceAll(":", "")}.rec` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), REVOKE_MS);
}

/** Show a recording instead of the live ensemble; nothing changes when it is none. */
async function opened(file, { model, feeds, toast }) {
  try {
    const { head, frames } = read(new Uint8Array(await file.arrayBuffer()));
    feeds.stop();
    model.load(head, frames);
  } catch (error) {
    toast(`That file cannot be opened: ${error.message}`);
  }
}
