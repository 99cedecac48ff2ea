// The budget's curve: the best so far and one cost, over the iterations, as steps.

const SVG = "http://www.w3.org/2000/svg";
const EDGE = 8; // half a slider's thumb, so that plot and slider share their scale
const TICKS = 44; // room for the labels on the right

function svg(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

class Curve {
  /** @param {(frame: number) => void} go Called with the iteration that is clicked. */
  constructor(place, look, go) {
    this.place = place;
    this.look = look;
    this.at = 0;
    new ResizeObserver(() => this.draw()).observe(place);
    place.addEventListener("pointerdown", (event) => go(this.frameAt(event)));
    place.addEventListener("pointermove", (event) => { if (event.buttons) go(this.frameAt(event)); });
  }

  frameAt(event) {
    const inner = this.place.clientWidth - TICKS - 2 * EDGE;
    const part = (event.clientX - this.place.getBoundingClientRect().left - EDGE) / inner;
    return Math.round(Math.min(1, Math.max(0, part)) * (this.values.length - 1));
  }

  /** @param {(number|null)[]} values One an iteration; null where there is none yet. */
  show(values, name) {
    this.values = values;
    this.name = name;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.place;
    if (!this.values || !width) return;
    const known = this.values.filter((value) => value !== null && value !== undefined);
    const low = Math.min(...known, this.look === "cost" ? 0 : Infinity);
    const high = Math.max(...known);
    const last = Math.max(1, this.values.length - 1);
    this.x = (frame) => EDGE + frame / last * (width - TICKS - 2 * EDGE);
    this.y = (value) => (high > low ? height - 8 - (value - low) / (high - low) * (height - 16) : height / 2);
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": this.summary(known) });
    if (known.length) {
      for (const value of new Set([low, high])) {
        drawing.append(
          svg("line", { class: "grid", x1: EDGE, x2: width - TICKS, y1: this.y(value), y2: this.y(value) }),
          svg("text", { x: width - TICKS + 6, y: this.y(value) + 3.5 }, compact(value)));
      }
      const { line, area } = this.steps(height);
      drawing.append(svg("path", { class: `area ${this.look}`, d: area }), svg("path", { class: `line ${this.look}`, d: line }));
    }
    this.cursor = svg("line", { class: "cursor", y1: 0, y2: height });
    this.dot = svg("circle", { r: 3.5 });
    drawing.append(this.cursor, this.dot);
    this.place.replaceChildren(drawing);
    this.point(this.at);
  }

  steps(height) {
    let line = "";
    let begun = null;
    this.values.forEach((value, frame) => {
      if (value === null || value === undefined) return;
      line += begun === null ? `M${this.x(frame)} ${this.y(value)}` : `H${this.x(frame)}V${this.y(value)}`;
      begun ??= frame;
    });
    return { line, area: `${line}V${height - 4}H${this.x(begun)}Z` };
  }

  summary(known) {
    if (!known.length) return `${this.name}: nothing recorded`;
    return `${this.name} over iterations, from ${figure(known[0])} to ${figure(known.at(-1))}`;
  }

  point(frame) {
    this.at = frame;
    if (!this.cursor) return;
    const value = this.values[frame];
    const known = value !== null && value !== undefined;
    for (const name of ["x1", "x2"]) this.cursor.setAttribute(name, this.x(frame));
    // Out of the plot is not out of sight: the drawing overflows, so that its labels are whole.
    this.dot.setAttribute("visibility", known ? "visible" : "hidden");
    this.dot.setAttribute("cx", this.x(frame));
    if (known) this.dot.setAttribute("cy", this.y(value));
  }
}

/** A number in few characters: 12k, 0.51. */
function compact(value) {
  return new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 })
    .format(value).replace("-", "\u2212");
}
