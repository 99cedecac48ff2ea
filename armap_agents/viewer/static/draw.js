// One picture of the tree. Nodes and edges of one look share a path, so that thousands stay cheap,
// and what lies outside the window is skipped.
//
// Places are in pixels of the window: rows and columns are scaled apart, so that a tall tree still
// fills the width, and signs and letters never get too small to see.

const SMALLEST = 4;
const LARGEST = 12;
const LEGIBLE = 12; // pixels of a row from which on labels are drawn
const CURVE = 56; // the end of a column in which edges fan out

// Looks of edges that stand out; those below are by visits.
const PICKED = 4;
const BEST = 5;

class Picture {
  /** @param {CanvasRenderingContext2D} context In device pixels. */
  constructor(context, visible, replay) {
    this.context = context;
    this.visible = visible;
    this.replay = replay;
    this.most = replay.most;
    this.handles = new Map();
    this.drawn = 0;
  }

  /** @param scene { at: {x, y, k}, wide, width, height, ratio, theme, selected, hovered }. */
  draw(scene) {
    const { context, replay } = this;
    this.scene = scene;
    this.best = new Set(replay.path(replay.best()));
    this.picked = replay.picked();
    this.sign = Math.min(1.4, Math.max(scene.at.k, 0.3));
    this.legible = scene.at.k * ROW >= LEGIBLE;
    this.handles.clear();
    context.setTransform(scene.ratio, 0, 0, scene.ratio, 0, 0);
    context.clearRect(0, 0, scene.width, scene.height);
    const shown = this.shown();
    this.edges();
    if (this.legible) this.labels(shown);
    this.nodes(shown);
    this.drawn = shown.length;
  }

  present(k) {
    return this.replay.status[k] !== ABSENT;
  }

  x(k) {
    return this.visible.x[k] * this.scene.wide + this.scene.at.x;
  }

  y(k) {
    return this.visible.y[k] * this.scene.at.k + this.scene.at.y;
  }

  /** Radius by visits, the area in proportion. */
  radius(k) {
    const visits = this.replay.visits[k];
    const share = this.replay.data.search ? Math.sqrt((visits - 1) / Math.max(1, this.most - 1)) : 0.3;
    return Math.max(1.3, this.sign * (visits ? SMALLEST + (LARGEST - SMALLEST) * share : 3.2));
  }

  /** Nodes inside the window. */
  shown() {
    const { width, height, wide } = this.scene;
    const column = this.visible.column * wide;
    return this.visible.order.filter((k) => {
      const [x, y] = [this.x(k), this.y(k)];
      return this.present(k) && x >= -column && x <= width + column && y >= -ROW && y <= height + ROW;
    });
  }

  edges() {
    const { context, scene: { theme, at } } = this;
    const thin = Math.min(1, Math.max(0.6, at.k));
    const looks = [
      { colour: theme.line, width: 1, path: new Path2D() },
      { colour: theme.edge, width: 1.2, path: new Path2D() },
      { colour: theme.edge, width: 2.2, path: new Path2D() },
      { colour: theme.edge, width: 3.6, path: new Path2D() },
      { colour: theme.now, width: 5.5, alpha: 0.4, path: new Path2D() },
      { colour: theme.accent, width: 2.6, path: new Path2D() },
    ];
    for (const parent of this.visible.order) if (this.present(parent)) this.fan(looks, parent);
    for (const { colour, width, alpha, path } of looks) {
      context.globalAlpha = alpha ?? 1;
      this.stroke(path, colour, width * thin);
    }
    context.globalAlpha = 1;
  }

  /** The edges to a node's children: one stem for each look, which the label stands on, and curves. */
  fan(looks, parent) {
    const stems = new Set();
    for (const child of this.visible.children[parent]) {
      if (!this.present(child) || !this.crosses(parent, child)) continue;
      const found = [this.lookOf(child)];
      if (this.picked.has(child)) found.push(PICKED);
      for (const look of found) {
        this.curve(looks[look].path, parent, child);
        stems.add(look);
      }
    }
    for (const look of stems) {
      looks[look].path.moveTo(this.x(parent) + this.radius(parent), this.y(parent));
      looks[look].path.lineTo(this.fork(parent), this.y(parent));
    }
  }

  lookOf(child) {
    if (this.best.has(child)) return BEST;
    if (this.replay.status[child] === 0) return 0;
    const share = this.replay.visits[child] / this.most;
    return share < 0.1 ? 1 : share < 0.4 ? 2 : 3;
  }

  crosses(parent, child) {
    const { width, height } = this.scene;
    const [from, to] = [this.y(parent), this.y(child)];
    return this.x(child) > 0 && this.x(parent) < width && Math.max(from, to) > 0 && Math.min(from, to) < height;
  }

  /** Where the edges to a node's children part. */
  fork(k) {
    const { visible, scene: { wide } } = this;
    return this.x(k) + visible.column * wide - CURVE * Math.min(1, wide);
  }

  curve(path, parent, child) {
    const [fork, end] = [this.fork(parent), this.x(child) - this.radius(child)];
    const [from, to] = [this.y(parent), this.y(child)];
    const half = (fork + end) / 2;
    path.moveTo(fork, from);
    if (Math.abs(to - from) < 2) path.lineTo(end, to);
    else path.bezierCurveTo(half, from, half, to, end, to);
  }

