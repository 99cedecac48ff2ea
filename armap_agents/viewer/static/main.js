// Puts the page together: one iteration is shown, one node is selected, everything follows.

function start() {
  const data = JSON.parse(byId("data").textContent);
  showHeader(data);
  const replay = new Replay(data);
  const seen = new Seen(data);
  if (!data.nodes.length) {
    showRun(byId("pane-run"), data, seen, () => {});
    return;
  }
  const page = new Page(data, replay, seen);
  // For whoever looks closer: in the console, armapTrace.data is the whole document.
  globalThis.armapTrace = page;
}

class Page {
  constructor(data, replay, seen) {
    Object.assign(this, { data, replay });
    this.selected = null;
    this.visible = new Visible(data, replay);
    this.hideTheUntried();
    this.visible.showMainBranches(40);
    const select = (node) => this.select(node);
    this.tree = new TreeCanvas(byId("canvas"), byId("tip"), this.visible, replay, {
      select: (node) => this.select(node, false), toggle: (node) => this.toggle(node),
    });
    this.panel = new NodePanel(byId("pane-node"), replay, seen, select);
    this.timeline = new Timeline(replay, (frame) => this.showFrame(frame));
    showLegend(data, replay);
    showRun(byId("pane-run"), data, seen, select);
    this.panel.show(null);
    this.tabs();
    this.filters();
    this.buttons();
    this.keys();
    this.timeline.say(replay.frame);
    this.tree.begin();
  }

  /** Of a large search the proposals that were never tried are left out at first. */
  hideTheUntried() {
    const { lastStatus } = this.replay;
    const untried = lastStatus.filter((status) => status === 0).length;
    if (untried > 80) this.visible.statuses.delete(0);
    this.visible.update();
  }

  showFrame(frame) {
    this.replay.show(frame);
    this.timeline.say(frame);
    this.tree.redraw();
    this.countStatuses();
    if (this.selected !== null) this.panel.show(this.selected);
  }

  /** Shows a node's details; `move` brings it into the window. */
  select(node, move = true) {
    this.selected = this.tree.selected = node;
    this.visible.reveal(node);
    this.showFilterFor(node);
    this.panel.show(node);
    this.openTab("node");
    if (move) this.tree.show(node);
    else this.tree.redraw();
    byId("spoken").textContent = `${this.replay.action(node)}: ${this.tree.inWords(node)}`;
  }

  /** A node that a filter hides is shown when it is asked for. */
  showFilterFor(node) {
    if (this.visible.below[node] > 0) return;
    this.visible.statuses.add(this.replay.lastStatus[node]);
    this.refilter();
  }

  toggle(node) {
    this.tree.hold(node, () => this.visible.toggle(node));
    byId("spoken").textContent = this.tree.inWords(node);
  }

  tabs() {
    for (const name of ["run", "node"]) {
      byId(`tab-${name}`).addEventListener("click", () => this.openTab(name));
      byId(`tab-${name}`).addEventListener("keydown", (event) => {
        if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
        const other = name === "run" ? "node" : "run";
        this.openTab(other);
        byId(`tab-${other}`).focus();
      });
    }
    this.openTab("run");
  }

  openTab(open) {
    for (const name of ["run", "node"]) {
      byId(`tab-${name}`).setAttribute("aria-selected", String(name === open));
      byId(`tab-${name}`).tabIndex = name === open ? 0 : -1;
      byId(`pane-${name}`).hidden = name !== open;
    }
  }

  filters() {
    this.chips = this.data.statuses.map((name, status) => {
      const sign = make("canvas", { "aria-hidden": "true" });
      const count = make("span", { class: "count" });
      const chip = make("button", { type: "button", title: STATUS_WORDS[name] }, sign, make("span", { class: "name" }, name), count);
      chip.addEventListener("click", () => {
        const { statuses } = this.visible;
        if (!statuses.delete(status)) statuses.add(status);
        this.refilter();
      });
      paintStatus(sign, name, readTheme());
      return { chip, count, sign, name, status };
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const { sign, name } of this.chips) paintStatus(sign, name, readTheme());
    });
    byId("filters").append(...this.chips.map(({ chip }) => chip));
    this.countStatuses();
  }

  refilter() {
    this.tree.hold(0, () => this.visible.update());
    this.countStatuses();
  }

  /** Says on each filter how many nodes have its status in the iteration shown; a root counts if it failed. */
  countStatuses() {
    const counts = new Array(this.data.statuses.length).fill(0);
    this.replay.status.forEach((status, k) => {
      if (status >= 0 && (k > 0 || this.data.statuses[status] === "failed")) counts[status]++;
    });
    for (const { chip, count, name, status } of this.chips) {
      const on = this.visible.statuses.has(status);
      chip.setAttribute("aria-pressed", String(on));
      chip.setAttribute("aria-label", `${name}: ${plural(counts[status], "node")}`);
      chip.hidden = !this.replay.everProposed.some(Boolean) && status === 0;
      count.textContent = figure(counts[status]);
    }
  }

  buttons() {
    const lay = (change) => () => {
      change();
      this.tree.fit();
    };
    byId("branches").addEventListener("click", lay(() => this.visible.showMainBranches(40)));
    byId("unfold").addEventListener("click", lay(() => this.visible.unfoldAll()));
    byId("fit").addEventListener("click", () => this.tree.fit());
    byId("closer").addEventListener("click", () => this.tree.zoom(1.3));
    byId("farther").addEventListener("click", () => this.tree.zoom(1 / 1.3));
    for (const id of ["branches", "unfold"]) byId(id).hidden = !this.data.search;
  }

  keys() {
    const here = () => this.selected ?? 0;
    listenToTree(byId("canvas"), {
      walk: (key) => {
        const next = this.selected === null ? 0 : neighbour(this.visible, this.replay, here(), key);
        if (next !== null) this.select(next);
      },
      toggle: () => this.toggle(here()),
      home: () => this.select(0),
      best: () => { const best = this.replay.best(); if (best !== null) this.select(best); },
      fit: () => this.tree.fit(),
      zoom: (factor) => this.tree.zoom(factor),
    });
    listenEverywhere({ play: () => this.timeline.toggle(), step: (by) => this.timeline.step(by) });
  }
}

start();
