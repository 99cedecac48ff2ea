"""Journals of random searches, written as planners write them, for the tests of the viewer."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

TASK = {"id": "901", "environment": "game24", "split": "test", "max_steps": 6, "data": {}}


def settings(instruction: str = "Use the numbers 2 4 6 7 to make 24.") -> dict[str, Any]:
    return {
        "schema_version": 1,
        "task": TASK | {"instruction": instruction},
        "policy_model": "smollm2-135m-instruct",
        "seed": 0,
        "temperature": 0.7,
    }


def observation(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, "actions": ["1 + 2 = 3", "2 * 3 = 6"], **more}


def trajectory(
    name: str, steps: list[dict[str, Any]], status: str = "ended", error: str | None = None
) -> dict[str, Any]:
    return {
        "id": name,
        "task": TASK,
        "instruction": "Use the numbers 2 4 6 7 to make 24.",
        "observation": observation("Numbers left: 2 4 6 7"),
        "steps": steps,
        "status": status,
        "error": error,
    }


def step(action: str, text: str, done: bool = False, **more: Any) -> dict[str, Any]:
    return {"action": action, "observation": observation(text, **more), "done": done}


def usage(**counts: float) -> dict[str, float]:
    return {"completions": 0, "prompt_tokens": 0, "completion_tokens": 0, "seconds": 0.0} | counts


class Writer:
    """Appends events to a run's journal."""

    def __init__(self, folder: Path) -> None:
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        self.path = folder / "trace.jsonl"
        self.time = 1_795_355_546.0

    def write(self, event_id: str, kind: str, **data: Any) -> None:
        self.time = round(self.time + 0.25, 3)
        event = {"id": event_id, "kind": kind, "time": self.time, **data}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


