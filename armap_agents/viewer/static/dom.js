// Making elements. Text from a run reaches the page through textContent alone, never as markup.

/** Returns a new element: `make("p", { class: "hint" }, "text", otherElement, …)`. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const byId = (id) => document.getElementById(id);

/** A number as people read it: 1,234 or 0.123; – where there is none. */
function figure(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const places = Number.isInteger(value) ? 0 : digits;
  const shown = value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
  return shown.replace("-", "\u2212");
}

const plural = (count, noun) => `${figure(count)} ${noun}${count === 1 ? "" : "s"}`;

const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);

const duration = (seconds) =>
  seconds < 120 ? `${figure(seconds, 1)} s` : seconds < 7200
    ? `${figure(seconds / 60, 1)} min` : `${figure(seconds / 3600, 1)} h`;

/** `text` cut to `length` characters, on one line. */
function short(text, length) {
  const flat = text.replace(/\s+/g, " ").trim();
  return flat.length <= length ? flat : `${flat.slice(0, Math.max(1, length - 1))}…`;
}

/** A table of rows of cells; a row is { cells, class } and a first cell may be an element. */
function table(head, rows, caption) {
  const line = ({ cells, class: name }) =>
    make("tr", { class: name }, ...cells.map((cell) => make("td", { dir: "auto" }, cell)));
  return make("div", { class: "scroll" }, make("table", {},
    caption && make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows.map(line))));
}

/** A list of terms and what they are; terms without a value are left out. */
function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("dl", { class: "facts" }, ...known.flatMap(([name, value]) =>
    [make("dt", {}, name), make("dd", { dir: "auto" }, value)]));
}
