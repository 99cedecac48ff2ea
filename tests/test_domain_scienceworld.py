"""ScienceWorld's data generation: what is read, asked for, judged, done wrong and continued."""

import ast
import asyncio
import shutil
import statistics
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armap_agents import Observation, Task, Trajectory
from armap_agents.reward.render import Rendering, render
from armap_agents.serving.models import model_folder
from armap_agents.tools.scienceworld import ScienceWorld
from armap_agents.tools.scienceworld.tasks import rows
from armap_agents.training import domains
from armap_agents.training.domain import Instruction, domain
from armap_agents.training.domains.scienceworld import ScienceWorldDomain
from armap_agents.training.domains.scienceworld_asks import Ask, ask
from armap_agents.training.domains.scienceworld_kinds import conducts, is_a, kinds
from armap_agents.training.domains.scienceworld_reading import read
from armap_agents.trajectory import Step

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")

SPACE = " "
"""The world ends some lines with a space."""

OUTSIDE = f"""This outside location is called the outside. Here you see:{SPACE}
\tthe agent
\ta substance called air
\tan axe
\ta dove egg
\ta fountain (containing a substance called water)
\ta giant tortoise egg
\ta self watering flower pot 2 (containing a avocado tree in the adult stage, soil)
You also see:
\tA door to the kitchen (that is open)"""
KITCHEN = f"""This room is called the kitchen. In it, you see:{SPACE}
\tthe agent
\ta substance called air
\ta counter. On the counter is: a bowl (containing a red apple, a banana), a drawer.
\ta fridge. The fridge door is closed.{SPACE}
\ta glass jar (containing a substance called sodium chloride)
\ta red box (containing nothing)
\ta sink, which is turned off. In the sink is: nothing.
\ta table. On the table is: nothing.
\ta thermometer, currently reading a temperature of 10 degrees celsius
You also see:
\tA door to the outside (that is open)"""
HALLWAY = "This room is called the hallway. In it, you see: \n\tthe agent\n\ta painting\n"
ROOMS = {"outside": OUTSIDE, "kitchen": KITCHEN, "hallway": HALLWAY}


def answer(action: str, room: str) -> str:
    """What the world says to a command, for those that the tests use."""
    verb, _, rest = action.partition(" ")
    if action == "look around":
        return ROOMS.get(room, f"This room is called the {room}. In it, you see: \n\tthe agent")
    if verb == "teleport":
        return f"You teleport to the {rest[3:]}."
    if verb == "focus":
        return f"You focus on the {rest[3:]}."
    if verb == "pick":
        return f"You move the {rest[3:]} to the inventory."
    if verb == "move":
        what, _, to = rest.partition(" to ")
        return f"You move the {what} to the {to}."
    if verb == "use":
        return "the thermometer measures a temperature of 10 degrees celsius"
    return "No known action matches that input."


def played(*actions: str) -> Trajectory:
    """A trajectory as the world would have answered it."""
    room = "hallway"
    trajectory = Trajectory(Task("task-3-find-animal/0", "scienceworld"), "", Observation(HALLWAY))
    for action in actions:
        text = answer(action, room)
        room = action[12:] if action.startswith("teleport") else room
        trajectory = trajectory.extended(Step(action, Observation(text)))
    return trajectory


FOUND = played(
    "teleport to outside",
    "look around",
    "focus on dove egg",
    "pick up dove egg",
    "teleport to kitchen",
    "look around",
    "move dove egg to red box",
)
FIND = Instruction(
    "Your task is to find a(n) animal. First, focus on the thing. Then, move it to the red box in "
    "the kitchen.",
    [
        ask("at", ["outside"]),
        ask("focus", "animal", words=["animal"]),
        ask("at", "kitchen"),
        ask("move", "it", "red box", "kitchen", ["red box", "kitchen"]),
    ],
)
DOMAIN = ScienceWorldDomain()


def changed(step: int, *actions: str) -> float:
    """What is fulfilled where a step of the good episode is another one, or more, or none."""
    done = FOUND.actions
    return DOMAIN.fulfils(played(*done[: step - 1], *actions, *done[step:]), FIND)


def test_what_was_done_is_read_from_the_answers() -> None:
    story = read(FOUND)
    assert [(e.do, e.what, e.to, e.room) for e in story.events if e.do not in ("at", "shown")] == [
        ("focus", "dove egg", "", "outside"),
        ("move", "dove egg", "inventory", "outside"),
        ("move", "dove egg", "red box", "kitchen"),
    ]
    assert story.room == "kitchen"
    assert "giant tortoise egg" in story.seen["outside"]
    assert {"apple", "banana", "sodium chloride", "red box"} <= {
        name.removeprefix("red ") if "apple" in name else name for name in story.seen["kitchen"]
    }


