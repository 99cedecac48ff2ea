// The window onto the tree: pan, zoom, fit, and which node lies under the pointer.

const CLOSEST = 3;

class TreeCanvas {
  /** @param told { select(node), toggle(node) }. */
  constructor(canvas, tip, visible, replay, told) {
    Object.assign(this, { canvas, tip, visible, replay, told });
    this.picture = new Picture(canvas.getContext("2d"), visible, replay);
    this.at = { x: 0, y: 0, k: 1 };
    this.selected = null;
    this.hovered = null;
    this.pointers = new Map();
    this.theme = readTheme();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.theme = readTheme();
      this.redraw();
    });
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.resize();
    this.listen();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    this.ratio = window.devicePixelRatio || 1;
    this.width = clientWidth;
    this.height = clientHeight;
    this.canvas.width = Math.round(clientWidth * this.ratio);
    this.canvas.height = Math.round(clientHeight * this.ratio);
    this.draw();
  }

  redraw() {
    this.waiting ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.waiting = undefined;
    const { at, width, height, ratio, theme, selected, hovered } = this;
    this.picture.draw({ at, wide: this.wide(at.k), width, height, ratio, theme, selected, hovered });
  }

  /** Scale of columns at scale `k` of rows: at least so large that the tree fills the width. */
  wide(k) {
    const { left, right } = this.visible.bounds;
    return Math.max(k, Math.min(1, (this.width - 40) / (right - left)));
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      this.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.up(event));
    canvas.addEventListener("pointerleave", () => this.hover(null));
    canvas.addEventListener("dblclick", (event) => {
      const node = this.hit(event.offsetX, event.offsetY);
      if (node !== null) this.told.toggle(node);
    });
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    this.moved = this.pointers.size > 1 ? Infinity : 0;
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return this.hover(this.hit(event.offsetX, event.offsetY), event);
    const [dx, dy] = [event.offsetX - before.x, event.offsetY - before.y];
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.moved += Math.hypot(dx, dy);
    if (other) {
      const apart = Math.hypot(before.x - other.x, before.y - other.y) || 1;
      this.zoom(Math.hypot(event.offsetX - other.x, event.offsetY - other.y) / apart, other.x, other.y);
    } else if (this.moved > 3) {
      this.canvas.classList.add("dragged");
      this.stop();
      this.at = { ...this.at, x: this.at.x + dx, y: this.at.y + dy };
      this.redraw();
    }
    Object.assign(before, { x: event.offsetX, y: event.offsetY });
    return undefined;
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    this.canvas.classList.remove("dragged");
    if (event.type !== "pointerup" || this.moved > 3) return;
    const node = this.hit(event.offsetX, event.offsetY);
    if (node === null) return;
    if (this.onHandle(node, event.offsetX)) this.told.toggle(node);
    else this.told.select(node);
  }

  hover(node, event) {
    this.canvas.classList.toggle("over", node !== null);
    this.tip.hidden = node === null;
    if (node !== null) this.showTip(node, event);
    if (node !== this.hovered) {
      this.hovered = node;
      this.redraw();
    }
  }

  showTip(node, { offsetX, offsetY }) {
    this.tip.replaceChildren(
      make("div", { class: "action", dir: "auto" }, short(this.replay.action(node), 300)),
      make("div", { class: "more" }, this.inWords(node)));
    const left = Math.min(offsetX + 14, this.width - this.tip.offsetWidth - 8);
    const above = offsetY + 18 + this.tip.offsetHeight > this.height;
    this.tip.style.left = `${Math.max(4, left)}px`;
    this.tip.style.top = `${above ? offsetY - this.tip.offsetHeight - 12 : offsetY + 18}px`;
  }

  /** Status, visits and value of a node in a few words. */
  inWords(node) {
    const { status, visits, value, data } = this.replay;
    const words = [data.statuses[status[node]] ?? "not there yet"];
    if (visits[node]) words.push(plural(visits[node], "visit"));
    if (!Number.isNaN(value[node])) words.push(`${data.value_name} ${figure(value[node])}`);
    const hidden = this.visible.hidden(node);
    if (hidden) words.push(`${plural(hidden, "node")} folded`);
    return words.join(", ");
  }

  /** The node under a point of the window, its label included; null where there is none. */
  hit(px, py) {
    const { picture } = this;
    const rows = Math.max(7, this.at.k * ROW / 2.2);
    let [found, nearest] = [null, Infinity];
    for (const k of this.visible.order) {
      const dy = Math.abs(py - picture.y(k));
      if (dy > LARGEST + 10 || !picture.present(k)) continue;
      const dx = px - picture.x(k);
      const onSign = Math.hypot(dx, dy) <= picture.radius(k) + 5;
      const onLabel = picture.legible && dx > 0 && px <= this.labelEnd(k) && dy <= rows;
      const distance = dy + Math.abs(dx) / 50;
      if ((onSign || onLabel) && distance < nearest) [found, nearest] = [k, distance];
    }
    return found;
  }

  labelEnd(k) {
    return this.picture.handles.get(k)?.right ?? this.picture.fork(k);
  }

  /** Whether a point is on the handle that folds or unfolds a node. */
  onHandle(node, px) {
    const handle = this.picture.handles.get(node);
    return handle !== undefined && px >= handle.left && px <= handle.right;
  }

  stop() {
    cancelAnimationFrame(this.gliding);
  }

  zoom(factor, px = this.width / 2, py = this.height / 2) {
    this.stop();
    const { x, y, k } = this.at;
    const to = Math.min(CLOSEST, Math.max(this.fitted().k / 1.5, k * factor));
    this.at = { k: to, x: px - (px - x) * this.wide(to) / this.wide(k), y: py - (py - y) * to / k };
    this.redraw();
  }

  /** The view that holds the whole tree. */
  fitted() {
    const { left, right, top, bottom } = this.visible.bounds;
    const k = Math.min(1.3, (this.width - 40) / (right - left), (this.height - 90) / (bottom - top + ROW));
    const wide = this.wide(k);
    return { k, x: (this.width - (left + right) * wide) / 2 + 12, y: (this.height - 46 - (top + bottom) * k) / 2 };
  }

  /** Where a reader begins: the whole tree if it is legible so, else its root. */
  begin() {
    const whole = this.fitted();
    const k = LEGIBLE / ROW;
    this.at = whole.k >= k ? whole : { k: k * 1.2, x: 40, y: this.height * 0.45 - this.visible.y[0] * k * 1.2 };
    this.redraw();
  }

  fit() {
    this.glide(this.fitted());
  }

  /** Moves a node into the window if it is not well inside. */
  show(node) {
    const { k } = this.at;
    const [x, y, wide] = [this.visible.x[node], this.visible.y[node], this.wide(k)];
    const [px, py] = [x * wide + this.at.x, y * k + this.at.y];
    const inside = px > 30 && px < this.width - Math.min(this.width / 3, 160) && py > 40 && py < this.height - 60;
    if (inside) this.redraw();
    else this.glide({ k, x: this.width * 0.45 - x * wide, y: this.height * 0.45 - y * k });
  }

  /** Where a node is in the window, in pixels of the page's viewport. */
  place(node) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return { x: left + this.picture.x(node), y: top + this.picture.y(node) };
  }

  /** Keeps a node where it is on the screen while the tree is laid out anew. */
  hold(node, change) {
    const place = () => [this.visible.x[node] * this.wide(this.at.k), this.visible.y[node] * this.at.k];
    const [x, y] = place();
    change();
    const [newX, newY] = place();
    this.at = { ...this.at, x: this.at.x + x - newX, y: this.at.y + y - newY };
    this.redraw();
  }

  glide(to) {
    this.stop();
    const from = this.at;
    const begun = performance.now();
    const length = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 220;
    const step = (time) => {
      const part = length ? Math.min(1, Math.max(0, (time - begun) / length)) : 1;
      const ease = 1 - (1 - part) ** 3;
      const mix = (name) => from[name] + (to[name] - from[name]) * ease;
      this.at = { x: mix("x"), y: mix("y"), k: mix("k") };
      this.draw();
      if (part < 1) this.gliding = requestAnimationFrame(step);
    };
    step(length ? begun : 0);
  }
}
