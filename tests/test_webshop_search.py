"""The shop's search against Lucene's recorded results, its analysis and a slow definition."""

import json
import math
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from urllib.parse import unquote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from armap_agents.errors import ConfigurationError
from armap_agents.tools.webshop import index as index_module
from armap_agents.tools.webshop.analysis import LONGEST_WORD, stem, terms
from armap_agents.tools.webshop.index import (
    Index,
    build_index,
    coded_length,
    indexed_text,
    length_code,
    open_index,
)
from armap_agents.tools.webshop.product import Product, read_product

OFFICIAL = Path(__file__).parents[2] / "shared" / "data" / "webshop"
with_official_data = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="WebShop's public 1,000 products are not here"
)

MakeIndex = Callable[[Sequence[str], Sequence[str]], Index]


@pytest.fixture(scope="session")
def make_index(tmp_path_factory: pytest.TempPathFactory) -> MakeIndex:
    def make(texts: Sequence[str], asins: Sequence[str]) -> Index:
        folder = tmp_path_factory.mktemp("search") / "index"
        build_index(folder, iter(texts), asins)
        return open_index(folder)

    return make


# What Lucene 8 (StandardTokenizer, EnglishAnalyzer's filters) makes of these texts.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Women's running SHOES, and men’s too!", "women run shoe men too"),
        ("3.5 mm 1,000 12'6 a.m x:y 3:5 rock'n'roll", "3.5 mm 1,000 12'6 a.m x:y 3 5 rock'n'rol"),
        ("snake_case _under_ __ 5x7 usb-c/hdmi", "snake_cas _under_ 5x7 usb c hdmi"),
        ("Acme® Soft™ ★★ ☆ ☐ ✔ ● © 2024", "acm ® soft ™ ★ ★ ☐ ✔ © 2024"),
        ("👍🏻 👩‍💻 🇩🇪🇫🇷 1️⃣ ❤️love", "👍🏻 👩‍💻 🇩🇪 🇫🇷 1️⃣ ❤️ love"),
        ("中文 カタカナ ひら 한국어 ภาษาไทย", "中 文 カタカナ ひ ら 한국어 ภาษาไทย"),
        ("café naïve ΣΑΣ İS ５ｃｍ", "café naïv σασ ５ｃｍ"),
        ("possibly gently quality technology as ties", "possibl gentli qualiti technolog ti"),
        ("' . ’s s 's it's", "s s s"),
        ("", ""),
    ],
)
def test_texts_are_analysed_as_by_lucene(text: str, expected: str) -> None:
    assert terms(text) == expected.split()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("caresses", "caress"), ("ponies", "poni"), ("cats", "cat"), ("feed", "feed"),
        ("agreed", "agre"), ("plastered", "plaster"), ("bled", "bled"), ("motoring", "motor"),
        ("sing", "sing"), ("conflated", "conflat"), ("hopping", "hop"), ("falling", "fall"),
        ("filing", "file"), ("happy", "happi"), ("sky", "sky"), ("relational", "relat"),
        ("conditional", "condit"), ("hopefulness", "hope"), ("electricity", "electr"),
        ("adoption", "adopt"), ("criterion", "criterion"), ("replacement", "replac"),
        ("probate", "probat"), ("rate", "rate"), ("cease", "ceas"), ("controlling", "control"),
        ("yyy", "yyi"), ("ion", "ion"), ("us", "us"),
    ],
)  # fmt: skip
def test_words_are_stemmed_as_porter_says(word: str, expected: str) -> None:
    assert stem(word) == expected


def test_overlong_words_are_cut_where_lucene_cuts_them() -> None:
    long = "x" * 300
    assert [len(term) for term in terms(long)] == [LONGEST_WORD, 45]
    # The cut is never left at a full stop, and what follows it is read afresh.
    assert [len(term) for term in terms("y" * 254 + "." + "z" * 10)] == [254, 10]
    assert terms(f"red {'é' * 256} hat")[0::3] == ["red", "hat"]


