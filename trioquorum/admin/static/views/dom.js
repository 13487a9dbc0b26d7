// Elements, made without HTML: text from peers is only ever text.

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 7;

/** An HTML element with attributes (true: present, false or null: absent) and children. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same of SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A button with a click handler. */
export function button(text, clicked, attributes = {}) {
  const made = el("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", clicked);
  return made;
}

/** The custom property that holds the colour of a peer. */
export const colour = (id) => (id > 0 ? `var(--p${((id - 1) % COLOURS) + 1})` : "var(--dim)");

/** Dashes that tell lines of peers apart without colour. */
export const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3], [4, 4], [12, 4], [1, 4]];
export const dash = (id) => DASHES[(id - 1 + DASHES.length) % DASHES.length];

const pad = (number, digits) => String(number).padStart(digits, "0");

/** Time of day with milliseconds; of a simulation, seconds since its beginning. */
export function clock(ms) {
  if (ms < 1e9) return `${(ms / 1000).toFixed(3)} s`;
  const at = new Date(ms);
  return `${pad(at.getHours(), 2)}:${pad(at.getMinutes(), 2)}:${pad(at.getSeconds(), 2)}.${pad(at.getMilliseconds(), 3)}`;
}

/** Call `render` on changes of the model while shown, and when it becomes shown. */
export function whileShown(model, render, kinds = ["change", "time", "loaded"]) {
  let on = false;
  const maybe = () => { if (on) render(); };
  for (const kind of kinds) model.addEventListener(kind, maybe);
  return {
    shown(visible) {
      on = visible;
      maybe();
    },
  };
}
