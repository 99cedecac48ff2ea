// The keyboard: arrows walk the tree while it has the focus, a few keys work everywhere.

/** The node that an arrow key leads to, or null. */
function neighbour(visible, replay, node, key) {
  const there = (k) => k !== undefined && k !== null && replay.status[k] !== ABSENT;
  const { parent } = replay.data.nodes[node];
  if (key === "ArrowLeft") return parent >= 0 ? parent : null;
  if (key === "ArrowRight") return visible.children[node].find(there) ?? null;
  const step = key === "ArrowDown" ? 1 : -1;
  const level = visible.order.filter((k) => visible.x[k] === visible.x[node] && there(k));
  level.sort((a, b) => visible.y[a] - visible.y[b]);
  return level[level.indexOf(node) + step] ?? null;
}

/** @param act { walk(key), toggle(), home(), best(), fit(), zoom(factor) }. */
function listenToTree(canvas, act) {
  const keys = {
    "Enter": () => act.toggle(),
    " ": () => act.toggle(),
    "Home": () => act.home(),
    "b": () => act.best(),
    "f": () => act.fit(),
    "+": () => act.zoom(1.25),
    "=": () => act.zoom(1.25),
    "-": () => act.zoom(0.8),
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const action = event.key.startsWith("Arrow") ? () => act.walk(event.key) : keys[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  });
}

/** @param act { play(), step(by) }. */
function listenEverywhere(act) {
  document.addEventListener("keydown", (event) => {
    const busy = event.target.closest?.("input, select, button, summary, a");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && (!busy || event.target.type === "range")) act.play();
    else if (event.key === ",") act.step(-1);
    else if (event.key === ".") act.step(1);
    else return;
    event.preventDefault();
  });
}
