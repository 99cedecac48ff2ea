"""Instructions about things that are there: found, measured, tested, told apart by their lives."""

from __future__ import annotations

import re
from random import Random

from armap_agents.training.domains.scienceworld_asks import IT, ask
from armap_agents.training.domains.scienceworld_clauses import (
    Clause,
    Clauses,
    a,
    connects,
    first_focus,
    focuses_of,
    moved,
    near,
    put_away,
    sort_of,
    took,
)
from armap_agents.training.domains.scienceworld_kinds import (
    base,
    conducts,
    kinds,
    lifespan,
    scenery,
    stage,
)
from armap_agents.training.domains.scienceworld_reading import Event, Story

COLOURS = ("blue", "green", "orange", "purple", "red", "yellow")


def find(story: Story, rng: Random) -> Clauses | None:
    """Find a thing of a kind or a name, and mostly put it away."""
    focus = first_focus(story)
    if focus is None:
        return None
    name = base(focus.what)
    sorts = sorted(kinds(name) - {"seed"})
    what = rng.choice(sorts) if sorts and rng.random() < 0.7 else name
    located = rng.random() < 0.5 and what == name
    room = focus.room if located else None
    where = rng.choice((f", which is located around the {room}", f" in the {room}"))
    head = rng.choice((*["Your task is to find"] * 4, "Find", "Look for"))
    article = rng.choice((f"a(n) {what}", a(what)))
    found = ask("focus", what, room=room, words=[what, room] if room else [what])
    close = ask("at", room) if room else near(story, what, focus)
    clauses = [
        Clause(f"{head} {article}{where if located else ''}.", (close,)),
        Clause(
            rng.choice(
                ("First, focus on the thing.", "First, focus on it.", "Focus on the thing.")
            ),
            (found,),
        ),
    ]
    put = put_away(story, name, focus.step)
    if put is not None:
        there = f"the {base(put.to)} in the {put.room}"
        then = rng.choice(
            ("Then, move it to", "Then, move it to", "Then, put it into", "Next, move it to")
        )
        clauses.append(Clause(f"{then} {there}.", moved(story, put, focus.step)))
    elif any(e.step > focus.step and took(e, name) for e in story.events):
        then = rng.choice(("Then, pick it up.", "Then, take it with you."))
        clauses.append(Clause(then, (ask("move", IT, "inventory"),)))
    return clauses


def temperature(story: Story, rng: Random) -> Clauses | None:
    """Measure a temperature, and put the thing where that says."""
    focuses = focuses_of(story)
    if len(focuses) < 2 or base(focuses[0].what) != "thermometer" or scenery(focuses[1].what):
        return None
    focus, name = focuses[1], base(focuses[1].what)
    if name == "thermometer":
        return None
    measured = next((e for e in story.events if e.do == "measure" and e.what == name), None)
    put = put_away(story, name, measured.step if measured else focus.step)
    clauses = [
        Clause(
            f"Your task is to measure the temperature of {name}, which is located around the "
            f"{focus.room}."
        ),
        Clause(
            "First, focus on the thermometer.",
            (ask("focus", "thermometer", words=["thermometer"]),),
        ),
        Clause(
            f"{rng.choice(('Next', 'Then'))}, focus on the {name}.",
            (ask("at", focus.room), ask("focus", name, room=focus.room, words=[name])),
        ),
    ]
    if measured is None or measured.step < focus.step:
        return clauses
    clauses.append(Clause("Use the thermometer on it.", (ask("measure", name),)))
    if put is not None:
        clauses[-1] = Clause("", clauses[-1].asks)
        above = rng.random() < 0.5
        degrees = measured.number + rng.choice((5, 20, 40, 90)) * (-1 if above else 1)
        boxes = _either(story, put, rng)
        clauses.append(
            Clause(
                _branches(
                    f"the {name} temperature is {{}} {degrees:.1f} degrees celsius",
                    ("above", "below"),
                    boxes if above else boxes[::-1],
                )
                + f" The containers are located around the {put.room}.",
                moved(story, put, measured.step, said=False),
            )
        )
    return [c for c in clauses if c.text or c.asks]