class RandomSearch:
    """A search that goes where chance and the bonus lead it; its journal follows the contract.

    Args:
        folder: Folder of the run.
        seed: Of all draws.
        rollouts: How many.
        width: Leaves an iteration.
        branching: Most proposals a node.
        depth: Of the deepest nodes.
    """

    def __init__(
        self,
        folder: Path,
        seed: int = 0,
        rollouts: int = 24,
        width: int = 1,
        branching: int = 4,
        depth: int = 6,
    ) -> None:
        self.random = random.Random(seed)
        self.writer = Writer(folder)
        self.rollouts, self.width, self.branching, self.depth = rollouts, width, branching, depth
        self.tree: dict[str, dict[str, Any]] = {
            "0": self.node(None, "", 1.0, 0) | {"status": "open"}
        }
        self.paths: dict[str, list[dict[str, Any]]] = {"0": []}
        self.changed: set[str] = set()
        self.best: dict[str, Any] | None = None
        self.spent = usage(environment_steps=0, rollouts=0)
        self.done = 0

    def node(self, parent: str | None, action: str, prior: float, depth: int) -> dict[str, Any]:
        empty = {"q": None, "value": None, "result": None, "visits": 0, "closed": False}
        counts = {"children": 0, "n": 0, "m": 0}
        return {
            "parent": parent, "action": action, "prior": prior, "depth": depth,
            "status": "proposed", **counts, **empty,
        }  # fmt: skip

    def run(self, *, answer: bool = True) -> None:
        self.writer.write("run", "run", planner="mcts", settings=settings(), parent=None)
        self.writer.write(
            "opening",
            "opening",
            instruction=settings()["task"]["instruction"],
            observation=observation("Numbers left: 2 4 6 7"),
        )
        iteration = 0
        while self.done < self.rollouts and not self.tree["0"]["closed"]:
            iteration += 1
            self.iterate(iteration)
        if answer and self.best is not None:
            self.writer.write(
                f"answer/{iteration}",
                "answer",
                **{key: self.best[key] for key in ("trajectory", "node", "score", "objective")},
                stopped="rollouts",
                usage={k: v for k, v in self.spent.items() if k != "rollouts"},
            )

    def iterate(self, iteration: int) -> None:
        self.changed = set()
        leaves: dict[str, list[dict[str, Any]]] = {}
        for _ in range(min(self.width, self.rollouts - self.done)):
            if (pick := self.select(leaves)) is not None:
                leaves[pick[0]] = pick[1]
        self.writer.write(
            f"select/{iteration}",
            "selection",
            iteration=iteration,
            picks=[{"leaf": leaf, "path": path} for leaf, path in leaves.items()],
        )
        evaluations = [self.evaluate(leaf) for leaf in leaves]
        self.writer.write(
            f"backup/{iteration}",
            "backup",
            iteration=iteration,
            evaluations=evaluations,
            nodes={name: self.tree[name] for name in sorted(self.changed)},
            best=self.best,
            spent=self.spent,
        )

    def reopen(self, iteration: int) -> None:
        """Open failed nodes again, as a search does that goes on after an outage."""
        failed = [name for name, node in self.tree.items() if node["status"] == "failed"]
        for name in failed:
            status = "proposed" if self.tree[name]["depth"] else "open"
            self.tree[name] |= {"status": status, "closed": False}
        self.writer.write(
            f"backup/{iteration}",
            "backup",
            iteration=iteration,
            evaluations=[],
            nodes={name: self.tree[name] for name in failed},
            best=self.best,
            spent=self.spent,
        )

    def select(self, pending: dict[str, Any]) -> tuple[str, list[dict[str, Any]]] | None:
        here: str = "0"
        path: list[dict[str, Any]] = []
        while True:
            node = self.tree[here]
            if node["status"] == "proposed":
                return here, path
            if not node["children"]:
                self.expand(here)
            children = [f"{here}.{k}" for k in range(node["children"])]
            fresh = [c for c in children if c not in pending and not self.tree[c]["closed"]]
            if not fresh:
                if any(not self.tree[c]["closed"] for c in children):
                    return None  # what is open is pending
                node["closed"] = True
                self.changed.add(here)
                if here == "0":
                    return None
                here, path = "0", []
                continue
            parts = {c: self.parts(here, c) for c in fresh}
            chosen = max(fresh, key=lambda c: sum(parts[c]) + self.random.random() * 0.3)
            path.append(
                {
                    "node": here,
                    "children": [
                        {
                            "node": c,
                            "value": parts[c][0],
                            "bonus": None if math.isinf(parts[c][1]) else parts[c][1],
                            "pending": int(c in pending),
                        }
                        for c in fresh
                    ],
                    "chosen": chosen,
                }
            )
            here = chosen

    def parts(self, parent: str, child: str) -> tuple[float, float]:
        node = self.tree[child]
        bonus = 1.25 * node["prior"] * math.sqrt(self.tree[parent]["n"] + 1) / (1 + node["n"])
        return node["q"] or 0.0, bonus

    def expand(self, name: str) -> None:
        node = self.tree[name]
        count = self.random.randint(2, self.branching)
        weights = [self.random.random() for _ in range(count)]
        a, b = self.random.randint(1, 13), self.random.randint(1, 13)
        items = [
            {"action": f"{a} {'+-*/'[k % 4]} {b + k // 4} = {a + b + k}", "prior": w / sum(weights)}
            for k, w in enumerate(weights)
        ]
        cost = usage(completions=count, prompt_tokens=300, completion_tokens=8 * count, seconds=0.2)
        self.spend(cost)
        self.writer.write(f"expand/{name}", "proposals", node=name, items=items, usage=cost)
        node["children"] = count
        self.changed.add(name)
        for k, item in enumerate(items):
            self.tree[f"{name}.{k}"] = self.node(
                name, item["action"], item["prior"], node["depth"] + 1
            )
            self.changed.add(f"{name}.{k}")

    def evaluate(self, name: str) -> dict[str, Any]:
        node, chance = self.tree[name], self.random
        self.done += 1
        first = step(node["action"], f"Numbers left: {chance.randint(1, 99)} after {name}")
        self.paths[name] = [*self.paths[node["parent"]], first]
        if chance.random() < 0.06:
            return self.fail(name)
        left = self.depth - node["depth"]
        length = min(left, chance.randint(0 if node["depth"] > 2 else 1, 3))
        rest = [step(f"{k} + 1 = {k + 1}", f"step {k} below {name}") for k in range(length)]
        status = "limit" if length == 3 and chance.random() < 0.3 else "ended"
        if length == 0:
            self.paths[name][-1]["done"] = status == "ended"
        node["status"] = status if length == 0 else "open"
        node["closed"] = length == 0
        score = chance.gauss(0, 1)
        identity = f"t{self.done:023d}"
        for k in range(length):
            self.writer.write(
                f"rollout/{name}/policy/{node['depth'] + k}",
                "policy",
                action=rest[k]["action"],
                text=f"I would add one.\nAction: {rest[k]['action']}",
                constrained=False,
                usage=usage(),
            )
        cost = usage(
            completions=length, prompt_tokens=200 * length, completion_tokens=9 * length,
            environment_steps=node["depth"] + length, rollouts=1, seconds=0.4 * length + 0.1,
        )  # fmt: skip
        self.writer.write(
            f"rollout/{name}",
            "rollout",
            trajectory=trajectory(identity, [*self.paths[name], *rest], status),
            usage=cost,
        )
        self.spend(cost)
        self.backup(name, score)
        self.writer.write(
            f"score/fp/{identity}",
            "score",
            fingerprint="fp",
            trajectories=[identity],
            scores=[score],
        )
        if self.best is None or score > self.best["objective"]:
            self.best = {"node": name, "trajectory": identity, "score": score, "objective": score}
        return {
            "node": name, "trajectory": identity, "status": node["status"], "score": score,
            "objective": score, "value": None, "result": score, "error": None,
        }  # fmt: skip

    def fail(self, name: str) -> dict[str, Any]:
        error = "the policy did not answer within 120 s: raise the timeout"
        self.writer.write(
            f"rollout/{name}/failed/{self.done}",
            "failure",
            trajectory=trajectory("f" * 24, self.paths[name], "failed", error),
            usage=usage(failures=1, rollouts=1),
        )
        self.spend(usage(failures=1, rollouts=1))
        self.tree[name] |= {"status": "failed", "closed": True}
        self.changed.add(name)
        return {
            "node": name, "trajectory": None, "status": "failed", "score": None,
            "objective": None, "value": None, "result": None, "error": error,
        }  # fmt: skip

    def spend(self, cost: dict[str, float]) -> None:
        self.spent = {key: self.spent.get(key, 0) + cost.get(key, 0) for key in self.spent | cost}

    def backup(self, name: str, score: float) -> None:
        self.tree[name] |= {"result": score, "visits": 1}
        here: str | None = name
        while here is not None:
            node = self.tree[here]
            node["n"] += 1
            node["m"] += 1
            node["q"] = ((node["q"] or 0.0) * (node["m"] - 1) + score) / node["m"]
            self.changed.add(here)
            here = node["parent"]


