"""The exceptions that users meet: one root, one line each, naming the cure."""

from __future__ import annotations


class ArmapError(RuntimeError):
    """Something the user can mend; the message is one line and says how.

    The command line prints it without a traceback and exits with status 1. It is a `RuntimeError`
    because the LangGraph server hands on the messages of Python's own errors alone.
    """


class ConfigurationError(ArmapError):
    """An option, name or file is wrong; raised before any work starts."""


class PolicyError(ArmapError):
    """The policy endpoint could not be reached, refused the request or answered nonsense."""


class EnvironmentFailure(ArmapError):
    """An environment died or did not do what its protocol says; costs one rollout."""


class EnvironmentDied(EnvironmentFailure):
    """The process behind an environment is gone; the same step may succeed in another one."""


class RestoreMismatch(EnvironmentFailure):
    """A restored state differs from the recorded one; the rollout is marked, never continued."""
