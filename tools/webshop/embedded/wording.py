"""The sentences of the embedded shop: titles, descriptions, and what customers ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from armap_agents.tools.webshop.embedded.chance import Draw
from armap_agents.tools.webshop.embedded.vocabulary import Form, Trait

_STATEMENTS: dict[Form, tuple[str, ...]] = {
    "is": (
        "{phrase}, as the label says.",
        "{phrase}, and tested for it.",
        "What buyers name first: {phrase}.",
        "In short: {phrase}.",
    ),
    "of": ("Made {phrase}.", "Made {phrase} throughout.", "The main part is made {phrase}."),
    "with": ("Comes {phrase}.", "You get it {phrase}.", "Delivered {phrase}."),
    "for": ("A good choice {phrase}.", "Made {phrase}.", "Many buy it {phrase}."),
}

_REQUESTS = (
    "I need {goods}",
    "I am looking for {goods}",
    "Please get me {goods}",
    "Show me {goods}",
    "I would like to buy {goods}",
    "Could you order {goods}",
)

_HUMAN_REQUESTS = (
    "hi, can you find {goods}? should {wishes}{choices}.",
    "{goods} please{choices}. must {wishes}",
    "shopping for a friend today, {goods} would be great. ought to {wishes}{choices}.",
    "which {noun} would you pick? mine must {wishes}{choices}",
    "running errands and still need {goods}{choices}. should {wishes}, nothing fancy.",
    "i've been meaning to buy {goods}. the important bits: must {wishes}{choices}.",
    "we just moved and need {goods}{choices}; it would help a lot if it could {wishes}",
    "do you carry {goods} that will {wishes}? i'd take it{choices}.",
    "gift idea: {goods}{choices}, and it really must {wishes}.",
    "could you look for {goods}{choices}? has to {wishes} or i'll send it back.",
)

_HUMAN_WISHES: dict[Form, str] = {"is": "be", "of": "be made", "with": "come", "for": "be right"}

_SMALL_WORDS = frozenset({"a", "an", "and", "for", "in", "of", "the", "with"})


def headline(text: str) -> str:
    """Return the text with capitals as titles have them."""
    words = text.split(" ")
    return " ".join(w if w in _SMALL_WORDS else w[:1].upper() + w[1:] for w in words)


def title(brand: str, series: str, noun: str, shown: Sequence[Trait], leading: bool) -> str:
    """Return a product's name.

    Args:
        brand: The maker.
        series: The maker's name for the family.
        noun: What it is.
        shown: The traits that the name tells of.
        leading: Whether brand and series stand first or last.
    """
    adjectives = [trait.phrase for trait in shown if trait.form == "is"]
    rest = _complements(shown)
    if leading:
        return headline(", ".join([" ".join([brand, series, noun, *rest]), *adjectives]))
    return headline(" ".join([*adjectives, noun, *rest]) + f" - {brand} {series}")


def _complements(traits: Sequence[Trait]) -> list[str]:
    """Return what follows a noun: ``of cork``, ``with a strap and a bag``, ``for travel``."""
    complements = []
    for form in ("of", "with", "for"):
        phrases = [t.phrase.removeprefix(f"{form} ") for t in traits if t.form == form]
        if phrases:
            complements.append(f"{form} {' and '.join(phrases)}")
    return complements


def statement(trait: Trait, draw: Draw) -> str:
    """Return a sentence that says of a product that it has the trait."""
    text = draw.pick(_STATEMENTS[trait.form]).format(phrase=trait.phrase)
    return text[0].upper() + text[1:]


def goods(article: str, noun: str, traits: Sequence[Trait]) -> str:
    """Return a noun phrase, e.g. ``a stackable coffee mug of stoneware for camping``."""
    adjectives = ", ".join(trait.phrase for trait in traits if trait.form == "is")
    text = " ".join(filter(None, [adjectives, noun.lower(), *_complements(traits)]))
    if article == "a" and text[0] in "aeiou" and not text.startswith(("uv", "us", "uni")):
        article = "an"
    return f"{article} {text}"


def request(article: str, noun: str, traits: Sequence[Trait], draw: Draw) -> str:
    """Return the instruction of a synthetic goal, to which the loader adds options and price."""
    return draw.pick(_REQUESTS).format(goods=goods(article, noun, traits))


def human_request(
    article: str, noun: str, traits: Sequence[Trait], choices: Mapping[str, str], draw: Draw
) -> str:
    """Return an instruction as a person types it; `choices` are the options asked for."""
    wishes = [f"{_HUMAN_WISHES[trait.form]} {trait.phrase}" for trait in traits]
    return draw.pick(_HUMAN_REQUESTS).format(
        goods=goods(article, noun, ()),
        noun=noun.lower(),
        wishes=" and ".join(filter(None, [", ".join(wishes[:-1]), wishes[-1]])),
        choices="".join(f", {_choice(name, value)}" for name, value in choices.items()),
    )


def _choice(name: str, value: str) -> str:
    value = value.lower()
    if name == "Color":
        return f"in {value}"
    return f"the {value} {name.lower().removesuffix(' name')}"
