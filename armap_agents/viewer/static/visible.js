// Which nodes are drawn and where: folded subtrees and filtered statuses are left out.
//
// Places come from the whole run, not from the iteration shown, so that the tree grows in place
// while it is replayed.

const ROW = 28;

class Visible {
  constructor(data, replay) {
    this.data = data;
    this.replay = replay;
    this.folded = new Uint8Array(data.nodes.length);
    this.statuses = new Set(data.statuses.keys());
    const longest = data.nodes.reduce((most, node) => Math.max(most, Math.min(30, node.action.length)), 5);
    this.column = Math.round(longest * 6.7 + 84);
    this.update();
  }

  passes(node) {
    const { lastStatus, everProposed } = this.replay;
    return this.statuses.has(lastStatus[node]) || (everProposed[node] === 1 && this.statuses.has(0));
  }

  /** Lays the shown nodes out anew. */
  update() {
    const { nodes } = this.data;
    const count = nodes.length;
    const kept = new Int32Array(count); // kept nodes in the subtree
    for (let k = count - 1; k >= 0; k--) {
      if (kept[k] || this.passes(k) || k === 0) kept[k]++;
      if (k > 0) kept[nodes[k].parent] += kept[k];
    }
    this.below = kept;
    this.order = [];
    this.children = new Array(count);
    for (let k = 0; k < count; k += this.folded[k] || !kept[k] ? this.replay.size[k] : 1) {
      if (!kept[k]) continue;
      this.order.push(k);
      this.children[k] = this.folded[k] ? [] : this.replay.children[k].filter((child) => kept[child]);
    }
    const row = tidyRows(this.order, this.children, count);
    this.x = Float64Array.from(nodes, (node) => node.depth * this.column);
    this.y = row.map((value) => value * ROW);
    this.bounds = this.measure();
  }

  measure() {
    let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const k of this.order) {
      left = Math.min(left, this.x[k]);
      right = Math.max(right, this.x[k]);
      top = Math.min(top, this.y[k]);
      bottom = Math.max(bottom, this.y[k]);
    }
    return { left, right: right + this.column, top, bottom };
  }

  /** How many nodes a folded node hides. */
  hidden(node) {
    return this.folded[node] ? this.below[node] - 1 : 0;
  }

  canFold(node) {
    return this.replay.children[node].some((child) => this.below[child] > 0);
  }

  toggle(node) {
    if (!this.canFold(node)) return;
    this.folded[node] = this.folded[node] ? 0 : 1;
    this.update();
  }

  unfoldAll() {
    this.folded.fill(0);
    this.update();
  }

  /** Makes a node shown that lies in folded subtrees. */
  reveal(node) {
    const folded = this.replay.path(node).slice(1).filter((k) => this.folded[k]);
    for (const k of folded) this.folded[k] = 0;
    if (folded.length) this.update();
    return folded.length > 0;
  }

  /** Unfolds the best path, then the most visited nodes, as long as about `rows` rows suffice. */
  showMainBranches(rows) {
    const { children, visits, path, best } = {
      children: this.replay.children.map((own) => own.filter((child) => this.below[child])),
      visits: this.finalVisits(),
      path: (node) => this.replay.path(node),
      best: this.data.best?.end,
    };
    this.folded.fill(1);
    let shown = 1;
    const open = (node) => {
      if (!this.folded[node]) return;
      this.folded[node] = 0;
      shown += Math.max(0, children[node].length - 1);
      waiting.push(...children[node]);
    };
    const waiting = [];
    for (const node of [0, ...path(best).reverse().slice(0, -1)]) open(node);
    while (waiting.length) {
      waiting.sort((a, b) => visits[a] - visits[b]);
      const node = waiting.pop();
      if (shown + children[node].length - 1 <= rows) open(node);
    }
    this.data.nodes.forEach((_, k) => { if (!children[k].length) this.folded[k] = 0; });
    this.update();
  }

  finalVisits() {
    const visits = new Int32Array(this.data.nodes.length);
    for (const frame of this.data.frames) for (const row of frame.nodes) visits[row[0]] = row[2];
    return visits;
  }
}