@given(st.text(alphabet=st.sampled_from("ab'sé ’.1_-★👍🏻\u200d\ufe0f中カ\n\u0301"), max_size=30))
def test_texts_are_analysed_piece_by_piece(text: str) -> None:
    """A space ends whatever word or sequence stands before it."""
    assert terms(text) == [term for piece in text.split(" ") for term in terms(piece)]


def test_lengths_keep_their_four_highest_digits() -> None:
    codes = [length_code(length) for length in range(100_000)]
    assert codes == sorted(codes)
    assert codes[-1] < length_code(2**31 - 1) == 255
    for length, code in enumerate(codes):
        excess = max(length - 24, 0)
        lost = max(excess.bit_length() - 4, 0)
        assert coded_length(code) == length - excess + (excess >> lost << lost)


LAMP = Product(
    asin="B1",
    title="Desk LAMP",
    description="Lights a desk.",
    bullets=("Easy to clean", "Dimmable"),
    prices=(20.0,),
    price_shown="$20.0",
    options={"color": ("red", "blue"), "size": ("s | m",)},
    attributes=("never found",),
    category="garden",
    query="never found",
    product_category="Never › Found",
    images=(),
)


def test_products_are_found_by_title_description_first_bullet_and_options() -> None:
    text = "desk lamp lights a desk. easy to clean color: red, blue, and size: s | m"
    assert indexed_text(LAMP) == text


class Slow:
    """BM25 as Lucene 8 defines it, document by document and step by step."""

    def __init__(self, texts: Sequence[str], asins: Sequence[str]) -> None:
        self.counts = [Counter(terms(text)) for text in texts]
        self.documents = Counter(term for count in self.counts for term in count)
        self.asins = asins
        lengths = [count.total() for count in self.counts]
        self.number = sum(length > 0 for length in lengths)
        self.average = single(sum(lengths) / max(self.number, 1))
        self.lengths = [float(coded_length(length_code(length))) for length in lengths]

    def search(self, query: str, k: int) -> list[int]:
        asked = Counter(terms(query))
        scored = []
        for position, counts in enumerate(self.counts):
            if asked.keys() & counts.keys():
                score = single(sum(self.part(t, n, position) for t, n in asked.items()))
                scored.append((-score, self.asins[position], position))
        return [position for *_, position in sorted(scored)[:k]]

    def part(self, term: str, repeats: int, position: int) -> float:
        frequency = self.counts[position][term]
        if not frequency:
            return 0.0
        documents = self.documents[term]
        idf = single(math.log(1 + (self.number - documents + 0.5) / (documents + 0.5)))
        weight = single(repeats * idf)
        k1, b = single(0.9), single(0.4)
        share = single(single(b * self.lengths[position]) / self.average)
        inverse = single(1 / single(k1 * single(single(1 - b) + share)))
        return single(weight - single(weight / single(1 + single(frequency * inverse))))


