"""The search arithmetic against an independent transcription, definitions, goldens and games."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from search_games import LadderGame, RandomGame, Run, Selection, TrapGame, merged, run_search
from search_reference import (
    GOLDEN,
    GOLDEN_GAME,
    GOLDEN_ROLLOUTS,
    ArmapSearch,
    Entry,
    Log,
    LoggedSearch,
    golden,
)

from armap_agents.search import (
    RULES,
    Evaluation,
    Rule,
    Tree,
    armap,
    backup,
    best,
    expand,
    new_tree,
    puct,
    select,
    uct,
)

Normalisation = Literal["minmax", "none"]
How = Literal["max", "mean"]
KEYS = {
    *("parent", "action", "prior", "depth", "status", "children", "n", "m", "q"),
    *("value", "result", "visits", "closed"),
}

seeds = st.integers(0, 2**32 - 1)
games = st.builds(
    RandomGame,
    seed=seeds,
    branching=st.integers(1, 5),
    depth=st.integers(1, 6),
    ending=st.sampled_from([0.0, 0.1, 0.3, 0.6]),
    rewards=st.sampled_from(["levels", "raw", "smooth"]),
)
faulty_games = st.builds(
    RandomGame,
    seed=seeds,
    branching=st.integers(1, 12),
    depth=st.integers(1, 5),
    ending=st.sampled_from([0.0, 0.3]),
    rewards=st.sampled_from(["levels", "raw", "smooth"]),
    stuck=st.sampled_from([0.0, 0.2]),
    failing=st.sampled_from([0.0, 0.2]),
)
explorations = st.sampled_from([0.0, 0.25, 1.25, math.sqrt(2), 6.36396])
normalisations: st.SearchStrategy[Normalisation] = st.sampled_from(["minmax", "none"])
hows: st.SearchStrategy[How] = st.sampled_from(["max", "mean"])
thorough = settings(max_examples=300, deadline=None)
quick = settings(max_examples=60, deadline=None)
usual = settings(max_examples=150, deadline=None)


# The paper's rule ---------------------------------------------------------------------------------


@thorough
@given(games, st.integers(1, 60))
@example(RandomGame(0, branching=1, depth=1), 60)
@example(RandomGame(3, branching=5, depth=2, ending=0.6, rewards="raw"), 60)
@example(RandomGame(11, branching=5, depth=6, ending=0.0, rewards="smooth"), 60)
def test_armap_makes_the_papers_decisions(game: RandomGame, rollouts: int) -> None:
    paper = ArmapSearch(game)
    paper.run(rollouts)
    run = run_search(game, armap(), rollouts, normalisation="none")

    assert run.evaluated == paper.selected
    levels = [level for call in run.selections for pick in call.picks for level in pick.path]
    assert [[(c.value, c.bonus) for c in level.children] for level in levels] == paper.considered
    for name, decision in paper.nodes().items():
        node = run.tree[name]
        assert 1 + node["n"] == decision.visits
        assert node["status"] == decision.status
        if decision.above is not None:
            assert node["n"] == node["m"] == len(decision.above.returns)
            assert node["q"] is not None
            assert armap().discount * node["q"] == decision.above.value()
    executed = {name for name, node in run.tree.items() if node["status"] != "proposed"}
    assert executed == set(paper.nodes())
    assert best(run.tree) == paper.answer()


def test_armap_evaluates_finished_nodes_again() -> None:
    run = run_search(RandomGame(0, branching=1, depth=1), armap(), 5, normalisation="none")
    assert run.evaluated == ["0.0"] * 5
    assert run.tree["0.0"]["visits"] == run.tree["0.0"]["n"] == run.tree["0"]["n"] == 5
    assert not run.tree["0"]["visits"]


def test_armap_constants() -> None:
    assert (armap().exploration, armap().discount) == (6.36396, 0.9)
    assert (puct().exploration, puct().discount) == (1.25, 1.0)
    assert (uct().exploration, uct().discount) == (math.sqrt(2), 1.0)
    assert set(RULES) == {"uct", "puct", "armap"}
    assert {name: make().name for name, make in RULES.items()} == {name: name for name in RULES}


# Other rules against their definitions ------------------------------------------------------------


@thorough
@given(
    faulty_games, st.sampled_from(["uct", "puct"]), explorations, normalisations, st.integers(1, 30)
)
def test_uct_and_puct_follow_the_log(
    game: RandomGame,
    name: Literal["uct", "puct"],
    exploration: float,
    normalisation: Normalisation,
    rollouts: int,
) -> None:
    reference = LoggedSearch(game, name, exploration, normalisation)
    reference.run(rollouts)
    run = run_search(game, RULES[name](exploration), rollouts, normalisation=normalisation)
    assert run.evaluated == reference.selected
    assert run.tree == reference.log.tree()
    assert best(run.tree) == reference.answer()


@thorough
@given(
    faulty_games,
    st.sampled_from([uct(), puct(), armap(), uct(0.1), puct(5.0), armap(0.2)]),
    st.integers(1, 40),
    st.integers(1, 9),
    normalisations,
    hows,
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.booleans(),
)
def test_every_record_follows_from_the_list_of_evaluations(
    game: RandomGame,
    rule: Rule,
    rollouts: int,
    width: int,
    normalisation: Normalisation,
    how: How,
    value_weight: float,
    rolls_out: bool,
) -> None:
    assume(rolls_out or value_weight == 1)
    run = run_search(
        game,
        rule,
        rollouts,
        width,
        normalisation=normalisation,
        how=how,
        value_weight=value_weight,
        rolls_out=rolls_out,
    )
    assert_follows(run, Log(rule.discount, rule.name != "armap", how, value_weight))
    assert len(run.evaluated) == rollouts or run.tree["0"]["closed"]
    assert best(run.tree) == best_of(run)
    for selection in run.selections:
        assert_allowed(selection, rule, normalisation)


def assert_follows(run: Run, log: Log) -> None:
    """Every field of every node, from the log by definition."""
    log.proposals = run.proposals
    log.entries = [
        Entry(e.node, e.status, e.result, e.value) for batch in run.batches for e in batch
    ]
    wanted = log.tree()
    assert set(run.tree) == set(wanted)
    for name, node in wanted.items():
        assert set(run.tree[name]) == KEYS
        found = {k: v for k, v in run.tree[name].items() if k != "q"}
        assert found == {k: v for k, v in node.items() if k != "q"}, name
        q, q_wanted = run.tree[name]["q"], node["q"]
        assert q == (None if q_wanted is None else pytest.approx(q_wanted, abs=1e-9)), name


def best_of(run: Run) -> str | None:
    """First of the best results in depth-first proposal order."""
    results = [
        (-e.result, tuple(map(int, e.node.split("."))), e.node)
        for batch in run.batches
        for e in batch
        if e.result is not None
    ]
    return min(results)[2] if results else None


def open_leaves(tree: Tree, start: str) -> list[str]:
    """Nodes below `start` that may be executed, expanded or, under `armap`, evaluated again."""
    node = tree[start]
    if node["closed"]:
        return []
    if not node["children"]:
        return [start]
    return [leaf for k in range(node["children"]) for leaf in open_leaves(tree, f"{start}.{k}")]


def below(leaf: str, node: str) -> bool:
    return leaf == node or leaf.startswith(node + ".")


def assert_allowed(selection: Selection, rule: Rule, normalisation: Normalisation) -> None:
    """Each pick in turn is what the definition of the rule wants, given those before it."""
    tree, start = selection.tree, selection.start
    edges = [
        rule.discount * node["q"]
        for name, node in tree.items()
        if name != "0" and node["q"] is not None
    ]

    def normalised(value: float) -> float:
        if normalisation == "none":
            return value
        low, high = min(edges), max(edges)
        return 0.5 if low == high else (value - low) / (high - low)

    def score(parent: str, child: str) -> float:
        visits = tree[parent]["n"] + pending[parent]
        visits_below = tree[child]["n"] + pending[child]
        q, parent_q = tree[child]["q"], tree[parent]["q"]
        if rule.name == "uct":
            if q is None:
                return math.inf
            bonus = rule.exploration * math.sqrt(math.log(visits) / visits_below)
            return normalised(rule.discount * q) + bonus
        if rule.name == "armap":
            bonus = rule.exploration * math.sqrt(math.log(1 + visits)) / (1 + visits_below)
            return (0.0 if q is None else normalised(rule.discount * q)) + bonus
        bonus = rule.exploration * tree[child]["prior"] * math.sqrt(max(1, visits))
        if q is None:
            q = parent_q
        default = 0.5 if normalisation == "minmax" else 0.0
        value = default if q is None else normalised(rule.discount * q)
        return value + bonus / (1 + visits_below)

    leaves = open_leaves(tree, start)
    unexpanded = [leaf for leaf in leaves if tree[leaf]["status"] == "open"]
    pending: Counter[str] = Counter()
    for pick in selection.picks:
        free = [leaf for leaf in leaves if not pending[leaf]]
        allowed = free or unexpanded
        assert pick.leaf in allowed
        node = start
        pending_now = Counter(pending)
        for level in pick.path:
            assert level.node == node
            candidates = [
                child
                for k in range(tree[node]["children"])
                if any(below(leaf, child := f"{node}.{k}") for leaf in allowed)
            ]
            assert level.chosen in candidates
            scores = {child: score(node, child) for child in candidates}
            assert scores[level.chosen] >= max(scores.values()) - 1e-9
            first = next(c for c in candidates if same(tree, pending, c, level.chosen))
            assert level.chosen == first
            for seen in level.children:
                assert seen.pending == pending_now[seen.node]
                if seen.node in scores and math.isfinite(scores[seen.node]):
                    assert seen.bonus is not None
                    assert seen.value is not None
                    assert seen.value + seen.bonus == pytest.approx(scores[seen.node], abs=1e-9)
            node = level.chosen
        assert node == pick.leaf
        for name in tree:
            if below(name, start) and below(pick.leaf, name):
                pending[name] += 1
    wanted = selection.width if unexpanded else min(selection.width, len(leaves))
    assert len(selection.picks) == wanted


def same(tree: Tree, pending: Counter[str], one: str, other: str) -> bool:
    """Nothing but their order tells the two siblings apart."""

    def figures(name: str) -> tuple[Any, ...]:
        node = tree[name]
        return node["q"], node["n"] + pending[name], node["prior"]

    return figures(one) == figures(other)


@usual
@given(
    games,
    st.sampled_from([uct(), puct()]),
    st.integers(1, 40),
    st.sampled_from([0.25, 1.0, 4.0, 1024.0]),
    st.integers(-8, 8),
)
def test_minmax_makes_the_scale_of_rewards_irrelevant(
    game: RandomGame, rule: Rule, rollouts: int, scale: float, shift: int
) -> None:
    class Scaled(RandomGame):
        def reward(self, state: tuple[str, ...]) -> float:
            return scale * super().reward(state) + shift

    assume(game.rewards == "levels")  # exact in binary, so that equality may be asked for
    arguments = (game.seed, game.branching, game.depth, game.ending, game.rewards)
    assert (
        run_search(Scaled(*arguments), rule, rollouts).evaluated
        == run_search(game, rule, rollouts).evaluated
    )


# Pending evaluations ------------------------------------------------------------------------------


@usual
@given(
    games,
    st.sampled_from([uct(), puct(), armap()]),
    st.integers(1, 30),
    st.integers(2, 12),
    normalisations,
)
def test_several_picks_begin_with_the_single_one_and_differ(
    game: RandomGame, rule: Rule, rollouts: int, width: int, normalisation: Normalisation
) -> None:
    run = run_search(game, rule, rollouts, width, normalisation=normalisation)
    for tree, _ in run.trees:
        one = select(tree, rule, 1, normalisation)
        many = select(tree, rule, width, normalisation)
        assert len(many) <= width
        assert many[:1] == one
        counts = Counter(pick.leaf for pick in many)
        leaves = open_leaves(tree, "0")
        if any(times > 1 for times in counts.values()):
            assert set(leaves) <= set(counts), "picked twice while another is open"
        proposed = [n for leaf, n in counts.items() if tree[leaf]["status"] == "proposed"]
        assert all(n == 1 for n in proposed), "executed twice at once"


def test_the_unexpanded_root_is_shared_by_all_picks() -> None:
    tree = new_tree()
    assert [pick.leaf for pick in select(tree, uct(), 3)] == ["0", "0", "0"]
    tree = expand(tree, "0", [(action, 0.2) for action in "abcde"])
    assert [p.leaf for p in select(tree, uct(), 3)] == ["0.0", "0.1", "0.2"]
    assert [p.leaf for p in select(tree, uct(), 9)] == [f"0.{k}" for k in range(5)]


def test_a_pending_pick_counts_as_a_visit_and_lowers_no_value() -> None:
    tree = expand(new_tree(), "0", [("a", 0.5), ("b", 0.5)])
    found = [Evaluation("0.0", "open", 1.0, None), Evaluation("0.1", "open", 0.9, None)]
    tree = backup(tree, found, puct(1.0))
    for node in ("0.0", "0.1"):
        tree = expand(tree, node, [("c", 0.5), ("d", 0.5)])
    picks = select(tree, puct(1.0), 3, "none")
    # N = 2: 1 + 0.5·√2/2 = 1.354 > 0.9 + 0.354; with one pending, 1 + 0.5·√3/3 = 1.289 > 0.9 +
    # 0.433 = 1.333 fails, so b is next; then 1 + 0.5·2/3 = 1.333 > 0.9 + 0.333.
    assert [pick.leaf for pick in picks] == ["0.0.0", "0.1.0", "0.0.1"]
    second = {child.node: child for child in picks[1].path[0].children}
    assert (second["0.0"].pending, second["0.1"].pending) == (1, 0)
    assert second["0.0"].value == 1.0
    assert second["0.0"].bonus == pytest.approx(0.5 * math.sqrt(3) / 3)


# Tree operations ----------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("abcdefghijklmn"), st.floats(0, 1)), max_size=20))
def test_expand_merges_duplicates(proposals: list[tuple[str, float]]) -> None:
    given_before = list(proposals)
    tree = expand(new_tree(), "0", proposals)
    wanted = merged(proposals)
    assert proposals == given_before
    assert tree["0"]["children"] == len(wanted) == len(tree) - 1
    assert tree["0"]["closed"] == (not proposals)
    for k, (action, prior) in enumerate(wanted):
        node = tree[f"0.{k}"]
        assert (node["action"], node["parent"], node["depth"]) == (action, "0", 1)
        assert node["prior"] == pytest.approx(prior)
        assert (node["status"], node["n"], node["q"]) == ("proposed", 0, None)


def test_actions_alike_in_their_label_alone_stay_apart() -> None:
    tree = expand(new_tree(), "0", [("x" * 90 + "1", 0.5), ("x" * 90 + "2", 0.5)])
    assert tree["0"]["children"] == 2
    assert all(len(node["action"]) <= 80 for node in tree.values())


def test_closing_goes_up() -> None:
    tree = expand(new_tree(), "0", [("a", 0.5), ("b", 0.5)])
    tree = backup(tree, [Evaluation("0.0", "open", 0.5, None)], uct())
    assert not tree["0.0"]["closed"]
    tree = backup(tree, [Evaluation("0.1", "ended", 0.2, None)], uct())
    assert tree["0.1"]["closed"]
    assert not tree["0"]["closed"]
    tree = expand(tree, "0.0", [])
    assert tree["0.0"]["closed"]
    assert tree["0"]["closed"]
    assert select(tree, uct(), 4) == []
    assert best(tree) == "0.0"


def test_a_failed_node_costs_no_visit_and_is_never_picked_again() -> None:
    for rule in (uct(), puct(), armap()):
        tree = expand(new_tree(), "0", [("a", 0.9), ("b", 0.1)])
        tree = backup(tree, [Evaluation("0.0", "failed", None, None)], rule)
        assert (tree["0.0"]["status"], tree["0.0"]["closed"]) == ("failed", True)
        assert (tree["0"]["n"], tree["0"]["q"], tree["0.0"]["n"]) == (0, None, 0)
        assert [pick.leaf for pick in select(tree, rule, 1)] == ["0.1"]
        assert "0.0" not in [pick.leaf for pick in select(tree, rule, 8)]
        tree = backup(tree, [Evaluation("0.1", "failed", None, None)], rule)
        assert tree["0"]["closed"]
        assert select(tree, rule, 2) == []
        assert best(tree) is None


@usual
@given(faulty_games, st.integers(1, 40), st.integers(1, 6))
def test_armap_gets_around_failed_and_stuck_nodes(
    game: RandomGame, rollouts: int, width: int
) -> None:
    run = run_search(game, armap(), rollouts, width, normalisation="none")
    times = Counter(run.evaluated)
    failed = [name for name, node in run.tree.items() if node["status"] == "failed"]
    assert all(times[name] == 1 for name in failed)
    assert len(run.evaluated) == rollouts or not any(
        node["status"] in ("ended", "limit", "proposed") for node in run.tree.values()
    )


@pytest.mark.parametrize("status", ["ended", "limit"])
def test_a_finished_node_is_worth_its_result_whatever_a_value_says(status: str) -> None:
    tree = expand(new_tree(), "0", [("a", 1.0)])
    tree = backup(tree, [Evaluation("0.0", status, 0.25, 0.9)], uct(), value_weight=0.5)
    assert tree["0.0"]["q"] == tree["0"]["q"] == 0.25


def test_best_takes_the_first_on_ties_in_proposal_order() -> None:
    tree = expand(new_tree(), "0", [(f"a{k}", 0.1) for k in range(12)])
    assert best(tree) is None
    last = [Evaluation(f"0.{k}", "ended", 0.5, None) for k in (11, 10, 9, 2)]
    tree = backup(tree, last, uct())
    assert best(tree) == "0.2"
    tree = backup(tree, [Evaluation("0.1", "open", 0.5, 1.0)], uct(), value_weight=0.5)
    tree = expand(tree, "0.1", [("b", 1.0)])
    tree = backup(tree, [Evaluation("0.1.0", "ended", 0.5, None)], uct(), value_weight=0.5)
    assert best(tree) == "0.1"
    tree = backup(tree, [Evaluation("0.3", "open", 0.4, 1.0)], uct(), value_weight=1.0)
    assert best(tree) == "0.1", "a prefix value never chooses the answer"


def test_children_come_in_proposal_order_beyond_ten() -> None:
    tree = expand(new_tree(), "0", [(f"a{k}", 1 / 12) for k in range(12)])
    assert [p.leaf for p in select(tree, uct(), 12)] == [f"0.{k}" for k in range(12)]


@quick
@given(faulty_games, st.sampled_from([uct(), puct()]), st.integers(1, 30), st.integers(1, 6))
def test_trees_are_json_and_never_changed_in_place(
    game: RandomGame, rule: Rule, rollouts: int, width: int
) -> None:
    run = run_search(game, rule, rollouts, width, value_weight=0.5)
    for tree, text in run.trees:
        assert json.dumps(tree) == text
        assert json.loads(text) == tree
        assert select(json.loads(text), rule, width) == select(tree, rule, width)
        assert json.dumps(tree) == text


# What a search is for -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["max", "mean"])
@pytest.mark.parametrize("name", ["uct", "puct", "armap"])
@pytest.mark.parametrize("width", [1, 8])
def test_a_trap_is_abandoned(name: str, how: How, width: int) -> None:
    run = run_search(TrapGame(), RULES[name](), 64, width, how=how, value_weight=0.5)
    states = [run.states[node] for node in run.evaluated]
    assert states[2][0] == "trap", "the prefix value attracts the search"
    win = next(k for k, state in enumerate(states, 1) if state[:3] == ("dull", "y", "z"))
    assert win <= 31
    answer = best(run.tree)
    assert answer is not None
    assert run.states[answer][:3] == ("dull", "y", "z")
    assert sum(state[0] == "trap" for state in states) < 32
    trap, dull = run.tree["0.0"]["q"], run.tree["0.1"]["q"]
    assert trap is not None
    assert dull is not None
    assert trap < 0.1 < 0.2 < dull
    if how == "max" and width == 1 and name != "armap":
        assert sum(state[0] == "trap" for state in states) <= 5


@pytest.mark.parametrize("name", ["uct", "puct"])
def test_a_prefix_value_that_stays_would_hold_the_search_in_the_trap(
    name: Literal["uct", "puct"],
) -> None:
    log = Log(value_weight=0.5, value_leaves=False)
    search = LoggedSearch(TrapGame(), name, RULES[name]().exploration, "minmax", log)
    search.run(40)
    states = [search.states[node] for node in search.selected]
    assert ("dull", "y", "z") not in [state[:3] for state in states]
    assert sum(state[0] == "trap" for state in states) > 28


LOSS_GAMES = 200


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uct", "puct", "armap"])
def test_eight_leaves_at_once_cost_little(name: str) -> None:
    """Paired loss of the best reward found by 64 rollouts; √200 games make t nearly normal."""

    def found(width: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        rewards = []
        for seed in range(LOSS_GAMES):
            game = LadderGame(seed, branching=4, depth=6, ending=0.0)
            run = run_search(game, RULES[name](), 64, width, keep=False)
            answer = best(run.tree)
            assert answer is not None
            rewards.append(run.tree[answer]["result"])
        return np.array(rewards, dtype=np.float64)

    def interval(loss: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float, float]:
        half = 1.972 * float(loss.std(ddof=1)) / math.sqrt(LOSS_GAMES)
        mean = float(loss.mean())
        return mean - half, mean, mean + half

    alone = found(1)
    low, mean, high = interval(alone - found(8))
    print(f"{name}: W=1 {alone.mean():.4f}; W=8 loses {mean:.4f} ({low:.4f} to {high:.4f})")
    assert high <= 0.05
    if name != "armap":  # whose bonus of 6.36 outweighs rewards in [0, 1]: it hardly follows them
        low, mean, high = interval(alone - found(64))
        print(
            f"{name}: W=64, which never sees a reward, loses {mean:.4f} ({low:.4f} to {high:.4f})"
        )
        assert low > 0.05, "these games can tell whether a search follows its findings"


# Golden trees -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["uct", "puct", "armap"])
def test_golden_tree(name: str) -> None:
    """`python tests/search_reference.py` writes them, by the reference and not by this code."""
    stored = json.loads((GOLDEN / f"search-{name}.json").read_text())
    assert stored == golden(name)
    run = run_search(
        GOLDEN_GAME,
        RULES[name](),
        GOLDEN_ROLLOUTS,
        normalisation=stored["normalisation"],
        value_weight=stored["value_weight"],
    )
    assert run.evaluated == stored["selected"]
    assert best(run.tree) == stored["answer"]
    assert repr(json.loads(json.dumps(run.tree))) == repr(
        {node: stored["tree"][node] for node in run.tree}
    )
    assert set(run.tree) == set(stored["tree"])
