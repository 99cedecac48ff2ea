"""What everybody knows about the things in ScienceWorld's house, as a small dictionary of our own.

It says what is alive, how long animals live and what conducts. That is
a privilege of data generation, beside the lists of valid actions: with it an instruction can ask
for "a living thing" where the world only ever says "dove". Nothing of it was read out of the
simulator's rules; where common sense is divided (is an apple alive?) a thing has no kind at all.
"""

from __future__ import annotations

import re

ROOMS = (
    "art studio",
    "bathroom",
    "bedroom",
    "foundry",
    "greenhouse",
    "hallway",
    "kitchen",
    "living room",
    "outside",
    "workshop",
)

LIFESPANS = {
    "ant": 1,
    "bee": 0.2,
    "beaver": 12,
    "blue jay": 7,
    "brown bear": 25,
    "butterfly": 0.1,
    "chameleon": 5,
    "chipmunk": 3,
    "crocodile": 60,
    "dove": 4,
    "dragonfly": 0.3,
    "elephant": 65,
    "frog": 9,
    "giant tortoise": 120,
    "hamster": 2,
    "hedgehog": 4.5,
    "moth": 0.1,
    "mouse": 1.5,
    "parrot": 50,
    "rabbit": 8,
    "tortoise": 90,
    "turtle": 40,
    "wolf": 7.5,
}
"""Animals with the years that they commonly live, roughly."""

FRUITS = ("apple", "avocado", "banana", "cherry", "lemon", "orange", "peach")

STAGES = {
    "egg": 0,
    "seed": 0,
    "baby": 1,
    "hatchling": 1,
    "seedling": 1,
    "juvenile": 2,
    "adult": 3,
    "reproducing": 4,
}
"""Words for stages of life and their order; the dead have none."""

KINDS = ("animal", "plant", "living thing", "non-living thing", "seed")
"""Kinds that an instruction can ask for."""

_CONDUCTS = re.compile(r"\b(metal|steel|tin|iron|copper|aluminum|gold|silver|lead|brass|bronze)\b")
_INSULATES = re.compile(r"\b(wood|plastic|glass|ceramic|paper|rubber|cloth|soap|chocolate|bread)\b")
_STAGE = re.compile(r"\b(?:egg|baby|hatchling|juvenile|adult|dead)\b")
_WHERE = re.compile(r" (?:in|on|containing) (?!between).*")
_SCENERY = re.compile(
    r"^(?:agent|air|inventory|object|sewer|ground|cloth sittable|substance|organism)$|\bdrain\b"
    r"|\bdoor\b|\b(?:anode|cathode|terminal \d)\b"
)
_NAMES = {"common toad": "frog", "red apple": "apple", "steel table": "table"}


def base(name: str) -> str:
    """Return what a thing is called by itself: without article, stage of life and whereabouts."""
    name = re.sub(r"^(?:an?|the) ", "", name.strip().lower())
    name = re.sub(r"^substance called ", "", name)
    name = _WHERE.sub("", name)
    name = re.sub(r"^seed (?=\w+ seed$)", "", name)
    name = " ".join(_STAGE.sub(" ", name).split())
    return _NAMES.get(name, name)


def kinds(name: str) -> frozenset[str]:
    """Return the kinds that a thing surely belongs to; empty where common sense is divided."""
    thing = base(name)
    if thing in LIFESPANS or re.fullmatch(r"bee \d+", thing):
        return frozenset(("animal", "living thing"))
    if re.search(r"\b(?:tree|plant)$|^pea$", thing):
        return frozenset(("plant", "living thing"))
    if thing.endswith(" seed"):
        return frozenset(("seed",))
    if not thing or thing in (*FRUITS, "potato", "wood", *ROOMS) or _SCENERY.search(thing):
        return frozenset()
    return frozenset(("non-living thing",))


def doubtful(name: str, what: str) -> bool:
    """Whether common sense can't tell if a thing is of the kind that is asked for."""
    return what in KINDS and not is_a(name, what) and not kinds(name) - {"seed"}


def is_a(name: str, what: str) -> bool:
    """Whether a thing is what is asked for, by kind or by name."""
    return what in kinds(name) if what in KINDS else base(name) == base(what)


def scenery(name: str) -> bool:
    """Whether something is listed that nobody would call a thing of its own."""
    return bool(_SCENERY.search(base(name))) or base(name) in ROOMS


def lifespan(name: str) -> float | None:
    """Return the years that an animal commonly lives; None for other things."""
    return LIFESPANS.get(base(re.sub(r" \d+$", "", name)))


def conducts(name: str) -> bool | None:
    """Return whether a thing conducts electricity, by the material in its name; else None."""
    if _CONDUCTS.search(name):
        return True
    return False if _INSULATES.search(name) else None


def stage(name: str) -> int | None:
    """Return how far a thing's life has come, by the words that describe it; None for others."""
    words = re.findall(r"[a-z]+", name.lower())
    if "dead" in words:
        return None
    return next((STAGES[word] for word in words if word in STAGES), None)
