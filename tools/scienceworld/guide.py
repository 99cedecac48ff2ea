"""What a policy is told about ScienceWorld: the commands, and two episodes played by hand.

The rules are those of the simplification ``easy``. The episodes are stored as they were played, on
tasks that nothing is evaluated on; making the guide starts no Java.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from armap_agents.environment import Guide
from armap_agents.trajectory import Trajectory

RULES = """\
You do a school experiment in a house, by short written commands. It has a kitchen, bathroom, \
bedroom, living room, art studio, workshop, foundry, greenhouse and hallway, and an outside.

Commands, where THING and PLACE are named as in what you see:
look around - what is in this room
look at THING, look in THING - one thing, or what a container holds
inventory - what you carry
teleport to PLACE - be in another room at once
open THING, close THING - doors and containers
pick up THING, put down THING
move THING to THING - put something into or onto another thing
pour THING into THING, dunk THING into THING - liquids and powders
mix THING - let the contents of a container react
activate THING, deactivate THING - stoves, sinks, switches and other devices
use THING on THING - for example a thermometer on what is to be measured
connect THING to THING, disconnect THING - ends of wires and electrical parts
read THING, eat THING, flush THING
focus on THING - declare that this is the thing the task is about
wait1, wait - let one moment pass, or ten
task - hear the task again

Focus only where the task tells you to, on exactly the thing it asks for, and in its order: a \
wrong focus ends the experiment as a failure. Things are often far from where you start: go to the \
room that the task names, or to the one where such a thing belongs, and look around. If a command \
names several things, the answer lists them by number; answer with the number alone."""


@cache
def guide() -> Guide:
    """Return the rules and the worked episodes."""
    text = files("armap_agents.tools.scienceworld").joinpath("examples.json").read_text("utf-8")
    examples = (Trajectory.from_dict(example) for example in json.loads(text)["examples"])
    return Guide(RULES, tuple(examples))
