"""What a planner is told beside its task: the context of every graph.

One pydantic model for all planners, so that Studio and callers meet the same names everywhere;
each planner reads the fields it needs. Unknown keys are refused, values are plain JSON, and keys
are named by environment variable, never given.
"""

from __future__ import annotations

import os
from typing import Any, Literal

from langgraph.runtime import Runtime
from pydantic import BaseModel, ConfigDict, Field

from armap_agents.errors import ConfigurationError
from armap_agents.policy import PolicyConfig


class PlannerContext(BaseModel):
    """Options of a planner run.

    ``policy_url``, ``policy_model``, ``policy_api_key_env`` and ``reward`` fall back to the
    environment variables ``ARMAP_POLICY_URL``, ``ARMAP_POLICY_MODEL``, ``ARMAP_POLICY_API_KEY_ENV``
    and ``ARMAP_REWARD``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy_url: str | None = Field(
        default_factory=lambda: os.environ.get("ARMAP_POLICY_URL"),
        title="Policy endpoint",
        description="Address of an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1.",
        json_schema_extra={"langgraph_nodes": ["begin", "expand", "rollout"]},
    )
    policy_model: str | None = Field(
        default_factory=lambda: os.environ.get("ARMAP_POLICY_MODEL"),
        title="Policy model",
        description="Name under which the endpoint serves the policy.",
        json_schema_extra={"langgraph_nodes": ["begin", "expand", "rollout"]},
    )
    policy_api_key_env: str | None = Field(
        default_factory=lambda: os.environ.get("ARMAP_POLICY_API_KEY_ENV"),
        title="API key variable",
        description="NAME of the environment variable that holds the endpoint's key.",
        json_schema_extra={"langgraph_nodes": ["expand", "rollout"]},
    )
    policy_style: Literal["chat", "completion"] = Field(
        default="chat",
        title="Prompt style",
        description="`completion` for base models, which have no chat template.",
        json_schema_extra={"langgraph_nodes": ["expand", "rollout"]},
    )
    policy_thoughts: bool = Field(
        default=False,
        title="Thoughts",
        description="Have the policy write one line of thought before each action, as in ReAct. "
        "Priors of a search are then shares of samples.",
        json_schema_extra={"langgraph_nodes": ["expand", "rollout"]},
    )
    policy_concurrency: int = Field(
        default=128,
        ge=1,
        title="Requests in flight",
        description="Most requests to the policy endpoint at once.",
        json_schema_extra={"langgraph_nodes": ["expand", "rollout"]},
    )
    policy_timeout: float = Field(
        default=120.0,
        gt=0,
        title="Request deadline",
        description="Seconds per request.",
        json_schema_extra={"langgraph_nodes": ["expand", "rollout"]},
    )
    policy_retries: int = Field(
        default=3,
        ge=0,
        title="Retries",
        description="Further tries after a failure that may pass, with back-off.",
        json_schema_extra={"langgraph_nodes": ["expand", "rollout"]},
    )
    environment_options: dict[str, Any] = Field(
        default_factory=dict,
        title="Environment options",
        description="Passed to the environment's constructor.",
        json_schema_extra={"langgraph_nodes": ["begin", "rollout"]},
    )
    reward: str | None = Field(
        default_factory=lambda: os.environ.get("ARMAP_REWARD"),
        title="Reward model",
        description="Folder of a trained reward model, or a name given to register_reward.",
        json_schema_extra={"langgraph_nodes": ["score"]},
    )
    objective: dict[str, float] = Field(
        default_factory=dict,
        title="Penalties",
        description='Weights of penalties taken off the reward, such as {"length": 0.3}.',
        json_schema_extra={"langgraph_nodes": ["score"]},
    )
    n: int = Field(
        default=16,
        ge=1,
        le=10_000,
        title="Independent rollouts",
        description="Draws of sampling and Best-of-N.",
        json_schema_extra={"langgraph_nodes": ["rollout"]},
    )
    temperature: float = Field(
        default=0.7,
        ge=0.0,
        le=5.0,
        title="Temperature",
        description="Of the policy's samples and proposals; rollouts inside a search are greedy.",
        json_schema_extra={"langgraph_nodes": ["expand", "rollout"]},
    )
    rollouts: int | None = Field(
        default=32,
        ge=1,
        title="Budget: rollouts",
        description="Leaves that a search evaluates, or attempts of Reflexion.",
        json_schema_extra={"langgraph_nodes": ["select", "rollout"]},
    )
    completions: int | None = Field(
        default=None,
        ge=1,
        title="Budget: completions",
        description="Sampled completions; scoring a list of choices counts one for each.",
        json_schema_extra={"langgraph_nodes": ["select", "rollout"]},
    )
    tokens: int | None = Field(
        default=None,
        ge=1,
        title="Budget: tokens",
        description="Tokens read and written by the policy.",
        json_schema_extra={"langgraph_nodes": ["select", "rollout"]},
    )
    environment_steps: int | None = Field(
        default=None,
        ge=1,
        title="Budget: environment steps",
        description="Actions taken in environments, replayed ones included.",
        json_schema_extra={"langgraph_nodes": ["select", "rollout"]},
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        title="Budget: seconds",
        description="Time of the whole search; the iteration under way is finished.",
        json_schema_extra={"langgraph_nodes": ["select", "rollout"]},
    )
    stop_objective: float | None = Field(
        default=None,
        title="Good enough",
        description="Stop once a finished trajectory's objective reaches this.",
        json_schema_extra={"langgraph_nodes": ["backup", "score"]},
    )
    parallel: int = Field(
        default=8,
        ge=1,
        le=1024,
        title="Leaves at once",
        description="W: leaves that a search evaluates side by side in one iteration.",
        json_schema_extra={"langgraph_nodes": ["select"]},
    )
    proposals: int = Field(
        default=10,
        ge=1,
        le=1000,
        title="Proposals",
        description="k: actions that the policy proposes at a node.",
        json_schema_extra={"langgraph_nodes": ["expand"]},
    )
    selection: Literal["uct", "puct", "armap"] = Field(
        default="puct",
        title="Selection rule",
        description="`puct` weighs by the policy's prior, `armap` is the paper's.",
        json_schema_extra={"langgraph_nodes": ["select"]},
    )
    exploration: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        title="Exploration",
        description="Constant c of the rule's bonus; empty: the rule's own.",
        json_schema_extra={"langgraph_nodes": ["select"]},
    )
    normalisation: Literal["minmax", "none"] = Field(
        default="minmax",
        title="Normalisation",
        description="Of values in selection; `none`, as in the paper, suits rewards in [0, 1].",
        json_schema_extra={"langgraph_nodes": ["select"]},
    )
    backup: Literal["max", "mean"] = Field(
        default="max",
        title="Backup",
        description="A node's value: the maximum or the mean of what was found below it.",
        json_schema_extra={"langgraph_nodes": ["backup"]},
    )
    value_weight: float | None = Field(
        default=None,
        ge=0,
        le=1,
        title="Weight of prefix values",
        description="λ: a leaf is worth λ·V(prefix) + (1 − λ)·rollout. 0 is the paper's search, 1 "
        "rolls nothing out. Empty: 0.5 where the reward model gives prefix values, else 0.",
        json_schema_extra={"langgraph_nodes": ["backup"]},
    )
    width: int = Field(
        default=5,
        ge=1,
        le=1024,
        title="Beam width",
        description="States that a beam keeps after each step.",
        json_schema_extra={"langgraph_nodes": ["select"]},
    )
    review: bool = Field(
        default=False,
        title="Ask a person",
        description="Interrupt before the answer: approve it, edit it, or ask for more rollouts.",
        json_schema_extra={"langgraph_nodes": ["answer"]},
    )
    max_steps: int = Field(
        default=30,
        ge=1,
        title="Step limit",
        description="Most actions in a rollout; a task's own lower limit stands.",
        json_schema_extra={"langgraph_nodes": ["rollout"]},
    )
    rollout_seconds: float = Field(
        default=600.0,
        gt=0,
        title="Deadline of a rollout",
        description="Seconds from the moment that it has its environment.",
        json_schema_extra={"langgraph_nodes": ["rollout"]},
    )
    seed: int = Field(
        default=0,
        ge=0,
        title="Seed",
        description="Every draw derives from it.",
        json_schema_extra={"langgraph_nodes": ["expand", "rollout"]},
    )
    run: str | None = Field(
        default=None,
        title="Run name",
        description="Default: a new one. A run that exists goes on by its journal.",
        json_schema_extra={"langgraph_nodes": ["begin"]},
    )
    reflections: int = Field(
        default=3,
        ge=0,
        le=100,
        title="Memory",
        description="Newest notes that an attempt of Reflexion is shown; 0 reflects on nothing.",
        json_schema_extra={"langgraph_nodes": ["reflect"]},
    )
    stop_probability: float = Field(
        default=0.9,
        gt=0,
        le=1,
        title="Pass probability",
        description="Reflexion stops once a calibrated reward model finds a success this likely, "
        "at its own base rate: set it higher where successes are rare. One that is not calibrated "
        'stops at "Good enough", or at 1 where that is empty.',
        json_schema_extra={"langgraph_nodes": ["score"]},
    )

    def policy(self) -> PolicyConfig:
        """Return the policy's part.

        Raises:
            ConfigurationError: Address or model is missing.
        """
        if not self.policy_url or not self.policy_model:
            missing = "policy_url" if not self.policy_url else "policy_model"
            raise ConfigurationError(
                f"no {missing}: put it into the context, or set ARMAP_{missing.upper()}; "
                "`armap serve policy` starts an endpoint and prints both"
            )
        return PolicyConfig(
            url=self.policy_url,
            model=self.policy_model,
            api_key_env=self.policy_api_key_env,
            style=self.policy_style,
            timeout=self.policy_timeout,
            retries=self.policy_retries,
            max_concurrency=self.policy_concurrency,
            thoughts=self.policy_thoughts,
        )


def context_of(runtime: Runtime[PlannerContext]) -> PlannerContext:
    """Return the run's context; LangGraph hands over None where the caller gave none."""
    return runtime.context or PlannerContext()
