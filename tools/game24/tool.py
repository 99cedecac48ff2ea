"""The arithmetic tool for LangChain agents: exact, and safe on any text a model writes."""

from __future__ import annotations

from langchain_core.tools import tool

from armap_agents.errors import ArmapError
from armap_agents.tools.game24.arithmetic import calculate


@tool
def arithmetic(expression: str) -> str:
    """Calculate an expression of integers, + - * / and parentheses exactly, e.g. (13 - 9) * 6."""
    try:
        return f"{expression.strip()} = {calculate(expression)}"
    except ArmapError as error:
        return f"error: {error}"