def single(value: float) -> float:
    """Round to single precision."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


WORDS = ["lamp", "desk", "red", "blue", "the", "of", "size", "★", "é", "shoes", "shoe", "women's"]
texts = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)


@settings(deadline=None, max_examples=80)
@given(
    documents=st.lists(texts, min_size=1, max_size=25),
    query=st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=8).map(" ".join),
    k=st.integers(1, 12),
    run=st.integers(1, 60),
    order=st.randoms(use_true_random=False),
)
@example(documents=["lamp"] * 20, query="lamp", k=7, run=3, order=Random(0))
@example(documents=["lamp", "desk"], query="the of", k=5, run=9, order=Random(0))
@example(documents=["lamp", "desk"], query="", k=5, run=9, order=Random(0))
@example(documents=["", "the"], query="lamp", k=5, run=9, order=Random(0))
def test_results_are_those_of_the_definition(
    make_index: MakeIndex, documents: list[str], query: str, k: int, run: int, order: Random
) -> None:
    asins = [f"B{number:03}" for number in range(len(documents))]
    order.shuffle(asins)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "_TERMS_PER_RUN", run)
        index = make_index(documents, asins)
    assert len(index) == len(documents)
    assert index.search(query, k) == Slow(documents, asins).search(query, k)


def test_large_indexes_are_searched_exactly(make_index: MakeIndex) -> None:
    """Most documents are never scored in full, and some scores differ in double precision only."""
    draw = Random(3)
    vocabulary = [f"w{number}" for number in range(400)]
    weights = [1 / (number + 2) for number in range(400)]
    documents = [
        " ".join(draw.choices(vocabulary, weights, k=draw.randint(5, 80))) for _ in range(3000)
    ]
    asins = [f"B{number:09}" for number in draw.sample(range(10**6), 3000)]
    index = make_index(documents, asins)
    slow = Slow(documents, asins)
    for number in range(200):
        query = " ".join(draw.choices(vocabulary, weights, k=number % 25 + 1))
        everything = index.search(query, len(documents))
        for k in (1, 10, 50):
            assert index.search(query, k) == everything[:k]
        if number % 10 == 9:
            assert everything == slow.search(query, len(documents))


def test_parts_of_scores_are_those_of_single_precision(make_index: MakeIndex) -> None:
    draw = Random(5)
    words = [f"w{number}" for number in range(30)]
    documents = [" ".join(draw.choices(words, k=draw.randint(1, 300))) for _ in range(300)]
    asins = [f"B{number:03}" for number in range(300)]
    slow = Slow(documents, asins)
    for repeats in (1, 2, 3):
        (clause,) = make_index(documents, asins).clauses("w7 " * repeats)
        expected = [slow.part("w7", repeats, position) for position in clause.documents]
        assert clause.parts[clause.codes].tolist() == expected
        assert clause.most == max(expected)


@with_official_data
def test_recorded_result_pages_are_reproduced(make_index: MakeIndex) -> None:
    records = json.loads((OFFICIAL / "items_shuffle_1000.json").read_bytes())
    products = [read_product(record, None) for record in records]
    asins = [product.asin for product in products]
    index = make_index([indexed_text(product) for product in products], asins)
    pages = 0
    for line in (OFFICIAL / "golden" / "traces.jsonl").read_text().splitlines():
        for step in json.loads(line)["steps"]:
            address = re.search(r"/search_results/[^/]*/(.*)/(\d+)$", step["url"])
            if address is None:
                continue
            page, total = map(
                int, re.findall(r"Page (\d+) \(Total results: (\d+)\)", step["obs"])[0]
            )
            shown = [part for part in step["obs"].split(" [SEP] ") if part in set(asins)]
            results = [asins[position] for position in index.search(unquote_plus(address[1]))]
            assert page == int(address[2])
            assert total == len(results)
            assert shown == results[10 * (page - 1) : 10 * page]
            pages += 1
    assert pages > 50


def test_a_folder_without_an_intact_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no search index of this version"):
        open_index(tmp_path)
    build_index(tmp_path / "index", ["lamp"], ["B1"])
    arrays = tmp_path / "index" / "documents.npy"
    arrays.write_bytes(arrays.read_bytes()[:-1])
    with pytest.raises(ConfigurationError, match="no search index of this version"):
        open_index(tmp_path / "index")
    (tmp_path / "index" / "index.json").write_text('{"format": 0}')
    with pytest.raises(ConfigurationError, match="no search index of this version"):
        open_index(tmp_path / "index")


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def breaking() -> Iterator[str]:
        yield "lamp"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_index(tmp_path / "index", breaking(), ["B1"])
    with pytest.raises(ValueError, match="1 texts, but 2 ASINs"):
        build_index(tmp_path / "index", ["lamp"], ["B1", "B2"])
    assert list(tmp_path.iterdir()) == []
