import gzip
import json
import random
import re
import threading
import tracemalloc
from collections import Counter
from itertools import product as cartesian
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armap_agents.errors import ConfigurationError
from armap_agents.tools.webshop import build, catalogue, official
from armap_agents.tools.webshop.catalogue import Catalogue, open_catalogue
from armap_agents.tools.webshop.goals import Goal, Goals, make_goals
from armap_agents.tools.webshop.product import pack, read_product, unpack

OFFICIAL = Path(__file__).parents[2] / "shared" / "data" / "webshop"
with_official_data = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="WebShop's public 1,000 products are not here"
)
SPLITS = ("test", "dev", "train", "std", "train-pool", "all")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARMAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def record(asin: str, **changes: Any) -> dict[str, Any]:
    return {
        "asin": asin,
        "name": f"Lamp {asin}",
        "full_description": "A lamp.",
        "small_description": ["It glows. ", "It lasts."],
        "pricing": "$15.99",
        "customization_options": "",
        "category": "garden",
        "query": " Desk Lamps ",
        "product_category": "Home › Lamps",
        "images": ["https://shop.invalid/1.jpg"],
        "page": 3,
    } | changes


def options(**values: list[str] | None) -> dict[str, Any]:
    return {
        name: None if v is None else [{"value": x, "image": None} for x in v]
        for name, v in values.items()
    }


def instructed(*attributes: str) -> dict[str, Any]:
    return {
        "attributes": [*attributes, "bright"],
        "instruction": "Find me lamps",
        "instruction_attributes": list(attributes),
    }


def write_shop(
    folder: Path,
    records: list[dict[str, Any]],
    instructions: dict[str, Any] | None = None,
    human: dict[str, Any] | None = None,
    size: str = "",
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"items_shuffle{size}.json").write_text(json.dumps(records), "utf-8")
    (folder / f"items_ins_v2{size}.json").write_text(json.dumps(instructions or {}), "utf-8")
    if human is not None:
        (folder / "items_human_ins.json").write_text(json.dumps(human), "utf-8")
    return folder


def goals_of(shop: Catalogue, kind: Any = "synthetic", seed: int = 0) -> Goals:
    return make_goals(shop, kind, shop.drawn_prices(seed), seed)


def as_official(goal: Goal) -> dict[str, Any]:
    """The goal in the words of the official code."""
    return {
        "asin": goal.asin,
        "category": goal.category,
        "query": goal.query,
        "name": goal.name,
        "product_category": goal.product_category,
        "instruction_text": goal.instruction,
        "attributes": list(goal.attributes),
        "price_upper": goal.price_upper,
        "goal_options": goal.options if isinstance(goal.options, dict) else list(goal.options),
        "weight": goal.weight,
    }


# The official subset


@with_official_data
def test_prices_and_goals_are_those_of_the_official_code() -> None:
    shop = open_catalogue(OFFICIAL)
    prices = shop.drawn_prices(0)
    recorded = json.loads((OFFICIAL / "golden" / "prices_seed0.json").read_bytes())
    assert dict(zip([p.asin for p in shop], prices.tolist(), strict=True)) == recorded
    assert [p.asin for p in shop] == list(recorded)

    goals = make_goals(shop, "synthetic", prices, 0)
    with gzip.open(OFFICIAL / "golden" / "goals_synth_seed0.json.gz") as file:
        expected = json.load(file)
    assert [as_official(goal) for goal in goals] == expected


@with_official_data
def test_human_goals_follow_the_same_stream_and_shuffle() -> None:
    shop = open_catalogue(OFFICIAL)
    human = json.loads((OFFICIAL / "items_human_ins.json").read_bytes())
    goals = [as_official(goal) for goal in goals_of(shop, "human")]
    assert len(goals) == 13
    assert goals == by_definition([p.asin for p in shop], OFFICIAL, human, seed=0)


@with_official_data
def test_train_pool_shares_no_product_with_test_and_dev() -> None:
    goals = goals_of(open_catalogue(OFFICIAL))
    sizes = {split: (len(goals.split(split)), len(goals.asins(split))) for split in SPLITS}
    assert sizes == {
        "test": (500, 146),
        "dev": (1000, 182),
        "train": (5410, 370),
        "std": (200, 82),
        "train-pool": (341, 197),
        "all": (6910, 415),
    }
    held_out = goals.asins("test") | goals.asins("dev")
    assert not goals.asins("train-pool") & held_out
    pool = set(goals.split("train-pool"))
    assert pool < set(goals.split("train"))
    # Nothing that could be in it is left out.
    assert all(goals[i].asin in held_out for i in goals.split("train") if i not in pool)


