// The tree as it was after any iteration: frames applied one after another.

const ABSENT = -1;

class Replay {
  constructor(data) {
    this.data = data;
    const count = data.nodes.length;
    this.status = new Int8Array(count);
    this.visits = new Int32Array(count);
    this.value = new Float64Array(count);
    this.prefixValue = new Float64Array(count);
    this.result = new Float64Array(count);
    this.own = new Int32Array(count);
    this.closed = new Uint8Array(count);
    this.tree();
    this.history();
    this.show(data.frames.length - 1);
  }

  /** Children, and how large the subtree at each node is (its nodes are the next so many). */
  tree() {
    const { nodes } = this.data;
    this.children = nodes.map(() => []);
    this.size = new Int32Array(nodes.length).fill(1);
    nodes.forEach((node, k) => { if (node.parent >= 0) this.children[node.parent].push(k); });
    for (let k = nodes.length - 1; k > 0; k--) this.size[nodes[k].parent] += this.size[k];
  }

  /** What is true of the whole run: range of values, where each node was evaluated or considered. */
  history() {
    const { nodes, frames } = this.data;
    this.low = Infinity;
    this.high = -Infinity;
    this.most = 1;
    this.lastStatus = new Int8Array(nodes.length);
    this.everProposed = new Uint8Array(nodes.length);
    this.considered = nodes.map(() => []);
    this.evaluated = nodes.map(() => []);
    frames.forEach((frame, at) => {
      for (const [k, status, visits, value] of frame.nodes) {
        this.most = Math.max(this.most, visits);
        this.lastStatus[k] = status;
        if (status === 0) this.everProposed[k] = 1;
        if (value !== null) {
          this.low = Math.min(this.low, value);
          this.high = Math.max(this.high, value);
        }
      }
      frame.picks.forEach((pick, order) => pick.path.forEach((level) => {
        if (level.node !== null) this.considered[level.node].push({ at, order, level });
      }));
      for (const item of frame.evaluations) if (item.node !== null) this.evaluated[item.node].push({ at, ...item });
    });
  }

  show(frame) {
    const { frames } = this.data;
    if (this.frame === undefined || frame < this.frame) {
      this.frame = -1;
      this.status.fill(ABSENT);
      this.visits.fill(0);
      for (const array of [this.value, this.prefixValue, this.result]) array.fill(NaN);
      this.own.fill(0);
      this.closed.fill(0);
    }
    while (this.frame < frame) for (const row of frames[++this.frame].nodes) this.set(row);
  }

  set([k, status, visits, value, prefixValue, result, own, closed]) {
    this.status[k] = status;
    this.visits[k] = visits;
    this.value[k] = value ?? NaN;
    this.prefixValue[k] = prefixValue ?? NaN;
    this.result[k] = result ?? NaN;
    this.own[k] = own;
    this.closed[k] = closed ? 1 : 0;
  }

  /** Numbers of the nodes from `node` up to the root. */
  path(node) {
    const path = [];
    for (let k = node ?? -1; k >= 0; k = this.data.nodes[k].parent) path.push(k);
    return path;
  }

  /** The node at which the path to the best trajectory ends: of the run, or of the iteration shown. */
  best() {
    const { frames, best } = this.data;
    const last = this.frame === frames.length - 1;
    return (last ? best?.end : null) ?? frames[this.frame]?.best?.end ?? null;
  }

  /** The nodes on the way to what the frame shown selected and evaluated. */
  picked() {
    const { picks = [], evaluations = [] } = this.data.frames[this.frame] ?? {};
    const ends = [...picks.map(({ leaf }) => leaf), ...evaluations.map(({ node }) => node)];
    return new Set(ends.flatMap((k) => this.path(k)));
  }

  /** The newest evaluation of a node up to the frame shown. */
  evaluation(node) {
    return this.evaluated[node].filter(({ at }) => at <= this.frame).at(-1) ?? null;
  }

  /** The selections at a node, `candidate` among its children, in the newest frame that has one. */
  selections(node, candidate = null) {
    const known = this.considered[node].filter(({ at, level }) => at <= this.frame
      && (candidate === null || level.children.some(([k]) => k === candidate)));
    return known.filter(({ at }) => at === known.at(-1).at);
  }

  /** The action that leads to a node, in full where the journal has it. */
  action(node) {
    const { nodes, details } = this.data;
    const { parent, action, id } = nodes[node];
    if (parent < 0) return "start";
    const proposal = details[parent].proposals?.[Number(id.slice(id.lastIndexOf(".") + 1))];
    return proposal?.[0] ?? action;
  }
}
