// The replay: slider, play and pause, what happened in the iteration shown, the curves.

const COSTS = {
  completions: "completions",
  tokens: "tokens",
  rollouts: "rollouts",
  environment_steps: "environment steps",
  seconds: "seconds",
  clock: "seconds on the clock",
};

const PLAY_SIGN = "M4 2.5v11L13.5 8z";
const PAUSE_SIGN = "M4 3h3v10H4zM9 3h3v10H9z";

class Timeline {
  /** @param {(frame: number) => void} show Shows an iteration everywhere. */
  constructor(replay, show) {
    Object.assign(this, { replay, show, frames: replay.data.frames });
    this.last = Math.max(0, this.frames.length - 1);
    this.slider = byId("slider");
    this.slider.max = this.last;
    this.slider.disabled = this.last === 0;
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    byId("first").addEventListener("click", () => this.go(0));
    byId("before").addEventListener("click", () => this.step(-1));
    byId("after").addEventListener("click", () => this.step(1));
    byId("play").addEventListener("click", () => this.toggle());
    this.curves();
  }

  curves() {
    const { data } = this.replay;
    const go = (frame) => this.go(frame);
    this.best = new Curve(byId("best-plot"), "best", go);
    this.cost = new Curve(byId("cost-plot"), "cost", go);
    byId("best-name").textContent = data.search ? "best objective" : `best ${data.value_name}`;
    this.best.show(this.frames.map(({ best }) => best?.objective ?? best?.score ?? null), byId("best-name").textContent);
    const select = byId("cost");
    for (const [name, words] of Object.entries(COSTS)) {
      const shown = name === "seconds" && !data.search ? "seconds in rollouts" : words;
      select.append(make("option", { value: name }, shown));
    }
    select.addEventListener("change", () => this.showCost());
    this.showCost();
  }

  spent(frame, name) {
    const { spent, time } = this.frames[frame];
    if (name === "clock") return time - this.frames[0].time;
    if (name === "tokens") return (spent.prompt_tokens ?? 0) + (spent.completion_tokens ?? 0);
    return spent[name] ?? 0;
  }

  showCost() {
    const name = byId("cost").value;
    this.cost.show(this.frames.map((_, frame) => this.spent(frame, name)), COSTS[name]);
    this.say(this.replay.frame);
  }

  go(frame) {
    this.pause();
    this.show(Math.min(this.last, Math.max(0, frame)));
  }

  step(by) {
    this.go(this.replay.frame + by);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Plays the whole search in about twenty seconds, however long it is. */
  play() {
    if (!this.last) return;
    if (this.replay.frame === this.last) this.show(0);
    const pause = Math.min(700, Math.max(16, 20000 / this.last));
    const stride = Math.max(1, Math.ceil(this.last / 1200));
    this.playing = setInterval(() => {
      this.show(Math.min(this.last, this.replay.frame + stride));
      if (this.replay.frame === this.last) this.pause();
    }, pause);
    this.button("Pause", PAUSE_SIGN);
  }

  pause() {
    clearInterval(this.playing);
    this.playing = undefined;
    this.button("Play", PLAY_SIGN);
  }

  button(name, sign) {
    byId("play").setAttribute("aria-label", name);
    byId("play").querySelector("path").setAttribute("d", sign);
  }

  /** Says which iteration is shown and what happened in it. */
  say(frame) {
    if (frame < 0) return;
    this.slider.value = frame;
    const words = this.words(frame);
    this.slider.setAttribute("aria-valuetext", words);
    byId("now").textContent = this.name(frame);
    byId("happened").textContent = words;
    byId("happened").title = words;
    byId("first").disabled = byId("before").disabled = frame === 0;
    byId("after").disabled = frame === this.last;
    this.best.point(frame);
    this.cost.point(frame);
    byId("best-now").textContent = figure(this.best.values[frame]);
    byId("cost-now").textContent = figure(this.cost.values[frame], 1);
  }

  name(frame) {
    if (frame === 0) return this.last ? `Start of ${figure(this.last)}` : "Start";
    return `${this.replay.data.search ? "Iteration" : "Rollout"} ${figure(frame)} of ${figure(this.last)}`;
  }

  words(frame) {
    const { replay, frames } = this;
    const { evaluations, picks, whole, nodes, reopened } = frames[frame];
    if (frame === 0) return "The task alone: nothing was tried yet.";
    if (!whole) return `Interrupted: ${plural(nodes.length, "node")} recorded that no backup has counted yet.`;
    if (reopened) return `Failed nodes were opened again, to be tried once more: ${figure(reopened)}.`;
    const tried = evaluations.filter(({ node }) => node !== null);
    const first = tried[0];
    if (!first) return picks.length ? `${plural(picks.length, "leaf node")} selected.` : "Nothing was evaluated.";
    const result = (item) => (item.error ? "failed" : item.result === null ? "no result" : figure(item.result));
    if (tried.length === 1) return `Tried ${short(replay.action(first.node), 80)}: ${result(first)}`;
    const known = tried.map(({ result: value }) => value).filter((value) => value !== null);
    const range = known.length ? `results ${figure(Math.min(...known))} to ${figure(Math.max(...known))}` : "no results";
    const failed = tried.filter(({ error }) => error).length;
    return `Tried ${tried.length} leaves side by side, ${range}${failed ? `, ${failed} failed` : ""}`;
  }
}
