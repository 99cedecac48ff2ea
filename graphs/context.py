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
    )
    policy_model: str | None = Field(
        default_factory=lambda: os.environ.get("ARMAP_POLICY_MODEL"),
        title="Policy model",
        description="Name under which the endpoint serves the policy.",
    )
    policy_api_key_env: str | None = Field(
        default_factory=lambda: os.environ.get("ARMAP_POLICY_API_KEY_ENV"),
        title="API key variable",
        description="NAME of the environment variable that holds the endpoint's key.",
    )
    policy_style: Literal["chat", "completion"] = Field(
        default="chat",
        title="Prompt style",
        description="`completion` for base models, which have no chat template.",
    )
    policy_concurrency: int = Field(
        default=128,
        ge=1,
        title="Requests in flight",
        description="Most requests to the policy endpoint at once.",
    )
    policy_timeout: float = Field(
        default=120.0, gt=0, title="Request deadline", description="Seconds per request."
    )
    policy_retries: int = Field(
        default=3,
        ge=0,
        title="Retries",
        description="Further tries after a failure that may pass, with back-off.",
    )
    environment_options: dict[str, Any] = Field(
        default_factory=dict,
        title="Environment options",
        description="Passed to the environment's constructor.",
    )
    reward: str | None = Field(
        default_factory=lambda: os.environ.get("ARMAP_REWARD"),
        title="Reward model",
        description="Folder of a trained reward model, or a name given to register_reward.",
    )
    objective: dict[str, float] = Field(
        default_factory=dict,
        title="Penalties",
        description='Weights of penalties taken off the reward, such as {"length": 0.3}.',
    )
    n: int = Field(
        default=16,
        ge=1,
        le=10_000,
        title="Rollouts",
        description="Independent rollouts for sampling and Best-of-N.",
    )
    temperature: float = Field(
        default=0.7, ge=0.0, le=5.0, title="Temperature", description="Of the policy's samples."
    )
    max_steps: int = Field(
        default=30,
        ge=1,
        title="Step limit",
        description="Most actions in a rollout; a task's own lower limit stands.",
    )
    rollout_seconds: float = Field(
        default=600.0,
        gt=0,
        title="Deadline of a rollout",
        description="Seconds from the moment that it has its environment.",
    )
    seed: int = Field(default=0, ge=0, title="Seed", description="Every draw derives from it.")
    run: str | None = Field(
        default=None,
        title="Run name",
        description="Default: a new one. A run that exists goes on by its journal.",
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
        )


def context_of(runtime: Runtime[PlannerContext]) -> PlannerContext:
    """Return the run's context; LangGraph hands over None where the caller gave none."""
    return runtime.context or PlannerContext()
