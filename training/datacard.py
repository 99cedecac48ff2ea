"""The data card: what a data folder holds, how it was made, and what its labels are worth."""

from __future__ import annotations

from typing import Any

FILES = """---
configs:
- config_name: pairs
  data_files: pairs.jsonl
  default: true
- config_name: values
  data_files: values.jsonl
- config_name: trajectories
  data_files: trajectories.jsonl
---

"""
"""Head of a card: which file is which, for the hub and the `datasets` library."""

_SOURCES = {
    "perturb": "the worse one was executed with something done wrong, or does what another "
    "instruction asks",
    "llm": "the worse one was executed with an action that the policy picked, or with the actions "
    "that the writer wrote for somebody who fails",
}


def card(report: dict[str, Any]) -> str:
    """Return the data card of a report."""
    config, counts, name = report["config"], report["counts"], report["environment"]
    sources = [
        f"- `{source}` ({counts[f'pairs by {source}']:,} pairs): {meaning}."
        for source, meaning in _SOURCES.items()
        if counts.get(f"pairs by {source}")
    ]
    return "\n".join(
        [
            f"{FILES}# Training pairs for {name}",
            "",
            f"Made by `armap generate {name}` with seed {config['seed']} in {report['units']:,} "
            f"visits, of {config['episodes']} episodes each, to tasks drawn from "
            f"{report['tasks']:,}. "
            f"{_explorers(config, counts)} {_writers(config, counts)} Tasks and goals that "
            "evaluations use are left out.",
            "",
            "Labels are self-made. Every trajectory was executed. A whole trajectory is the worse "
            "one where it does not fulfil the instruction; a prefix, where none of its executed "
            "continuations does and they return less on average.",
            "",
            *sources,
            "",
            "`trajectories.jsonl`: executed episodes, their screenshots in `images` by digest. "
            "`pairs.jsonl`: which prefix is better. `values.jsonl`: what the executed "
            f"continuations of a prefix returned, K = {config['continuations']}; less, as the line "
            "says, of later prefixes where those have few ways to go on, and 1 of whole episodes.",
            "",
            "| what | count |",
            "|---|---|",
            *(f"| {what} | {count:,} |" for what, count in counts.items()),
            "",
            f"Options of the environment: {config['options'] or 'none'}. Versions: "
            + ", ".join(f"{name} {number}" for name, number in report["versions"].items())
            + ".",
            "",
        ]
    )


def _explorers(config: dict[str, Any], counts: dict[str, int]) -> str:
    by_policy = counts.get("explored by the policy", 0)
    policy = (
        f"by the policy {config['policy_model']} ({by_policy:,}, temperature "
        f"{config['temperatures'][0]:g} to {config['temperatures'][1]:g}), "
        if config["policy_model"]
        else ""
    )
    return (
        f"{counts.get('explored', 0):,} episodes were explored: {policy}by random intents "
        f"({counts.get('explored by intents', 0):,}) and by uniform random actions "
        f"({counts.get('explored uniformly', 0):,})."
    )


def _writers(config: dict[str, Any], counts: dict[str, int]) -> str:
    if not config["writer_model"]:
        return "Instructions are the environment's templates."
    return (
        f"Instructions were worded by {config['writer_model']} "
        f"({counts.get('instructions: written', 0):,}) and by templates "
        f"({counts.get('instructions: template', 0):,})."
    )
