// The run as a whole: header, legend, and the panel's first tab with answer, hints and settings.

function showHeader(data) {
  byId("instruction").textContent = data.instruction || "(no instruction recorded)";
  byId("instruction").title = data.instruction;
  const state = make("span", { class: `state ${data.state}` }, data.state === "empty" ? "nothing tried yet" : data.state);
  const about = [
    data.planner && `planner ${data.planner}`,
    data.policy && `policy ${data.policy}`,
    data.environment && `${data.environment} ${data.task ?? ""}`.trim(),
    `run ${data.run}`,
  ].filter(Boolean);
  byId("about").append(state, ` · ${about.join(" · ")}`);
  byId("totals").append(...totals(data).flatMap(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  byId("notice").hidden = !data.notice;
  byId("notice").textContent = data.notice;
}

function totals(data) {
  const { spent, answer, best } = data;
  const tokens = (spent.prompt_tokens ?? 0) + (spent.completion_tokens ?? 0);
  const reached = best?.objective ?? best?.score;
  return [
    [answer && !answer.went_on ? "objective" : "best so far", figure(reached)],
    ["rollouts", figure(spent.rollouts ?? data.frames.length - 1)],
    ["completions", figure(spent.completions ?? 0)],
    ["tokens", figure(tokens)],
    [data.search ? "time" : "time in rollouts", duration(spent.seconds ?? 0)],
  ];
}

/** Fills the tab on the run. */
function showRun(pane, data, seen, select) {
  const { answer, parent } = data;
  const guide = data.search
    ? "Each node is a state that an action led to, the start on the left; lines fan out to the actions that the policy proposed there. Larger nodes were visited more often, colour is the value found below them. The slider replays the search: blue is what that iteration looked at, orange leads to the best found by then."
    : "Each node on the right is one whole attempt at the task, coloured by its score. The slider replays them one by one; orange leads to the best so far.";
  pane.append(...[
    make("h3", {}, "How to read this"),
    make("p", { class: "hint" }, guide),
    make("p", { class: "hint" }, "Click a node for its details, a number such as +12 to unfold what it hides. Drag to move, scroll to zoom, space to play."),
    ...(answer ? answered(answer, seen, select) : [make("h3", {}, "Answer"), make("p", { class: "hint" }, "None is recorded.")]),
    parent && make("h3", {}, "Forked from"),
    parent && facts([["Run", parent.run], ["Event", parent.event]]),
    fold("Settings of the run", () => facts(data.settings)),
  ].filter(Boolean));
}

function answered(answer, seen, select) {
  return [
    make("h3", {}, "Answer ", make("small", {}, plural(answer.steps.length, "step"))),
    facts([
      ["Objective", answer.objective === null ? null : figure(answer.objective)],
      ["Reward score", answer.score === null ? null : figure(answer.score)],
      ["Search stopped", answer.stopped],
    ]),
    answer.end === null ? null : make("p", {}, make("button", { type: "button", class: "link", onclick: () => select(answer.end) }, "Show it in the tree")),
    make("div", { class: "answer" }, seen.steps(answer.steps)),
  ];
}

function showLegend(data, replay) {
  const known = Number.isFinite(replay.low);
  const scale = make("canvas", { role: "img", "aria-label": "dark blue is low, yellow is high" });
  paintScale(scale);
  byId("legend").append(...[
    known && make("span", { class: "scale" }, `${data.value_name} ${figure(replay.low, 2)}`, scale, figure(replay.high, 2)),
    data.search && make("span", { class: "size" }, "visits"),
    make("span", {}, make("i", { class: "stroke" }), "★ best path"),
    make("span", {}, make("i", { class: "stroke picked" }), data.search ? "this iteration" : "this rollout"),
  ].filter(Boolean));
}
