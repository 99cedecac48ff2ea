"""What matters? Reward models trained with one thing changed, judged by the same yardstick.

Each ablation is one command; each of its variants is data by `armap generate` and a model by `armap
train`. In the shop and in ScienceWorld the models pick among stored candidates (`selection.py`); in
Game of 24 they order pairs of states that exhaustive search labels (`solved_pairs.py`), which tells
more and costs less. All of it goes on where it was interrupted:

    python benchmarks/ablations.py loss --environment game24 --out runs/ablations
    python benchmarks/ablations.py images --out runs/ablations                  # needs Chromium
    python benchmarks/ablations.py explorer --environment game24 --out runs/ablations

A variant costs `--pairs` of data and `--cpu-minutes` of training, the same for all. How many pairs
it trains on is not: `data` takes a share of them, `sources` those of a source, and true scores make
as many as they tell apart. The explorers and the label sources need an endpoint (ARMAP_POLICY_URL
and ARMAP_POLICY_MODEL, as under `armap serve policy -- …`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from solved_pairs import DEPTHS, accuracy, evaluation_pairs, summary

from armap_agents.cli.evaluate import parse_seeds
from armap_agents.reward import load_reward

console = Console(stderr=True)

BIN = Path(sys.executable).parent
SELECTION = Path(__file__).with_name("selection.py")

SOLVED_PAIRS = 2000
"""Pairs of Game of 24 at each depth."""


@dataclass(frozen=True)
class Variant:
    """One model of an ablation.

    Attributes:
        name: What stands in the table.
        data: Name of its data folder; variants may share one.
        generate: Further options of `armap generate`.
        train: Further options of `armap train`.
        label: Data are ordered by the true score, which is not self-made: an upper bound.
    """

    name: str
    data: str = "data"
    generate: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    label: bool = False

    @property
    def recipe(self) -> str:
        """Name of its models' folders: variants that are the same share them."""
        source = "labelled" if self.label else self.data
        return "_".join([source, *(option.strip("-") for option in self.train)])


NO_WRITER = ("--written-share", "0", "--llm-share", "0")
BY_LLM = ("--policy-share", "0", "--written-share", "0", "--llm-share", "1")


def explorer(name: str, policy: str, uniform: str) -> Variant:
    """Return the variant whose episodes are shared out so; what is left follows random intents."""
    shares = ("--policy-share", policy, "--uniform-share", uniform)
    return Variant(name, name.replace(", ", "-"), (*shares, *NO_WRITER))


ABLATIONS = {
    "loss": [Variant("pairwise"), Variant("binary", train=("--loss", "binary"))],
    "data": [
        Variant("all of it"),
        Variant("a fifth", train=("--fraction", "0.2")),
        Variant("a twenty-fifth", train=("--fraction", "0.04")),
    ],
    "sources": [
        Variant("changed by rule", "changed", BY_LLM, ("--sources", "perturb")),
        Variant("changed by the LLM", "changed", BY_LLM, ("--sources", "llm")),
        Variant("both", "changed", BY_LLM),
        Variant("true scores (not self-made)", "changed", BY_LLM, label=True),
    ],
    "explorer": [
        explorer("uniform", policy="0", uniform="1"),
        explorer("intents", policy="0", uniform="0"),
        explorer("policy, half", policy="0.5", uniform="0"),
    ],
    "constraints": [
        Variant("one", "one", ("--constraints", "1")),
        Variant("three", "three", ("--constraints", "3")),
        Variant("drawn"),
    ],
    "images": [
        Variant("without", "seen", ("-E", "render=true"), ("--no-images",)),
        Variant("with", "seen", ("-E", "render=true"), ("--images",)),
    ],
}


class Ablation(Enum):
    """The choices of the argument."""

    LOSS = "loss"
    DATA = "data"
    SOURCES = "sources"
    EXPLORER = "explorer"
    CONSTRAINTS = "constraints"
    IMAGES = "images"


def run(*command: str | Path) -> None:
    """Run a command of this environment; its failure ends this one."""
    console.print(" ".join(map(str, command)), style="dim", highlight=False)
    if subprocess.run([BIN / command[0], *command[1:]], check=False).returncode:
        raise SystemExit(1)


