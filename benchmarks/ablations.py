"""What matters? Reward models trained with one thing changed, judged on the same stored candidates.

Each ablation is one command; each of its variants is data by `armap generate`, a model by `armap
train`, and a pick among candidates by `selection.py`. All of it goes on where it was interrupted:

    python benchmarks/ablations.py loss --out runs/ablations
    python benchmarks/ablations.py images --out runs/ablations          # needs Chromium
    python benchmarks/ablations.py explorer --out runs/ablations        # with ARMAP_POLICY_URL set

What a variant costs is `--pairs` of data and `--cpu-minutes` of training, the same for all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console(stderr=True)

BIN = Path(sys.executable).parent


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


POLICY_HALF = ("--policy-share", "0.5", "--uniform-share", "0", "--llm-share", "0.5")

ABLATIONS = {
    "loss": [Variant("pairwise"), Variant("binary", train=("--loss", "binary"))],
    "data": [
        Variant("all of it"),
        Variant("a fifth", train=("--fraction", "0.2")),
        Variant("a twenty-fifth", train=("--fraction", "0.04")),
    ],
    "sources": [
        Variant("changed by rule", "policy", POLICY_HALF, ("--sources", "perturb")),
        Variant("changed by the LLM", "policy", POLICY_HALF, ("--sources", "llm")),
        Variant("both", "policy", POLICY_HALF),
        Variant("true scores (not self-made)", label=True),
    ],
    "explorer": [
        Variant("uniform", "uniform", ("--uniform-share", "1")),
        Variant("random intents", "intents", ("--uniform-share", "0")),
        Variant("the policy, half", "policy", POLICY_HALF),
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


def made(variant: Variant, environment: str, out: Path, pairs: int, seed: str) -> Path:
    """Return the variant's data folder, made or completed."""
    folder = out / f"{variant.data}-{seed}"
    size = ("--pairs", str(pairs), "--seed", seed)
    run("armap", "generate", environment, "--out", folder, *size, *variant.generate)
    if not variant.label:
        return folder
    labelled = out / f"labelled-{seed}"
    by = ("--by", "environment", *_fast(environment))
    run("armap", "label", environment, "--from", folder, "--out", labelled, *by)
    return labelled


def _fast(environment: str) -> tuple[str, ...]:
    """Return the options that spare pictures where nobody looks."""
    return ("-E", "render=false") if environment == "webshop" else ()


def main(
    ablation: Annotated[Ablation, typer.Argument(help="What is changed.")],
    out: Annotated[Path, typer.Option(help="Folder for everything.")],
    environment: Annotated[str, typer.Option(help="Where.")] = "webshop",
    split: Annotated[str, typer.Option(help="Of the candidates' tasks.")] = "test",
    tasks: Annotated[str, typer.Option(help="The candidates' tasks.")] = "0-199",
    n: Annotated[int, typer.Option("--n", help="Candidates per task.")] = 32,
    pairs: Annotated[int, typer.Option(help="Of data for each variant.")] = 2000,
    cpu_minutes: Annotated[float, typer.Option(help="Of training for each variant.")] = 5.0,
    rows: Annotated[int, typer.Option(help="Trajectories a training step.")] = 12,
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = "0",
) -> None:
    """Train the variants and have them pick among the same candidates."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    home = out / environment
    stored = home / "candidates"
    selection = Path(__file__).with_name("selection.py")
    place = ("--split", split, "--tasks", tasks, "--n", str(n))
    fast = _fast(environment)
    if ablation is Ablation.IMAGES:
        stored, fast = home / "candidates-seen", ()
    run("python", selection, "candidates", environment, "--out", stored, *place, *fast)
    models = []
    for variant in ABLATIONS[ablation.value]:
        model = f"{home}/reward_{variant.recipe}-"
        for seed in seeds.split(","):
            data = made(variant, environment, home, pairs, seed)
            budget = ("--cpu-minutes", str(cpu_minutes), "--rows", str(rows), "--seed", seed)
            shape = ("-B", "part_tokens=128")
            run("armap", "train", data, "--out", model + seed, *budget, *shape, *variant.train)
        models.append(f"{variant.name}={model}{{seed}}")
    found = home / f"{ablation.value}.json"
    run("python", selection, "judge", stored, *models, "--seeds", seeds, "--out", found)


if __name__ == "__main__":
    typer.run(main)