def conductivity(story: Story, rng: Random) -> Clauses | None:
    """Test a thing in a circuit, and put it where the result says."""
    focus = first_focus(story)
    if focus is None:
        return None
    name = base(focus.what)
    known = conducts(name)
    if known is None and "unknown substance" not in name:
        return None
    clauses = [
        Clause(
            f"Your task is to determine if {name} is electrically conductive. The {name} is "
            f"located around the {focus.room}.",
            (ask("at", focus.room),),
        ),
        Clause(
            f"First, focus on the {name}.",
            (ask("focus", name, room=focus.room, words=[name, focus.room]),),
        ),
    ]
    if any(connects(e, name, focus.step) for e in story.events):
        clauses.append(Clause("", (ask("connect", name),)))
    put = put_away(story, name, focus.step)
    if put is not None:
        right, wrong = _either(story, put, rng)
        boxes = (right, wrong) if known in (True, None) else (wrong, right)
        to = [right] if known is not None else [right, wrong]
        clauses.append(
            Clause(
                _branches("it is electrically {}conductive", ("", "non"), boxes),
                (ask("at", put.room), ask("move", IT, to, put.room, [boxes[0]])),
            )
        )
    return clauses


def _either(story: Story, put: Event, rng: Random) -> tuple[str, str]:
    """Return the container that was used, and another that might have been."""
    right = base(put.to)
    colours = [f"{colour} box" for colour in COLOURS if f"{colour} box" != right]
    seen = [n for n in story.seen.get(put.room, []) if n.endswith("box") and n != right]
    return right, rng.choice(seen or colours)


def _branches(condition: str, cases: tuple[str, str], boxes: tuple[str, str]) -> str:
    return " ".join(
        f"If {condition.format(case)}, place it in the {box}."
        for case, box in zip(cases, boxes, strict=True)
    )


def life_span(story: Story, rng: Random) -> Clauses | None:
    """Name the animals that live longest or shortest."""
    focuses = focuses_of(story)
    if not focuses or lifespan(focuses[0].what) is None:
        return None
    room = focuses[0].room
    years = {
        base(n): lifespan(n) or 0.0 for n in story.seen.get(room, []) if lifespan(n) is not None
    }
    extremes = {
        _extreme(years, longest=True): "longest",
        _extreme(years, longest=False): "shortest",
    }
    asked = []
    for focus in focuses[:2]:
        which = extremes.pop(base(focus.what), None)
        if which is None:
            break
        asked.append((which, base(focus.what)))
    if not asked:
        return None
    spans = ", then the ".join(f"{which} life span" for which, _ in asked)
    clauses = [
        Clause(
            f"Your task is to find the animal with the {spans}. The animals are in the '{room}' "
            "location.",
            (ask("at", room),),
        )
    ]
    for place, (which, name) in enumerate(asked):
        start = ("First, focus" if len(asked) > 1 else "Focus", "Then, focus")[place]
        found = ask("focus", name, words=[f"{which} life span"] if place == 0 else [])
        clauses.append(Clause(f"{start} on the animal with the {which} life span.", (found,)))
    return clauses


def _extreme(years: dict[str, float], *, longest: bool) -> str:
    """Return who lives longest or shortest of several, if that is beyond doubt."""
    ordered = sorted(years, key=lambda name: years[name], reverse=longest)
    if len(ordered) < 2:
        return ""
    first, second = (max(years[name], 0.01) for name in ordered[:2])
    return ordered[0] if max(first / second, second / first) >= 1.2 else ""


def life_stages(story: Story, rng: Random) -> Clauses | None:
    """Name the stages of a life in order."""
    run: list[Event] = []
    for event in focuses_of(story):
        age = stage(event.what)
        if age is None or (run and not _older(event, run[-1])):
            break
        run.append(event)
    if len(run) < 2:
        return None
    thing = sort_of(run[0]) + (" plant" if re.search(r"seed|tree|plant", run[0].what) else "")
    text = (
        f"Your task is to focus on the {len(run)} {rng.choice(('', 'first '))}life stages of the "
        f"{thing}, starting from earliest to latest. They are located around the {run[0].room}."
    )
    asks = [ask("focus", e.what, words=[thing] if e is run[0] else []) for e in run]
    return [Clause(text, (ask("at", run[0].room), *asks))]


def _older(event: Event, before: Event) -> bool:
    """Whether a focus is on the same sort of living thing, further in its life."""
    return sort_of(event) == sort_of(before) and (stage(event.what) or 0) > (
        stage(before.what) or 0
    )