def made(variant: Variant, environment: str, out: Path, pairs: int, seed: int) -> Path:
    """Return the variant's data folder, made or completed."""
    folder = out / f"{variant.data}-{seed}"
    draws = ("--seed", str(seed))
    size = ("--pairs", str(pairs), *draws)
    run("armap", "generate", environment, "--out", folder, *size, *variant.generate)
    if not variant.label:
        return folder
    labelled = out / f"labelled-{seed}"
    by = ("--by", "environment", *_fast(environment))
    run("armap", "label", environment, "--from", folder, "--out", labelled, *by, *draws)
    return labelled


def _fast(environment: str) -> tuple[str, ...]:
    """Return the options that spare pictures where nobody looks."""
    return ("-E", "render=false") if environment == "webshop" else ()


def judge_by_search(models: Mapping[str, str], seeds: Sequence[int], out: Path) -> None:
    """Have the models order the pairs of Game of 24's test puzzles, all seeds of one together."""
    table = Table("variant", *DEPTHS.values(), title="Pair accuracy judged by exhaustive search")
    found = {}
    for name, model in models.items():
        hits: dict[str, dict[str, list[float]]] = {depth: {} for depth in DEPTHS.values()}
        for seed in seeds:
            score = load_reward(model.replace("{seed}", str(seed))).score
            for steps, depth in DEPTHS.items():
                pairs = evaluation_pairs("test", steps, SOLVED_PAIRS)
                for task, own in accuracy(pairs, score).items():
                    hits[depth].setdefault(task, []).extend(own)
        found[name] = {depth: summary(own) for depth, own in hits.items()}
        table.add_row(name, *(shown(figure) for figure in found[name].values()))
    Console().print(table)
    out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def shown(figure: Mapping[str, Any]) -> str:
    """Return an accuracy with its interval."""
    low, high = figure["ci95"]
    return f"{figure['accuracy']:.3f} ({low:.3f}–{high:.3f})"


def judge_by_picks(models: Mapping[str, str], seeds: str, folder: Path, out: Path) -> None:
    """Have the models pick among stored candidates, all seeds of one together."""
    named = [f"{name}={model}" for name, model in models.items()]
    run("python", SELECTION, "judge", folder, *named, "--seeds", seeds, "--out", out)


def main(
    ablation: Annotated[Ablation, typer.Argument(help="What is changed.")],
    out: Annotated[Path, typer.Option(help="Folder for everything.")],
    environment: Annotated[str, typer.Option(help="Where.")] = "webshop",
    split: Annotated[str, typer.Option(help="Of the candidates' tasks.")] = "test",
    tasks: Annotated[str, typer.Option(help="The candidates' tasks.")] = "0-199",
    n: Annotated[int, typer.Option("--n", help="Candidates per task.")] = 32,
    pairs: Annotated[int, typer.Option(help="Of data for each variant.")] = 2000,
    cpu_minutes: Annotated[float, typer.Option(help="Of training for each variant.")] = 5.0,
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = "0",
) -> None:
    """Train the variants and judge them side by side."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    home = out / environment
    models = {}
    shape = () if environment == "game24" else ("--rows", "12", "-B", "part_tokens=128")
    for variant in ABLATIONS[ablation.value]:
        models[variant.name] = f"{home}/reward_{variant.recipe}-{{seed}}"
        for seed in parse_seeds(seeds):
            data = made(variant, environment, home, pairs, seed)
            model = models[variant.name].replace("{seed}", str(seed))
            budget = ("--cpu-minutes", str(cpu_minutes), "--seed", str(seed))
            run("armap", "train", data, "--out", model, *budget, *shape, *variant.train)
    found = home / f"{ablation.value}.json"
    if environment == "game24":
        judge_by_search(models, parse_seeds(seeds), found)
        return
    images = ablation is Ablation.IMAGES
    stored = home / ("candidates-seen" if images else "candidates")
    place = ("--split", split, "--tasks", tasks, "--n", str(n))
    fast = () if images else _fast(environment)
    run("python", SELECTION, "candidates", environment, "--out", stored, *place, *fast)
    judge_by_picks(models, seeds, stored, found)


if __name__ == "__main__":
    typer.run(main)