def test_a_command_that_was_not_understood_did_nothing() -> None:
    story = read(played("teleport to kitchen", "shake thermometer"))
    assert [event.do for event in story.events] == ["at", "at"]


def test_the_stage_of_a_plant_is_known_by_its_pot() -> None:
    focus = "focus on avocado tree in self watering flower pot 2"
    trajectory = played("teleport to outside", "look around").extended(
        Step(focus, Observation("You focus on the avocado tree."))
    )
    assert read(trajectory).events[-1].what == "avocado tree in the adult stage"


def test_common_sense() -> None:
    assert is_a("baby baby wolf", "animal")
    assert is_a("egg turtle", "living thing")
    assert is_a("avocado tree in the adult stage", "plant")
    assert not is_a("dove egg", "plant")
    assert is_a("glass cup", "non-living thing")
    assert not is_a("dove", "non-living thing")
    assert not kinds("red apple")
    assert not kinds("agent")
    assert not kinds("door to kitchen")
    assert conducts("metal fork")
    assert conducts("wood cup") is False
    assert conducts("unknown substance B") is None


def test_the_whole_deed_is_fulfilled_and_parts_of_it_in_part() -> None:
    shares = [DOMAIN.fulfils(FOUND.prefix(k), FIND) for k in range(len(FOUND) + 1)]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert 0.0 < shares[1] < shares[3] < shares[6] < shares[7] == 1.0


def test_a_wrong_focus_ends_it_all() -> None:
    before = DOMAIN.fulfils(FOUND.prefix(2), FIND)
    assert changed(3, "focus on axe") == before
    assert changed(3, "focus on axe", "focus on dove egg") == before
    assert changed(2, "focus on red box") == before


def test_a_focus_after_the_last_and_idle_steps_harm_nothing() -> None:
    assert changed(6, "focus on red box") == 1.0
    assert changed(6, "focus on dove egg", "inventory") == 1.0
    assert DOMAIN.fulfils(played(*FOUND.actions, "focus on axe"), FIND) == 1.0


@pytest.mark.parametrize(
    ("step", "action"),
    [
        (7, "move dove egg to table"),
        (7, "look around"),
        (5, "teleport to outside"),
        (7, "move giant tortoise egg to red box"),
    ],
)
def test_wrong_places_and_things_are_told_apart(step: int, action: str) -> None:
    assert changed(step, action) < 1.0


def test_an_episode_ends_with_the_last_deed_or_the_first_wrong_focus() -> None:
    assert DOMAIN.ends(FOUND, FIND) == 7
    assert DOMAIN.ends(played(*FOUND.actions, "look around"), FIND) == 7
    assert DOMAIN.ends(FOUND.prefix(6), FIND) == 6
    assert DOMAIN.ends(played(*FOUND.actions[:2], "focus on axe", *FOUND.actions[2:]), FIND) == 3


def test_order_matters() -> None:
    swapped = list(FOUND.actions)
    swapped[2], swapped[6] = swapped[6], swapped[2]
    assert DOMAIN.fulfils(played(*swapped), FIND) < 1.0
    two = Instruction("", [ask("focus", "thermometer"), ask("focus", "banana")])
    kitchen = ("teleport to kitchen", "look around")
    right = played(*kitchen, "focus on thermometer", "focus on banana")
    wrong = played(*kitchen, "focus on banana", "focus on thermometer")
    assert DOMAIN.fulfils(right, two) == 1.0
    assert DOMAIN.fulfils(wrong, two) == 0.0


THINGS = ("axe", "dove egg", "fountain", "giant tortoise egg", "thermometer", "banana", "red box")
COMMANDS = st.one_of(
    st.sampled_from(["look around", "inventory", *(f"teleport to {room}" for room in ROOMS)]),
    st.builds("focus on {}".format, st.sampled_from(THINGS)),
    st.builds("pick up {}".format, st.sampled_from(THINGS)),
    st.builds("use thermometer on {}".format, st.sampled_from(THINGS)),
    st.builds(
        "move {} to {}".format, st.sampled_from(THINGS), st.sampled_from(["red box", "table"])
    ),
)