# Products


@pytest.mark.parametrize(
    ("pricing", "prices", "shown"),
    [
        ("", (100.0,), "$100.0"),
        (None, (100.0,), "$100.0"),
        ("$15.99", (15.99,), "$15.99"),
        ("$1,234.50", (1234.5,), "$1234.5"),
        ("$1.00 - $2.00", (1.0, 2.0), "$1.0 to $2.0"),
        ("$5 $6 $7", (5.0, 6.0), "$5.0 to $6.0"),
        ("from $3.10 each", (3.1,), "$3.1"),
        ("no dollars", (100.0,), "$100.0"),
        ("$ - $4.00", (4.0,), "$4.0"),
    ],
)
def test_prices(pricing: str | None, prices: tuple[float, ...], shown: str) -> None:
    lamp = read_product(record("B1", pricing=pricing), None)
    assert (lamp.prices, lamp.price_shown) == (prices, shown)


def test_a_record_is_cleaned_as_the_official_loader_does() -> None:
    given_options = options(Size=[' 28" X 28"', "S/M"], Nothing=None, COLOR=["Red / Blue"])
    lamp = read_product(record("B1", customization_options=given_options), None)
    assert lamp.options == {"size": ('28" x 28"', "s | m"), "color": ("red  |  blue",)}
    assert list(lamp.options) == ["size", "color"]
    assert lamp.query == "desk lamps"
    assert lamp.bullets == ("It glows. ", "It lasts.")
    assert lamp.attributes == ("DUMMY_ATTR",)
    assert (lamp.instruction, lamp.instruction_attributes, lamp.goals) == ("", (), 0)


def test_what_is_missing_is_empty() -> None:
    lamp = read_product({"asin": "B1", "name": "Lamp", "small_description": "One point"}, {})
    assert lamp.bullets == ("One point",)
    assert (lamp.description, lamp.images, lamp.options) == ("", (), {})


def test_the_goals_of_a_product_are_the_choices_of_its_options() -> None:
    many = record("B1", customization_options=options(a=["1", "2"], b=["1", "2", "3"]))
    assert read_product(many, instructed("dimmable")).goals == 6
    assert read_product(record("B1"), instructed("dimmable")).goals == 1
    assert read_product(many, {"attributes": ["dimmable"]}).goals == 0


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["name", "full_description", "query"]), st.text()))
def test_a_packed_product_is_one_line_and_comes_back(texts: dict[str, str]) -> None:
    lamp = read_product(
        record("B1", customization_options=options(a=["1"]), **texts), instructed("ß")
    )
    assert b"\n" not in pack(lamp)
    assert unpack(pack(lamp)) == lamp


# The official files


def test_records_that_the_official_loader_skips_are_skipped(tmp_path: Path) -> None:
    records = [record("B1"), record("nan"), record("B2"), record("B" * 11), record("B1", name="2")]
    shop = open_catalogue(write_shop(tmp_path / "shop", records))
    assert [lamp.title for lamp in shop] == ["Lamp B1", "Lamp B2"]
    assert len(shop) == 2


