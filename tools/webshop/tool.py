"""The shop as LangChain tools, so that any tool-calling agent can go shopping in an environment."""

from __future__ import annotations

import asyncio

from langchain_core.tools import BaseTool, tool

from armap_agents.environment import Environment
from armap_agents.errors import EnvironmentFailure


def webshop_tools(environment: Environment) -> list[BaseTool]:
    """Return the tools ``search`` and ``click`` of one shopper.

    Both act in the environment's episode, which `reset` begins, and answer with the page that they
    lead to and what can be done there. They are asynchronous; calls made at once are done one after
    the other.

    Args:
        environment: A `WebShop`.
    """
    turn = asyncio.Lock()

    async def act(action: str) -> str:
        try:
            async with turn:
                result = await environment.step(action)
        except EnvironmentFailure as error:
            return f"error: {error}"
        seen = result.observation
        if result.done:
            return f"{seen.text}\nThe purchase is made: nothing is left to do."
        ways = [way.removeprefix("click[").removesuffix("]") for way in seen.actions or ()]
        return "\n".join(
            [
                seen.text,
                *(["You can search."] if seen.templates else []),
                *([f"You can click: {'; '.join(ways)}"] if ways else []),
            ]
        )

    @tool
    async def search(query: str) -> str:
        """Search the shop for products by a few words, such as: blue cotton towels."""
        return await act(f"search[{query}]")

    @tool
    async def click(target: str) -> str:
        """Click a button, a product's id or an option's value by its text, such as: buy now."""
        return await act(f"click[{target}]")

    return [search, click]
