"""Random intents in ScienceWorld: short scripts that get somewhere with the listed commands.

A script draws what it is about (a thing to carry, a thing to measure, paints to mix …), goes where
that is and does it, mostly in a sensible order; scripts follow one another, with random commands
between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from armap_agents.training.domain import Choose
from armap_agents.training.domains.scienceworld_explorer import POCKETED, Explorer, Script, splits
from armap_agents.training.domains.scienceworld_kinds import (
    base,
    kinds,
    lifespan,
    scenery,
    stage,
)
from armap_agents.training.domains.scienceworld_reading import AMBIGUOUS, read
from armap_agents.trajectory import Trajectory

NOISE = 0.06
"""Chance that a step is a random command."""

HINTED = 0.7
"""Chance that a script is drawn among those that the opening's words suggest."""


def intents(hint: str, rng: Random) -> Choose:
    """Return a chooser that carries out one random intent after the other.

    Args:
        hint: The opening's instruction.
        rng: Draws everything.
    """
    explorer = Explorer(hint, rng)
    script: Script = iter(())

    async def choose(trajectory: Trajectory) -> str:
        nonlocal script
        explorer.look(trajectory)
        if trajectory.last.text.startswith(AMBIGUOUS):
            return explorer.listed[0]
        if explorer.chance(NOISE):
            return explorer.random()
        for _ in range(20):  # a script may find nothing to do where it is
            action = next(script, None)
            if action is not None:
                return action
            script = intent(explorer)
        return explorer.random()

    return choose


def intent(explorer: Explorer) -> Script:
    """Return a script drawn at random, often one that the opening suggests."""
    hinted = [script for script, _, hint in _INTENTS if hint and re.search(hint, explorer.hint)]
    if hinted and explorer.chance(HINTED):
        return explorer.rng.choice(hinted)(explorer)
    weights = [weight for _, weight, _ in _INTENTS]
    return explorer.rng.choices([script for script, _, _ in _INTENTS], weights)[0](explorer)


def _carry(explorer: Explorer) -> Script:
    """Find a thing, and put it into something, here or elsewhere."""
    rng = explorer.rng
    yield from explorer.go(explorer.a_source(), look=0.9)
    name = explorer.draw(explorer.things("pick up"))
    if name is None:
        return
    steps = [f"focus on {name}"] if explorer.chance(0.85) else []
    steps.append(f"pick up {name}")
    if explorer.chance(0.15):
        rng.shuffle(steps)
    yield from steps
    if explorer.chance(0.8):
        yield from explorer.go(explorer.a_room(), look=0.4)
    if explorer.chance(0.9):
        yield from explorer.put("move", base(name), _container)


def _container(name: str) -> bool:
    return not scenery(name) and base(name) != POCKETED


def _name_it(explorer: Explorer) -> Script:
    """Go somewhere and focus on something."""
    yield from explorer.go(explorer.a_source(), look=0.9)
    name = explorer.draw(explorer.things("focus on"))
    if name:
        yield f"focus on {name}"


def _temperature(explorer: Explorer) -> Script:
    """Measure a thing's temperature, and put it away."""
    yield from explorer.go("kitchen", look=0.6)
    if explorer.chance(0.8):
        yield from explorer.focus(["thermometer"])
    yield from explorer.take("thermometer")
    yield from explorer.go(explorer.a_room(), look=0.8)
    name = explorer.draw(explorer.things("focus on"))
    if name is None:
        return
    if explorer.chance(0.85):
        yield f"focus on {name}"
    yield from explorer.measure(base(name))
    if explorer.chance(0.8):
        yield from explorer.take(base(name))
        yield from explorer.go(explorer.a_room(), look=0.4)
        yield from explorer.put("move", base(name), _container)