def test_the_full_file_counts_else_the_largest_else_the_one_named(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    for size in ("_900", "_1000"):
        write_shop(folder, [record(f"B{size}")], {f"B{size}": instructed("large")}, size=size)
    assert open_catalogue(folder)[0].asin == "B_1000"
    assert open_catalogue(folder / "items_shuffle_900.json")[0].asin == "B_900"
    write_shop(folder, [record("BFULL")], {"B_900": instructed("from the full file")})
    assert open_catalogue(folder)[0].asin == "BFULL"
    assert open_catalogue(folder / "items_shuffle_900.json")[0].attributes[0] == "large"
    (folder / "items_ins_v2_900.json").unlink()
    smaller = open_catalogue(folder / "items_shuffle_900.json")
    assert smaller[0].attributes[0] == "from the full file"


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("items_shuffle_10.json", "has no items_shuffle.json"),
        ("items_ins_v2_10.json", r"items_ins_v2_10.json is missing: .* items_shuffle_10.json"),
        (".", "is neither a folder .* nor one of its items_shuffle files"),
    ],
)
def test_a_missing_file_is_named_in_one_line(tmp_path: Path, missing: str, told: str) -> None:
    folder = write_shop(tmp_path / "shop", [record("B1")], size="_10")
    if missing == ".":
        folder = folder / "elsewhere"
    else:
        (folder / missing).unlink()
    with pytest.raises(ConfigurationError, match=told) as error:
        open_catalogue(folder)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shop(tmp_path / "shop", [record("B1")])
    (folder / "items_shuffle.json").write_bytes(b'[{"asin": "B\xff"}]')
    with pytest.raises(ConfigurationError, match=r"items_shuffle.json cannot be read \(it is not"):
        open_catalogue(folder)
    opened = Path.open

    def refusing(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "items_ins_v2.json":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refusing)
    with pytest.raises(ConfigurationError, match=r"items_ins_v2.json cannot be read \(Permission"):
        open_catalogue(folder)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("items_shuffle.json", '{"asin": "B1"}', "is damaged after character 1"),
        ("items_shuffle.json", "[]", "holds no product"),
        ("items_shuffle.json", "", "is damaged after character 0"),
        ("items_shuffle.json", "[3]", "is damaged after character 1"),
        ("items_shuffle.json", '[{"name": "Lamp"}]', "no product with an ASIN and a name at entry"),
        ("items_shuffle.json", '[{"asin": "B1", "name": "Lamp"},]', "is damaged after"),
        ("items_shuffle.json", '[{"asin": "B1", "name": "Lamp"}] more', "is damaged after"),
        (
            "items_shuffle.json",
            '[{"asin": "B1", "name": "L", "customization_options": {"a": ["x"]}}]',
            "hold no product as B1",
        ),
        ("items_ins_v2.json", "[]", "is damaged after character 1"),
        ("items_ins_v2.json", '{"B1": ["x"]}', "holds no object for ASIN B1"),
        ("items_ins_v2.json", '{"B1" {}}', "is damaged after"),
        ("items_human_ins.json", '{"B1": [{"instruction": "a lamp"}]}', "lacks a part"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    folder = write_shop(tmp_path / "shop", [record("B1")])
    (folder / name).write_text(content, "utf-8")
    with pytest.raises(ConfigurationError, match=told) as error:
        open_catalogue(folder)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
objects = st.dictionaries(st.text(), json_values, max_size=4)


@settings(max_examples=50, deadline=None)
@given(st.lists(objects, max_size=6), st.sampled_from([None, 2]), st.booleans(), st.integers(1, 40))
def test_entries_are_read_whatever_the_buffer_cuts(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[dict[str, Any]],
    indent: int | None,
    escaped: bool,
    buffer: int,
) -> None:
    folder = tmp_path_factory.mktemp("stream")
    named = {f'k{i} \\"é{{': value for i, value in enumerate(values)}
    encoding = "utf-8" if escaped else "utf-8-sig"
    for name, whole in (("array.json", values), ("object.json", named)):
        text = json.dumps(whole, indent=indent, ensure_ascii=escaped)
        (folder / name).write_bytes(text.encode(encoding, "surrogatepass"))
    read = 0

    def progress(amount: int) -> None:
        nonlocal read
        read += amount

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(official, "READ_BYTES", buffer)
        assert list(official.elements(folder / "array.json", progress)) == values
        assert read == (folder / "array.json").stat().st_size
        assert dict(official.members(folder / "object.json", progress)) == named


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_file_that_ends_early_is_never_taken_for_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = json.dumps([record("B1"), record("B2", name="Lämpchen")], ensure_ascii=False).encode()
    path = tmp_path_factory.mktemp("cut") / "items_shuffle.json"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(ConfigurationError, match=r"items_shuffle.json (is damaged|cannot be read)"):
        list(official.elements(path, lambda _: None))


def test_building_needs_memory_for_one_product_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(official, "READ_BYTES", 1 << 16)
    long = ["glow " * 2000]  # 10 kB
    folder = tmp_path / "shop"
    folder.mkdir()
    with (folder / "items_shuffle.json").open("w") as file:
        for i in range(500):
            file.write(("," if i else "[") + json.dumps(record(f"B{i}", small_description=long)))
        file.write("]")
    (folder / "items_ins_v2.json").write_text("{}")
    tracemalloc.start()
    try:
        open_catalogue(folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = (folder / "items_shuffle.json").stat().st_size
    assert peak < size / 4


# The built catalogue


def files_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def test_a_catalogue_is_built_once_and_again_when_its_files_change(
    tmp_path: Path, cache: Path
) -> None:
    folder = write_shop(tmp_path / "shop", [record("B1")])
    first = open_catalogue(folder)
    was = files_in(first.folder)
    assert first.folder.parent == cache / "webshop"
    assert files_in(open_catalogue(folder).folder) == was
    write_shop(folder, [record("B1"), record("B2")])
    assert len(open_catalogue(folder)) == 2
    assert len(first) == 1
    assert first[0].asin == "B1"


def test_human_instructions_that_come_later_are_seen(tmp_path: Path) -> None:
    folder = write_shop(tmp_path / "shop", [record("B1")])
    with pytest.raises(ConfigurationError, match=r"need items_human_ins.json"):
        goals_of(open_catalogue(folder), "human")
    entry = {
        "instruction": "..a lamp.",
        "instruction_attributes": ["x"],
        "instruction_options": ["red"],
    }
    write_shop(folder, [record("B1")], human={"B1": [entry], "B9": [entry]})
    (goal,) = goals_of(open_catalogue(folder), "human")
    assert goal.instruction.startswith("a lamp, and price lower than ")
    assert goal.options == ("red",)


@pytest.mark.parametrize("name", ["catalogue.json", "products.jsonl", "starts.npy", "asins.npy"])
@pytest.mark.parametrize("damage", ["gone", "short", "empty"])
def test_an_incomplete_catalogue_is_built_again(tmp_path: Path, name: str, damage: str) -> None:
    folder = write_shop(tmp_path / "shop", [record("B1"), record("B2")], {"B1": instructed("x")})
    path = open_catalogue(folder).folder / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] if damage == "short" else b"")
    again = open_catalogue(folder)
    assert [lamp.asin for lamp in again] == ["B1", "B2"]
    assert again.position("B2") == 1


