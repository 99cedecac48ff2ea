"""The policy LLM: any OpenAI-compatible endpoint, asked for one action or for k with a prior.

`client` holds `Policy` and its requests, `prompts` what a trajectory looks like to the model,
`actions` how an action is constrained and read, `prior` the probabilities of listed actions.
"""

from armap_agents.policy.client import (
    Answer,
    Policy,
    PolicyConfig,
    PolicyFailure,
    Proposal,
    Proposals,
)

__all__ = ["Answer", "Policy", "PolicyConfig", "PolicyFailure", "Proposal", "Proposals"]
