"""The planners, each a LangGraph state graph in a file of its own.

Every planner module exports `builder`, to compile with a saver of your own, and `graph`, compiled
without one, as the LangGraph server wants it. Input is ``{"task": task.to_dict()}``, options are
the context (`PlannerContext`), the output has ``trajectory``, ``score``, ``candidates``, ``usage``
and ``run``.
"""

PLANNERS = ("greedy", "sampling", "best_of_n", "reflexion", "beam", "mcts")
"""Names of the planners: of their modules here, of their graphs, of their assistants."""