def _lifespans(explorer: Explorer) -> Script:
    """Focus on one animal outside, or on two."""
    yield from explorer.go("outside", look=0.9)
    animals = [n for n in explorer.targets("focus on") if lifespan(n) is not None]
    animals.sort(key=lambda n: lifespan(n) or 0.0, reverse=explorer.chance(0.5))
    if len(animals) > 1 and explorer.chance(0.6):
        animals = [animals[0], animals[-1]]
    else:
        explorer.rng.shuffle(animals)
    for name in animals[: explorer.rng.choice((1, 2, 2))]:
        yield f"focus on {name}"


def _stages(explorer: Explorer) -> Script:
    """Focus on the stages of one living thing, from the earliest on."""
    yield from explorer.go(explorer.rng.choice(("outside", "outside", "greenhouse")), look=1.0)
    assert explorer.seen is not None
    story = read(explorer.seen)
    pots = {name: name for name in story.seen.get(story.room, []) if "flower pot" in name}
    found: dict[str, list[tuple[int, str]]] = {}
    for name in explorer.targets("focus on"):
        pot = re.search(r"flower pot \d+", name)
        described = next((p for p in pots if pot and pot[0] in p), "") if pot else ""
        age = stage(name) if stage(name) is not None else stage(described)
        if age is not None and kinds(name) - {"non-living thing"}:
            found.setdefault(_sort(name), []).append((age, name))
    several = {sort: ages for sort, ages in found.items() if len({a for a, _ in ages}) > 1}
    if several:
        ages = sorted(several[explorer.rng.choice(sorted(several))])
        yield from (f"focus on {name}" for _, name in ages)


def _sort(name: str) -> str:
    return re.sub(r" (?:tree|seed|plant)$", "", base(name))


def _paint(explorer: Explorer) -> Script:
    """Pour paints together, mix them and focus on what comes out; perhaps twice."""
    yield from explorer.go("art studio", look=0.7)
    for _ in range(explorer.rng.choice((1, 1, 2))):
        pours = [(t, *splits(t)[0]) for t in explorer.targets("pour") if splits(t)]
        several = [t for t, what, to in pours if len(_colours(what) | _colours(to)) > 1]
        open_ones = [t for t in several if not re.search("cupboard|closet|desk", t)]
        if several:
            yield f"pour {explorer.rng.choice(open_ones or several)}"
        mixed = [t for t in explorer.targets("mix") if _is_cup(t) and len(_colours(t)) > 1]
        if not mixed:
            return
        yield f"mix {explorer.rng.choice(mixed)}"
        new = [t for t in explorer.targets("focus on") if not _is_cup(t) and _mixed(t)]
        if new and explorer.chance(0.85):
            yield f"focus on {explorer.rng.choice(new)}"


_PRIMARY = {"blue", "red", "yellow"}


def _colours(name: str) -> set[str]:
    return set(re.findall(r"([a-z-]+) paint", name))


def _is_cup(name: str) -> bool:
    return base(name).endswith(("cup", "bowl", "jar", "jug"))


def _mixed(name: str) -> bool:
    """Whether a name is that of a paint that was made of others."""
    return bool(_colours(name)) and not _colours(name) & _PRIMARY


def _plant(explorer: Explorer) -> Script:
    """Put a seed into a flower pot, and wait."""
    yield from explorer.go(explorer.a_room(), look=0.9)
    name = explorer.draw(
        explorer.targets("focus on"), lambda n: "seed" in n and "jar" not in base(n)
    )
    if name is None:
        return
    if explorer.chance(0.85):
        yield f"focus on {name}"
    seed = explorer.draw(explorer.targets("pick up"), lambda n: "seed" in n)
    yield f"pick up {seed or name}"
    yield from explorer.go("greenhouse", look=0.8)
    soil = explorer.draw(explorer.targets("move"), lambda n: "soil" in n and "flower pot" in n)
    if soil and explorer.chance(0.5):
        yield f"move {soil}"
    yield from explorer.put("move", "seed", lambda n: "flower pot" in n)
    for _ in range(explorer.rng.randrange(3)):
        yield explorer.rng.choice(("wait", "wait1", "look around"))


