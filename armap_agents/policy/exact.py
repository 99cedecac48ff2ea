"""The exact prior of a listed state, by walking its choices on an endpoint that constrains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from armap_agents.policy.endpoint import ConstraintRefused, Endpoint, Position
from armap_agents.policy.prior import Members, NoPriorError, walk
from armap_agents.policy.prompts import Message
from armap_agents.policy.records import PolicyFailure
from armap_agents.policy.sampling import Sampler
from armap_agents.usage import Usage


async def exact_prior(
    prompt: list[Message], actions: Members, endpoint: Endpoint, sampler: Sampler
) -> tuple[Mapping[str, float] | None, Usage]:
    """Return the log-probability of each action, or None where the endpoint has none.

    Scoring a list of choices counts one completion per candidate (`Usage`), whatever the number of
    requests, which is never larger.

    Args:
        prompt: Asks for one of the actions.
        actions: Distinct, at least two.
        endpoint: Where it is asked.
        sampler: Is told what the endpoint turns out not to do.

    Raises:
        PolicyFailure: The endpoint failed for good.
    """
    usage = Usage()

    async def ask(choices: Members, tokens: int) -> tuple[Position, ...]:
        nonlocal usage
        for _ in range(2):
            completion = await endpoint.complete(
                prompt,
                temperature=0.0,
                max_tokens=tokens,
                constraint={"choice": list(choices)},
                logprobs=True,
            )
            usage += completion.usage
            text = completion.texts[0]
            if any(choice.startswith(text) for choice in choices):
                break
        else:
            sampler.stop_constraining(f"it answered {text[:60]!r}, which is not allowed")
            raise NoPriorError
        if not completion.positions:
            sampler.stop_asking_logprobs()
            raise NoPriorError
        return completion.positions

    lead = sampler.lead
    try:
        found = await walk([lead + action for action in actions], ask)
    except ConstraintRefused as refusal:
        sampler.stop_constraining(str(refusal))
        return None, usage
    except NoPriorError:
        return None, usage
    except PolicyFailure as failure:
        failure.usage = usage + failure.usage
        raise
    prior = {action: found[lead + action] for action in actions}
    return prior, replace(usage, completions=len(actions))