@pytest.mark.parametrize("name", [*(f"{a}.npy" for a in build.ARRAYS), "products.jsonl"])
def test_a_flipped_bit_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    folder = write_shop(tmp_path / "shop", [record("B1"), record("B2")], {"B1": instructed("x")})
    path = open_catalogue(folder).folder / name
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)
    shop = open_catalogue(folder)
    with pytest.raises(ConfigurationError, match="is damaged: remove that folder") as error:
        _ = [*shop, shop.position("B1"), *goals_of(shop)]
    assert "\n" not in str(error.value)


def test_what_a_killed_build_left_is_removed(tmp_path: Path, cache: Path) -> None:
    folder = write_shop(tmp_path / "shop", [record("B1")])
    built = open_catalogue(folder).folder
    left = built.with_name(f".{built.name}.partial")
    built.rename(left)
    (left / "catalogue.json").unlink()
    assert open_catalogue(folder)[0].asin == "B1"
    assert [path.name for path in (cache / "webshop").iterdir()] == [built.name]


def test_two_that_open_at_once_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_shop(tmp_path / "shop", [record(f"B{i}") for i in range(50)])
    builds = []

    def counted(*arguments: Any) -> None:
        builds.append(arguments)
        build.build_catalogue(*arguments)

    monkeypatch.setattr(catalogue, "build_catalogue", counted)
    lengths: list[int] = []
    threads = [
        threading.Thread(target=lambda: lengths.append(len(open_catalogue(folder))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [50] * 4
    assert len(builds) == 1


def test_files_that_change_during_the_build_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shop(tmp_path / "shop", [record("B1")])

    def changing(*arguments: Any) -> None:
        build.build_catalogue(*arguments)
        write_shop(folder, [record("B1"), record("B2")])

    monkeypatch.setattr(catalogue, "build_catalogue", changing)
    with pytest.raises(ConfigurationError, match="changed while they were read: try again"):
        open_catalogue(folder)


def test_a_cache_that_cannot_be_written_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shop(tmp_path / "shop", [record("B1")])
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("ARMAP_CACHE", str(tmp_path / "a file"))
    with pytest.raises(ConfigurationError, match="set ARMAP_CACHE to another folder"):
        open_catalogue(folder)


def test_a_catalogue_is_a_sequence(tmp_path: Path) -> None:
    shop = open_catalogue(write_shop(tmp_path / "shop", [record(f"B{i}") for i in range(5)]))
    assert shop[-1].asin == "B4"
    assert [lamp.asin for lamp in shop[1:4:2]] == ["B1", "B3"]
    assert shop[2] is shop[2]
    with pytest.raises(IndexError):
        shop[5]


asins = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)


@settings(max_examples=30, deadline=None)
@given(st.lists(asins.filter(lambda a: a != "nan"), min_size=1, unique=True), st.lists(st.text()))
def test_every_asin_is_found_and_no_other(known: list[str], others: list[str]) -> None:
    index = build.AsinIndex.of([build.asin_key(asin) for asin in known])
    assert [index.find(asin) for asin in known] == list(range(len(known)))
    strangers = [text for text in others if text.rstrip("\0") not in known]
    assert [index.find(asin) for asin in strangers] == [None] * len(strangers)


# Goals


def by_definition(
    order: list[str], folder: Path, human: dict[str, Any] | None, seed: int
) -> list[dict[str, Any]]:
    """The goals by the description of the official code, with Python's global stream as there."""
    (items,) = folder.glob("items_shuffle*.json")
    (entries,) = folder.glob("items_ins_v2*.json")
    first_of = {r["asin"]: r for r in reversed(json.loads(items.read_bytes()))}
    instructions = json.loads(entries.read_bytes())
    kept = random.getstate()
    random.seed(seed)
    prices = {}
    for asin in order:
        found = [
            float(x.replace(",", "")) for x in re.findall(r"\$([\d.,]+)", first_of[asin]["pricing"])
        ]
        prices[asin] = found[0] if len(found) == 1 else random.uniform(*found[:2])
    goals: list[dict[str, Any]] = []
    for asin in order:
        ins = instructions.get(asin, {})
        if human is None:
            wanted = [ins] if ins.get("instruction") is not None else []
        else:
            wanted = [e for e in human.get(asin, []) if e["instruction_attributes"]]
        for entry in wanted:
            above = [ten * 10.0 for ten in range(1, 100) if ten * 10.0 > prices[asin]][:4]
            limit = max(random.sample(above, 2)) if len(above) > 1 else 1000000
            tail = f", and price lower than {limit:.2f} dollars" if len(above) > 1 else ""
            given_options = first_of[asin]["customization_options"] or {}
            values = {
                name.lower(): [v["value"].strip().replace("/", " | ").lower() for v in contents]
                for name, contents in given_options.items()
                if contents is not None
            }
            choices: list[Any] = [
                dict(zip(sorted(values), choice, strict=True))
                for choice in cartesian(*(values[name] for name in sorted(values)))
            ]
            for choice in choices if human is None else [entry["instruction_options"]]:
                text = entry["instruction"] if human is None else entry["instruction"].strip(".")
                if human is None and choice:
                    text += " with " + ", and ".join(f"{n}: {v}" for n, v in choice.items())
                goals.append(
                    {
                        "asin": asin,
                        "category": first_of[asin]["category"],
                        "query": first_of[asin]["query"].lower().strip(),
                        "name": first_of[asin]["name"],
                        "product_category": first_of[asin]["product_category"],
                        "instruction_text": text + tail,
                        "attributes": entry["instruction_attributes"],
                        "price_upper": limit,
                        "goal_options": choice,
                    }
                )
    counts = Counter(attribute for goal in goals for attribute in goal["attributes"])
    for goal in goals:
        shares = [1 / counts[attribute] for attribute in goal["attributes"]]
        goal["weight"] = 1 if human is not None else pytest.approx(sum(shares) / len(shares))
    random.seed(233)
    random.shuffle(goals)
    random.setstate(kept)
    return goals


prices = st.sampled_from(["$15.99", "$1.00 - $9.00", "$985", "$970.00 - $1,200", "$0", "$20.0"])
values = st.none() | st.lists(st.sampled_from(["red", "s/m", " XL", "é"]), max_size=3)
attribute_lists = st.lists(st.sampled_from(["dimmable", "easy clean", "bright"]), min_size=1)


@st.composite
def shops(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    records, instructions, human = [], {}, {}
    for i in range(draw(st.integers(1, 8))):
        asin = f"B{i}"
        chosen = draw(st.dictionaries(st.sampled_from(["Size", "color", "Fit"]), values))
        records.append(record(asin, pricing=draw(prices), customization_options=options(**chosen)))
        if draw(st.booleans()):
            instructions[asin] = instructed(*draw(attribute_lists))
        human[asin] = [
            {
                "instruction": draw(st.sampled_from(["a lamp.", "...lamps, please...", "it. is"])),
                "instruction_attributes": draw(st.just([]) | attribute_lists),
                "instruction_options": draw(st.lists(st.sampled_from(["red", "xl"]))),
            }
            for _ in range(draw(st.integers(0, 2)))
        ]
    return records, instructions, human


@settings(max_examples=30, deadline=None)
@given(shops(), st.integers(0, 1000))
def test_goals_are_those_of_the_definition(
    tmp_path_factory: pytest.TempPathFactory,
    shop: tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]],
    seed: int,
) -> None:
    records, instructions, human = shop
    folder = write_shop(tmp_path_factory.mktemp("shop"), records, instructions, human)
    opened = open_catalogue(folder)
    order = [r["asin"] for r in records]
    for kind, entries in (("synthetic", None), ("human", human)):
        goals = goals_of(opened, kind, seed)
        assert [as_official(goal) for goal in goals] == by_definition(order, folder, entries, seed)
        assert {goals[i].asin for i in goals.split("all")} == goals.asins("all")


def test_no_global_random_state_is_touched(tmp_path: Path) -> None:
    shop = open_catalogue(
        write_shop(tmp_path / "shop", [record("B1", pricing="$1 - $2")], {"B1": instructed("x")})
    )
    before = random.getstate()
    goals_of(shop)
    assert random.getstate() == before


def test_goals_are_a_sequence_with_the_official_splits(tmp_path: Path) -> None:
    forty = options(size=[str(i) for i in range(40)])
    records = [record(f"B{i}", customization_options=forty) for i in range(50)]
    # Five more products with one goal each: most of these goals fall into the train split.
    records += [record(f"C{i}") for i in range(5)]
    folder = write_shop(tmp_path / "shop", records, {r["asin"]: instructed("x") for r in records})
    goals = goals_of(open_catalogue(folder))
    assert len(goals) == 2005
    assert goals[-1] == goals[2004] != goals[2003]
    assert goals[3:5] == [goals[3], goals[4]]
    with pytest.raises(IndexError):
        goals[2005]
    assert [len(goals.split(split)) for split in SPLITS[:4]] == [500, 1000, 505, 200]
    assert goals.split("dev") == range(500, 1500)
    pool = list(goals.split("train-pool"))
    held_out = {goals[i].asin for i in range(1500)}
    assert pool == [i for i in range(1500, 2005) if goals[i].asin not in held_out]
    assert goals.asins("train-pool") == {goals[i].asin for i in pool} != set()
    with pytest.raises(ConfigurationError, match="no split 'valid': use all, test"):
        goals.split("valid")


def test_splits_of_few_goals_are_short(tmp_path: Path) -> None:
    folder = write_shop(tmp_path / "shop", [record("B1")], {"B1": instructed("x")})
    goals = goals_of(open_catalogue(folder))
    assert [len(goals.split(split)) for split in SPLITS] == [1, 0, 0, 1, 0, 1]
    none = goals_of(open_catalogue(write_shop(tmp_path / "other", [record("B1")])))
    assert [len(none.split(split)) for split in SPLITS] == [0] * 6
    assert none.asins("all") == frozenset()


def test_what_cannot_be_goals_is_refused_in_one_line(tmp_path: Path) -> None:
    shop = open_catalogue(write_shop(tmp_path / "shop", [record("B1")]))
    with pytest.raises(ConfigurationError, match="no 'robot' goals: use synthetic or human"):
        goals_of(shop, "robot")
    huge = options(**{name: ["x"] * 200 for name in "abcde"})
    many = write_shop(
        tmp_path / "many", [record("B1", customization_options=huge)], {"B1": instructed("x")}
    )
    with pytest.raises(ConfigurationError, match="320000000000 synthetic goals, too many"):
        goals_of(open_catalogue(many))