def _conductor(explorer: Explorer) -> Script:
    """Bring a thing into a circuit, and put it away."""
    yield from explorer.go(explorer.a_room(), look=0.8)
    name = explorer.draw(explorer.things("focus on"))
    if name is None:
        return
    if explorer.chance(0.85):
        yield f"focus on {name}"
    if explorer.chance(0.7):
        yield from explorer.take(base(name))
        yield from explorer.go("workshop", look=0.4)
    for _ in range(explorer.rng.randrange(3)):
        ends = [t for t in explorer.targets("connect") if base(name) in t and "wire" in t]
        if ends:
            yield f"connect {explorer.rng.choice(ends)}"
    if explorer.chance(0.8):
        yield from explorer.put("move", base(name), _container)


def _circuit(explorer: Explorer) -> Script:
    """Connect a lamp with wires and a battery."""
    yield from explorer.go("workshop", look=0.8)
    name = explorer.draw(explorer.targets("focus on"), lambda n: bool(_LAMP.fullmatch(n)))
    if name is not None:
        if explorer.chance(0.85):
            yield f"focus on {name}"
        yield from _powered(explorer, base(name))


_LAMP = re.compile(r"\w+ light bulb|(?:electric )?(?:buzzer|motor)")


def _powered(explorer: Explorer, lamp: str) -> Script:
    """Close a circuit around a lamp, or a part of one."""
    source = explorer.rng.choice(("battery", "battery", "battery", "solar panel", "generator"))
    wires = sorted({base(t) for t in explorer.targets("pick up") if t.endswith("wire")})
    explorer.rng.shuffle(wires)
    for pole, wire in zip(("anode", "cathode"), wires, strict=False):
        for thing, end in ((source, "1"), (lamp, "2")):
            ends = [
                t
                for t in explorer.targets("connect")
                if re.match(rf"(?=.*{pole})(?=.*{thing}).* to (?=.*{wire}).*terminal {end}", t)
                or re.match(rf"(?=.*{pole})(?=.*{thing}).* to terminal {end} in {wire}", t)
            ]
            if ends and explorer.chance(0.9):
                yield f"connect {explorer.rng.choice(ends)}"
    yield explorer.rng.choice(("look around", "look around", "wait1"))


def _heat(explorer: Explorer) -> Script:
    """Bring a substance to the stove, or into the cold."""
    yield from explorer.go("kitchen" if explorer.chance(0.7) else explorer.a_room(), look=0.8)
    for closed in explorer.rng.sample(["freezer", "fridge", "cupboard"], 2):
        if f"open {closed}" in explorer.listed and explorer.chance(0.5):
            yield f"open {closed}"
    name = explorer.draw(explorer.things("focus on"))
    if name is None:
        return
    if explorer.chance(0.8):
        yield f"focus on {name}"
    where = explorer.rng.choice(("stove", "stove", "oven", "freezer", "metal pot"))
    yield from explorer.put("move", base(name), lambda n: where in n)
    if f"activate {where}" in explorer.listed:
        yield f"activate {where}"
    for _ in range(explorer.rng.randrange(3)):
        yield explorer.rng.choice(("wait", "wait1", "look around"))


def _wander(explorer: Explorer) -> Script:
    """Look around in some rooms."""
    for _ in range(explorer.rng.choice((1, 2, 3))):
        yield from explorer.go(explorer.a_room(), look=0.9)


_INTENTS: tuple[tuple[Callable[[Explorer], Script], float, str], ...] = (
    (_carry, 3.0, "find a"),
    (_name_it, 1.0, ""),
    (_temperature, 1.0, "temperature|melting point"),
    (_lifespans, 0.6, "life span"),
    (_stages, 0.4, "life stages"),
    (_paint, 0.8, "paint"),
    (_plant, 0.3, "seed"),
    (_conductor, 0.5, "conductive"),
    (_circuit, 0.5, "light bulb|buzzer|motor"),
    (_heat, 0.5, "boil|melt|freeze|state of matter"),
    (_wander, 0.5, ""),
)
"""Scripts with how often they are drawn, and words of an opening that suggest them."""
