// The clicked node: what was seen there, what was proposed, how it was chosen, what came of it.

class NodePanel {
  constructor(pane, replay, seen, select) {
    Object.assign(this, { pane, replay, seen, select, data: replay.data });
  }

  show(node) {
    const { pane } = this;
    if (node === null) {
      pane.replaceChildren(make("p", { class: "hint" }, "Click a node of the tree, or walk there with the arrow keys."));
      return;
    }
    const before = pane.dataset.node === String(node) ? pane.scrollTop : 0;
    pane.dataset.node = node;
    pane.replaceChildren(...[
      this.crumbs(node),
      make("h2", { dir: "auto" }, this.replay.action(node)),
      this.figures(node),
      ...this.errors(node),
      ...this.observed(node),
      ...this.proposals(node),
      ...this.scores(node),
      ...this.rollout(node),
      ...this.reflections(node),
    ].filter(Boolean));
    pane.scrollTop = before;
  }

  /** The actions on the way here. */
  crumbs(node) {
    const path = this.replay.path(node).reverse().slice(0, -1);
    return path.length ? make("ol", { class: "crumbs", "aria-label": "Path" }, ...path.map((k) => make("li", {},
      make("button", { type: "button", class: "link", dir: "auto", onclick: () => this.select(k) }, short(this.replay.action(k), 40))))) : null;
  }

  figures(node) {
    const { replay, data } = this;
    const status = data.statuses[replay.status[node]];
    const last = replay.evaluation(node);
    const known = (value) => (Number.isNaN(value) ? null : figure(value));
    const prior = data.nodes[node].prior;
    return facts([
      ["Status", status ? STATUS_WORDS[status] : "not there yet at this iteration"],
      [capital(data.value_name), known(replay.value[node])],
      ["Visits", data.search && status ? figure(replay.visits[node]) : null],
      ["Prior", node === 0 || prior === null ? null : figure(prior)],
      ["Prefix value V", known(replay.prefixValue[node])],
      ["Own result", data.search ? known(replay.result[node]) : null],
      ["Reward score", data.value_name !== "score" && last?.score !== null && last ? figure(last.score) : null],
      ["Objective", data.search && last?.objective !== null && last ? figure(last.objective) : null],
      ["Finished", data.search && replay.closed[node] ? "yes, nothing open is left below" : null],
    ]);
  }

  errors(node) {
    if (this.replay.status[node] <= 0) return [];
    const known = [...(this.data.details[node].errors ?? []), this.replay.evaluation(node)?.error];
    return [...new Set(known.filter(Boolean))].map((text) => make("p", { class: "error", dir: "auto" }, text));
  }

  observed(node) {
    const { observation } = this.data.details[node];
    const { status } = this.replay;
    if (observation === undefined || (status[node] <= 0 && node > 0)) {
      return status[node] === 0 ? [make("p", { class: "hint" }, "Proposed by the policy, not tried yet at this iteration.")] : [];
    }
    return [make("h3", {}, node ? "What the agent saw then" : "What the agent saw first"), ...this.seen.observation(observation)];
  }

  proposals(node) {
    const { replay, data } = this;
    const children = replay.children[node].filter((k) => replay.status[k] !== ABSENT);
    if (!data.search || !children.length) return [];
    const times = data.details[node].proposals ?? [];
    const rows = children.map((k, place) => ({ cells: [
      this.link(k),
      `${figure(data.nodes[k].prior, 2)}${times[place]?.[2] > 1 ? ` (${times[place][2]}×)` : ""}`,
      figure(replay.visits[k]),
      figure(replay.value[k]),
      data.statuses[replay.status[k]],
    ] }));
    return [
      make("h3", {}, "Proposed actions ", make("small", {}, "what the policy would do next")),
      table(["action", "prior", "visits", "value", "status"], rows),
    ];
  }

  /** How the search chose among the children, or this node among its siblings. */
  scores(node) {
    const { parent } = this.data.nodes[node];
    const own = this.replay.selections(node);
    const here = own.length ? node : parent;
    const selections = own.length || parent < 0 ? own : this.replay.selections(parent, node);
    if (!selections.length) return [];
    const { iteration } = this.data.frames[selections[0].at];
    const title = here === node ? "How it was chosen what to try next" : "How it was chosen among its siblings";
    const tables = selections.map(({ order, level }, k) => {
      const made = this.scoreTable(level, node);
      return selections.length === 1 ? made : fold(`leaf ${order + 1} of this iteration`, () => made, k === 0);
    });
    return [
      make("h3", {}, `${title} `, make("small", {}, `iteration ${figure(iteration)}`)),
      make("p", { class: "hint" }, `The highest total wins: value of what was found so far${this.scaled()} plus a bonus for what was tried little.`),
      ...tables,
    ];
  }

  scaled() {
    const { settings } = this.data;
    return settings.some(([name, value]) => name === "normalisation" && value === "minmax")
      ? " (here from 0, the tree's least, to 1, its best)" : "";
  }

  scoreTable(level, node) {
    const shown = (part) => (part === null ? "∞" : figure(part));
    const rows = level.children.filter(([k]) => k !== null).map(([k, value, bonus, pending]) => ({
      class: [k === level.chosen && "chosen", k === node && "self"].filter(Boolean).join(" ") || undefined,
      cells: [
        this.link(k), figure(value), shown(bonus),
        bonus === null ? "∞" : figure((value ?? 0) + bonus), pending || "",
      ],
    }));
    return table(["action", "value", "bonus", "total", "pending"], rows);
  }

  link(k) {
    return make("button", { type: "button", class: "link", onclick: () => this.select(k) }, short(this.replay.action(k), 120));
  }

  rollout(node) {
    const { rollout, rollout_status: end } = this.data.details[node];
    if (!rollout || this.replay.status[node] <= 0) return [];
    const title = this.data.search ? "Rollout from here" : "Steps";
    const words = `${plural(rollout.length, "step")}, ${STATUS_WORDS[end] ?? end}`;
    if (!rollout.length) return this.data.search ? [] : [make("p", { class: "hint" }, "It took no step.")];
    return [make("h3", {}, `${title} `, make("small", {}, words)), this.seen.steps(rollout)];
  }

  reflections(node) {
    const { reflections = [] } = this.data.details[node];
    return reflections.flatMap((text) => [
      make("h3", {}, "Reflection afterwards ", make("small", {}, "handed to the next attempts")),
      make("p", { class: "said", dir: "auto" }, text),
    ]);
  }
}

const STATUS_WORDS = {
  proposed: "proposed, never tried",
  open: "open: the episode goes on",
  ended: "ended by the environment",
  limit: "stopped by the step limit",
  failed: "failed",
};
