"""The rules of Game of 24 in exact rational arithmetic.

A state is the sorted tuple of numbers left. A step names two of them, an operation and its result:
``13 - 9 = 4``. Nothing here is evaluated as code: expressions are parsed with `ast` and walked by a
closed list of node types.
"""

from __future__ import annotations

import ast
import re
from fractions import Fraction
from functools import lru_cache

from armap_agents.errors import ArmapError

Numbers = tuple[Fraction, ...]
"""Numbers left, in ascending order."""

TARGET = Fraction(24)

_NUMBER = r"-?\d{1,12}(?:/\d{1,12})?"
_STEP = re.compile(rf"\s*({_NUMBER})\s*([-+*/])\s*({_NUMBER})\s*=\s*({_NUMBER})\s*")


class IllegalStep(ArmapError):
    """A step that the numbers left do not allow; the message says why."""


def numbers_left(values: object) -> Numbers:
    """Return numbers as a state.

    Args:
        values: An iterable of ints, Fractions or strings such as ``8/3``.

    Raises:
        ArmapError: A value is not a number.
    """
    try:
        return tuple(sorted(Fraction(value) for value in values))  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        raise ArmapError(f"not a list of numbers: {values!r}; use e.g. [4, 9, 10, 13]") from None


def format_numbers(numbers: Numbers) -> str:
    """Return the numbers separated by spaces, fractions as ``8/3``."""
    return " ".join(str(number) for number in numbers)


def apply_operator(left: Fraction, operator: str, right: Fraction) -> Fraction:
    """Return ``left operator right`` exactly.

    Raises:
        IllegalStep: Division by zero.
    """
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if right == 0:
        raise IllegalStep(f"{left} / {right} divides by zero")
    return left / right


def _without(numbers: Numbers, left: Fraction, right: Fraction) -> list[Fraction]:
    rest = list(numbers)
    for number in (left, right):
        if number not in rest:
            raise IllegalStep(f"{number} is not among the numbers left: {format_numbers(numbers)}")
        rest.remove(number)
    return rest


@lru_cache(maxsize=1 << 17)
def legal_steps(numbers: Numbers) -> tuple[tuple[str, Numbers], ...]:
    """List every legal step with the state that it leads to.

    Sums and products are listed once, with the larger number first; a difference and a quotient in
    both orders. Equal numbers give equal steps, which are listed once. The order is fixed: by pair
    of numbers, largest first, then ``+ - * /``.

    Returns:
        Pairs of a step such as ``13 - 9 = 4`` and the numbers left after it.
    """
    steps: dict[str, Numbers] = {}
    descending = numbers[::-1]
    for i, high in enumerate(descending):
        for j in range(i + 1, len(descending)):
            low = descending[j]
            rest = [
                n
                for k, n in enumerate(numbers)
                if k not in (len(numbers) - 1 - i, len(numbers) - 1 - j)
            ]
            for left, operator, right in (
                (high, "+", low),
                (high, "-", low),
                (low, "-", high),
                (high, "*", low),
                (high, "/", low),
                (low, "/", high),
            ):
                if operator == "/" and right == 0:
                    continue
                value = apply_operator(left, operator, right)
                step = f"{left} {operator} {right} = {value}"
                if step not in steps:
                    steps[step] = tuple(sorted([*rest, value]))
    return tuple(steps.items())


def take_step(numbers: Numbers, step: str) -> Numbers:
    """Return the state after a step.

    Args:
        numbers: The numbers left.
        step: ``a operator b = c``; sums and products in either order.

    Raises:
        IllegalStep: The step is not written so, uses a number that is not there, divides by zero
            or states a wrong result.
    """
    match = _STEP.fullmatch(step)
    if match is None:
        raise IllegalStep(f"{step[:60]!r} is not a step: write it like 13 - 9 = 4")
    try:
        left, right, stated = (Fraction(match[k]) for k in (1, 3, 4))
    except ZeroDivisionError:
        raise IllegalStep(f"{step[:60]!r} divides by zero") from None
    rest = _without(numbers, left, right)
    value = apply_operator(left, match[2], right)
    if value != stated:
        raise IllegalStep(f"{left} {match[2]} {right} is {value}, not {stated}")
    return tuple(sorted([*rest, value]))


_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
}


def calculate(expression: str) -> Fraction:
    """Evaluate an arithmetic expression of integers, ``+ - * /`` and parentheses exactly.

    Args:
        expression: At most 200 characters.

    Raises:
        ArmapError: The expression is too long, uses anything else, or divides by zero.
    """
    if len(expression) > 200:
        raise ArmapError("the expression is too long: use at most 200 characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ArmapError(f"not an arithmetic expression: {expression!r}") from None
    return _value(tree.body, expression)


def _value(node: ast.expr, expression: str) -> Fraction:
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return Fraction(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, expression)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return apply_operator(
                _value(left, expression), _OPERATORS[type(op)], _value(right, expression)
            )
    raise ArmapError(f"only integers, + - * / and parentheses are allowed: {expression!r}")