@given(st.lists(COMMANDS, max_size=14), st.integers(0, 999), st.sampled_from([None, 1, 2, 3]))
def test_whatever_is_instructed_is_fulfilled_and_named(
    actions: list[str], seed: int, constraints: int | None
) -> None:
    trajectory = played(*actions)
    instruction = DOMAIN.instruct(trajectory, Random(seed), constraints)
    assert instruction == DOMAIN.instruct(trajectory, Random(seed), constraints)
    if instruction is None:
        return
    assert DOMAIN.fulfils(trajectory, instruction) == 1.0
    assert DOMAIN.grounded(instruction.text, instruction)
    shares = [DOMAIN.fulfils(trajectory.prefix(k), instruction) for k in range(len(actions) + 1)]
    assert shares == sorted(shares)
    assert DOMAIN.ends(trajectory, instruction) == shares.index(1.0)
    for corruption in DOMAIN.corruptions(trajectory, instruction, [], Random(seed)):
        assert corruption.actions != tuple(actions)
        assert abs(len(corruption.actions) - len(actions)) <= 1


def test_instructions_ask_for_as_much_as_they_are_told_to() -> None:
    def deeds(constraints: int) -> set[int]:
        asked = (DOMAIN.instruct(FOUND, Random(seed), constraints) for seed in range(30))
        return {sum(a["do"] != "at" for a in i.asks) for i in asked if i is not None}

    assert min(deeds(3)) >= 2
    assert 1 in deeds(1)


def test_instructions_speak_of_kinds_and_names() -> None:
    texts = {i.text for s in range(60) if (i := DOMAIN.instruct(FOUND, Random(s)))}
    for words in ("animal", "living thing", "dove", "red box in the kitchen"):
        assert any(words in text for text in texts), words
    assert len(texts) > 20


def test_animals_are_told_apart_by_how_long_they_live() -> None:
    trajectory = played("teleport to outside", "look around", "focus on giant tortoise egg")
    texts = {i.text for s in range(60) if (i := DOMAIN.instruct(trajectory, Random(s)))}
    longest = [text for text in texts if "longest life span" in text]
    assert longest
    assert not any("shortest" in text for text in texts)


def test_a_text_that_leaves_something_out_or_turns_the_order_is_not_grounded() -> None:
    assert DOMAIN.grounded("Look for some animal, then carry it to the red box (kitchen).", FIND)
    assert not DOMAIN.grounded("Look for some animal, then carry it to the kitchen.", FIND)
    assert not DOMAIN.grounded("Go to the red box in the kitchen with an animal.", FIND)
    assert not DOMAIN.grounded(FIND.text + " Very good." * 40, FIND)


def test_corruptions_fail_when_they_are_done() -> None:
    made = DOMAIN.corruptions(FOUND, FIND, [], Random(0))
    assert {c.kind for c in made} >= {
        "wrong focus",
        "wrong focus first",
        "another thing",
        "wrong container",
        "wrong room",
        "swapped order",
        "stops early",
    }
    for corruption in made:
        # The simple world of these tests knows nothing of what is carried.
        if corruption.kind not in ("not picked up", "leaves out"):
            assert DOMAIN.fulfils(played(*corruption.actions), FIND) < 1.0, corruption
    same = [c for c in made if len(c.actions) == len(FOUND)]
    assert len(same) == len(made)
    assert made == DOMAIN.corruptions(FOUND, FIND, [], Random(0))


def test_only_tasks_that_nothing_is_evaluated_on_are_explored() -> None:
    tasks = DOMAIN.tasks(ScienceWorld())
    found = {(name, int(variation)) for name, variation in (t.id.split("/") for t in tasks)}
    assert found == set(rows("train-pool"))
    for split in ("seen", "unseen", "dev", "test", "seen-short", "dev-clean"):
        assert not found & set(rows(split))
    assert all(task.max_steps is not None and task.max_steps <= 30 for task in tasks)