  nodes(shown) {
    const { context, replay, scene: { theme, selected, hovered } } = this;
    const filled = new Map();
    const outline = new Path2D();
    const empty = new Path2D();
    const crosses = new Path2D();
    const rings = new Path2D();
    for (const k of shown) {
      const name = replay.data.statuses[replay.status[k]];
      if (name === "failed") this.cross(crosses, k);
      else if (name === "proposed") this.circle(empty, k, 0);
      else {
        const look = this.look(k);
        if (!filled.has(look)) filled.set(look, new Path2D());
        for (const path of [filled.get(look), outline]) {
          if (name === "limit") this.square(path, k);
          else this.circle(path, k, 0);
        }
        if (name === "ended" && this.legible) this.circle(outline, k, 2.5);
      }
      if (replay.data.search && this.picked.has(k) && replay.evaluated[k].some(({ at }) => at === replay.frame)) {
        this.circle(rings, k, 5);
      }
    }
    for (const [look, path] of filled) this.fill(path, look);
    this.fill(empty, theme.ground);
    this.stroke(empty, theme.faint, 1);
    context.globalAlpha = 0.6;
    if (this.legible) this.stroke(outline, theme.ink, 1);
    context.globalAlpha = 1;
    this.stroke(crosses, theme.bad, Math.max(1, 2.4 * this.sign));
    this.stroke(rings, theme.now, 2);
    this.mark(hovered, theme.quiet, 1.5);
    this.mark(selected, theme.ink, 2.2);
    this.star(replay.best());
  }

  look(k) {
    const { value, low, high } = this.replay;
    return Number.isNaN(value[k]) ? this.scene.theme.sheet : SHADE[shadeNumber(value[k], low, high)];
  }

  fill(path, colour) {
    this.context.fillStyle = colour;
    this.context.fill(path);
  }

  stroke(path, colour, width) {
    this.context.strokeStyle = colour;
    this.context.lineWidth = width;
    this.context.stroke(path);
  }

  circle(path, k, wider) {
    const r = this.radius(k) + wider;
    if (r < 2) return this.square(path, k); // nobody can tell, and it is much cheaper
    path.moveTo(this.x(k) + r, this.y(k));
    return path.arc(this.x(k), this.y(k), r, 0, 2 * Math.PI);
  }

  square(path, k) {
    const r = this.radius(k) * 0.95;
    path.rect(this.x(k) - r, this.y(k) - r, 2 * r, 2 * r);
  }

  cross(path, k) {
    const [x, y, r] = [this.x(k), this.y(k), 4 * this.sign];
    path.moveTo(x - r, y - r);
    path.lineTo(x + r, y + r);
    path.moveTo(x + r, y - r);
    path.lineTo(x - r, y + r);
  }

  /** A ring around one node. */
  mark(k, colour, width) {
    if (!this.isDrawn(k)) return;
    const path = new Path2D();
    this.circle(path, k, 4.5);
    this.stroke(path, colour, width);
  }

  isDrawn(k) {
    return k !== null && this.visible.children[k] !== undefined && this.present(k);
  }

  star(k) {
    if (!this.isDrawn(k)) return;
    const size = 8;
    const [x, y] = [this.x(k) - this.radius(k) - size - 1, this.y(k)];
    const path = new Path2D();
    for (let point = 0; point < 10; point++) {
      const r = point % 2 ? size * 0.42 : size;
      path.lineTo(x + r * Math.sin(point * Math.PI / 5), y - r * Math.cos(point * Math.PI / 5));
    }
    path.closePath();
    this.stroke(path, this.scene.theme.ground, 3);
    this.fill(path, this.scene.theme.accent);
  }

  /** Actions beside the nodes: above the stem where children follow, else in line. */
  labels(shown) {
    const { context, replay, visible, scene: { theme, at, wide } } = this;
    const size = Math.min(14, Math.max(10, 11.5 * at.k));
    context.font = `${size}px ${theme.code}`;
    context.textBaseline = "middle";
    const advance = context.measureText("mmmmmmmmmm").width / 10;
    for (const k of shown) {
      const stem = visible.children[k].some((child) => this.present(child));
      const hidden = visible.hidden(k);
      const from = this.x(k) + this.radius(k) + 8;
      const end = stem ? this.fork(k) : this.x(k) + visible.column * wide - 16;
      const pill = hidden ? (String(hidden).length + 2) * advance + 8 : 0;
      const text = short(replay.data.nodes[k].action || "start", Math.floor((end - from - pill) / advance));
      const plain = replay.status[k] > 0 ? theme.quiet : theme.faint;
      context.fillStyle = this.best.has(k) || k === this.scene.selected ? theme.ink : plain;
      context.fillText(text, from, this.y(k) + (stem ? -size * 0.7 : 0.5));
      if (hidden) this.pill(k, from + text.length * advance + 6, `+${hidden}`, advance, size);
      else if (stem) this.dot(k);
    }
  }

  /** The handle that unfolds a node, with how many it hides. */
  pill(k, x, text, advance, size) {
    const { context, scene: { theme } } = this;
    const [width, height] = [text.length * advance + 8, size + 4];
    const path = new Path2D();
    path.roundRect(x, this.y(k) - height / 2, width, height, height / 2);
    this.fill(path, theme.line);
    context.fillStyle = theme.ink;
    context.fillText(text, x + 4, this.y(k) + 0.5);
    this.handles.set(k, { left: x - 2, right: x + width + 2 });
  }

  /** The handle that folds a node, where its edges part. */
  dot(k) {
    const x = this.fork(k);
    const path = new Path2D();
    path.arc(x, this.y(k), k === this.scene.hovered ? 4 : 2.4, 0, 2 * Math.PI);
    this.fill(path, this.best.has(k) && this.visible.children[k].some((c) => this.best.has(c))
      ? this.scene.theme.accent : this.scene.theme.edge);
    this.handles.set(k, { left: x - 7, right: x + 7 });
  }
}
