"""Models for people without an account anywhere: pulling them, and serving the policy.

`pull` fetches a small model, `policy_server` serves one with vLLM for as long as a block runs. What
they make lies in the cache folder, `$ARMAP_CACHE` or `~/.cache/armap-agents`.
"""

from armap_agents.serving.models import (
    MODELS,
    is_pulled,
    pull,
    resolve_model,
    served_model_source,
)
from armap_agents.serving.policy_server import DEFAULT_MODEL, PolicyServer, policy_server

__all__ = [
    "DEFAULT_MODEL",
    "MODELS",
    "PolicyServer",
    "is_pulled",
    "policy_server",
    "pull",
    "resolve_model",
    "served_model_source",
]