ERROR = "the policy at http://127.0.0.1:9/v1 answered 500: look into the server's log"


def failed_search(folder: Path) -> RandomSearch:
    """Write a search whose policy proposed nothing at the root, which is the end of it."""
    search = RandomSearch(folder)
    writer, first = search.writer, observation("Numbers left: 2 4 6 7")
    writer.write("run", "run", planner="mcts", settings=settings(), parent=None)
    writer.write("opening", "opening", instruction="i", observation=first)
    writer.write("select/0", "selection", iteration=0, picks=[{"leaf": "0", "path": []}])
    search.tree["0"] |= {"status": "failed", "closed": True}
    nothing = {"score": None, "objective": None, "value": None, "result": None}
    failed = {"node": "0", "trajectory": None, "status": "failed", "error": ERROR, **nothing}
    search.spend(usage(failures=3))
    writer.write(
        "backup/0", "backup", iteration=0, evaluations=[failed], nodes=search.tree, best=None,
        spent=search.spent,
    )  # fmt: skip
    return search


def random_search(folder: Path, **options: Any) -> Path:
    """Write a whole search; returns its folder."""
    RandomSearch(folder, **options).run()
    return folder


def attempts(folder: Path, planner: str = "best_of_n", count: int = 6) -> Path:
    """Write a run of whole rollouts; under ``reflexion`` with reflections between them."""
    writer, chance = Writer(folder), random.Random(1)
    writer.write("run", "run", planner=planner, settings=settings(), parent=None)
    scores = {}
    for k in range(count):
        identity = f"t{k:023d}"
        steps = [step(f"{k} + {j} = {k + j}", f"after {j}", done=j == 2) for j in range(3)]
        if k == 2:
            writer.write(
                f"rollout/{k}/failed/1",
                "failure",
                trajectory=trajectory("f" * 24, steps[:1], "failed", "the page did not load"),
                usage=usage(failures=1, completions=1),
            )
            continue
        writer.write(
            f"rollout/{k}",
            "rollout",
            trajectory=trajectory(identity, steps),
            usage=usage(completions=3, prompt_tokens=600, completion_tokens=30, seconds=1.5),
        )
        scores[identity] = chance.gauss(0, 1)
        if planner == "reflexion":
            text = f"Attempt {k} multiplied too early."
            writer.write(f"reflection/{k}", "reflection", text=text, usage=usage(completions=1))
    writer.write(
        "score/fp/all",
        "score",
        fingerprint="fp",
        trajectories=list(scores),
        scores=list(scores.values()),
    )
    best = max(scores, key=lambda identity: scores[identity])
    writer.write(
        "answer/0", "answer", trajectory=best, node=None, score=scores[best],
        objective=scores[best], stopped="rollouts", usage=usage(completions=15, scored=5),
    )  # fmt: skip
    return folder
