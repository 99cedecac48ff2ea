"""The policy LLM: any OpenAI-compatible endpoint, asked for one action or for k with a prior.

`client` holds `Policy`, `records` what goes in and comes out, `endpoint` the requests and their
failures, `prompts` what a trajectory looks like to the model, `actions` how an action is
constrained and read, `thoughts` the line before it, `narrowing` how it is chosen from a long list,
`question` what is asked at a time, `sampling` how answers are drawn, `prior` and `exact` the
probabilities of listed actions.
"""

from armap_agents.policy.client import Policy
from armap_agents.policy.records import Answer, PolicyConfig, PolicyFailure, Proposal, Proposals

__all__ = ["Answer", "Policy", "PolicyConfig", "PolicyFailure", "Proposal", "Proposals"]