def test_it_looks_at_no_score_and_no_gold() -> None:
    """Names and attributes of the code, not its comments."""
    folder = Path(str(domains.__file__)).parent
    for file in folder.glob("scienceworld*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            name = getattr(node, "attr", getattr(node, "id", ""))
            assert not any(word in str(name).lower() for word in ("score", "gold", "goal")), file


def test_the_domain_is_found_by_name() -> None:
    assert isinstance(domain("scienceworld"), ScienceWorldDomain)


def test_rendering_is_short_and_keeps_names_and_places() -> None:
    rendered = render(FOUND, DOMAIN.rendering)
    seen = rendered.steps[6].text
    for name in ("kitchen", "red box", "apple", "thermometer", "sodium chloride", "fridge"):
        assert name in seen
    for word in ("door to", "agent", "called air", "you see", "nothing"):
        assert word not in seen
    assert rendered.steps[1].text == "teleport to outside"
    assert rendered.steps[7].text == "move dove egg to red box : dove egg to red box"
    assert Rendering.from_dict(DOMAIN.rendering.to_dict()) == DOMAIN.rendering
    official = render(
        Trajectory(Task("", ""), FIND.text, Observation("")), DOMAIN.rendering
    ).instruction
    assert official == (
        "find animal. First, focus on the thing. Then, move it to the red box in the kitchen."
    )


async def explored(
    world: ScienceWorld, task: Task, seed: int, actions: tuple[str, ...] | None = None
) -> Trajectory:
    """An episode by random intent, or of given actions."""
    opening = Trajectory(task, "", await world.reset(task))
    trajectory = Trajectory(task, world.instruction, opening.observation)
    choose = DOMAIN.intent(trajectory, Random(seed))
    limit = task.max_steps or 30
    while len(trajectory) < (limit if actions is None else len(actions)):
        action = await choose(trajectory) if actions is None else actions[len(trajectory)]
        result = await world.step(action)
        trajectory = trajectory.extended(Step(action, result.observation, result.done))
    return trajectory


class Scoreless(ScienceWorld):
    """A world whose score may not be asked for."""

    def true_score(self) -> float:
        raise AssertionError("generation asked for the true score")


def world() -> ScienceWorld:
    """A world as generation opens it."""
    options: dict[str, Any] = dict(DOMAIN.options)
    return Scoreless(**options)


@pytest.mark.java
@pytest.mark.slow
@needs_java
async def test_real_episodes_are_instructed_corrupted_and_continued() -> None:
    pytest.importorskip("scienceworld", reason='needs pip install "armap-agents[scienceworld]"')
    house = world()
    tasks = {task.id: task for task in DOMAIN.tasks(house)}
    names = [
        "task-3-find-animal/107",
        "task-6-lifespan-(longest-lived)/2",
        "task-5-chemistry-mix-paint-(secondary-color)/15",
    ]
    failed = instructed = 0
    try:
        for seed, name in enumerate(names):
            trajectory = await explored(house, tasks[name], seed)
            assert trajectory == await explored(house, tasks[name], seed)
            assert not trajectory.done
            assert "task" not in trajectory.actions
            instruction = DOMAIN.instruct(trajectory, Random(seed))
            if instruction is None:
                continue
            instructed += 1
            for corruption in DOMAIN.corruptions(trajectory, instruction, [], Random(seed))[:4]:
                wrong = await explored(house, tasks[name], seed, corruption.actions)
                failed += DOMAIN.fulfils(wrong, instruction) < 1.0
            rng = Random(seed)
            found = await DOMAIN.continued(house, trajectory.prefix(3), instruction, 2, rng)
            assert found.count == 2
            assert 0.0 <= found.total <= 2.0
            whole = await DOMAIN.continued(house, trajectory, instruction, 2, rng)
            assert whole.total == 2.0
            assert whole.example == ()
    finally:
        await house.close()
    assert instructed >= 2
    assert failed >= 5


@pytest.mark.java
@pytest.mark.slow
@needs_java
async def test_steps_fit_a_small_encoder() -> None:
    pytest.importorskip("scienceworld", reason='needs pip install "armap-agents[scienceworld]"')
    transformers = pytest.importorskip("transformers")
    folder = model_folder("all-minilm-l6-v2")
    if not folder.is_dir():
        pytest.skip("needs `armap models pull all-minilm-l6-v2`")
    tokenizer = await asyncio.to_thread(transformers.AutoTokenizer.from_pretrained, folder)
    house = world()
    try:
        episodes = [await explored(house, task, 1) for task in DOMAIN.tasks(house)[::400]]
    finally:
        await house.close()
    lengths = []
    for episode in episodes:
        rendered = render(episode, DOMAIN.rendering)
        texts = (step.text for step in rendered.steps)
        lengths += [len(tokenizer(rendered.instruction, text)["input_ids"]) for text in texts]
    assert statistics.median(lengths) <= 120
    assert max(lengths) <= 256


def test_asks_are_plain_json() -> None:
    made: Ask = ask("move", "it", "red box", "kitchen", ["red box"])
    assert made == {
        "do": "move",
        "what": ["it"],
        "to": ["red box"],
        "room": "kitchen",
        "words": ["red box"],
    }
