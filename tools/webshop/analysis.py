"""English analysis as Lucene's `EnglishAnalyzer` does it: from a text to the terms of the index.

The words of Unicode's UAX#29 lose a possessive 's, go to lower case, are dropped if they are among
Lucene's 33 stop words, and are stemmed by Porter's algorithm (1980) as its author's Java version
and Lucene have it. Documents and queries go through the same function, `terms`. Lucene's tables
are those of Unicode 9 and of emoji 11; for characters that were added or moved since, the tables of
`regex` count, except for the symbols that product texts do contain.
"""

from __future__ import annotations

import re
from functools import lru_cache

import regex

LONGEST_WORD = 255
"""Characters that a word may have; the rest of a longer one counts as further words."""

STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it",
    "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they",
    "this", "to", "was", "will", "with",
})  # fmt: skip


def _word(
    letter: str,
    digit: str,
    joiner: str,
    in_words: str,
    in_numbers: str,
    after_letters: str = "",
    otherwise: str = "",
) -> str:
    """Return the pattern of a word, from patterns of its parts.

    Args:
        letter: A letter.
        digit: A digit.
        joiner: What joins anything, as the underscore does.
        in_words: What stands between letters, as the apostrophe does.
        in_numbers: What stands between digits, as the decimal point does.
        after_letters: What may follow letters besides.
        otherwise: What may stand in the place of letters and digits.
    """
    letters = rf"{letter}++(?:{in_words}{letter}++)*+{after_letters}"
    digits = rf"{digit}++(?:{in_numbers}{digit}++)*+"
    run = rf"(?:(?:{letters}|{digits})++{otherwise and '|' + otherwise})"
    return rf"{joiner}*+{run}(?:{joiner}++{run})*+{joiner}*+"


# UAX#29, rule WB4: what belongs to the character before it.
_EXTEND = r"[[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]--\p{Emoji_Modifier}]*+"


def _one_of(characters: str) -> str:
    return rf"(?:[{characters}]{_EXTEND})"


_HEBREW = r"\p{WB=Hebrew_Letter}"
_HEBREW_QUOTE = (
    rf"(?:'{_EXTEND}(?<={_HEBREW}{_EXTEND}'{_EXTEND})"
    rf"|\"{_EXTEND}(?<={_HEBREW}{_EXTEND}\"{_EXTEND})(?={_HEBREW}))?+"
)
_UNICODE_WORD = _word(
    _one_of(r"[\p{WB=ALetter}\p{WB=Hebrew_Letter}]--\p{Sk}"),
    _one_of(r"\p{WB=Numeric}０-９"),
    _one_of(r"\p{WB=ExtendNumLet}"),
    _one_of(r"\p{WB=MidLetter}\p{WB=MidNumLet}\p{WB=Single_Quote}"),
    _one_of(r"\p{WB=MidNum}\p{WB=MidNumLet}\p{WB=Single_Quote}"),
    after_letters=_HEBREW_QUOTE,
    otherwise=_one_of(r"\p{WB=Katakana}") + "++",
)
_ASIAN = "|".join(
    [_one_of(r"\p{LB=SA}") + "++", _one_of(r"\p{Script=Han}"), _one_of(r"\p{Script=Hiragana}")]
)

# Emoji sequences of TR51. The ranges were pictographs in emoji 11 (★ among them) and are none now.
_PICTOGRAPH = (
    r"[[\p{Extended_Pictographic}\p{Emoji}\u2388\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705"
    r"\u2708-\u2712\u2763-\u2767\U0001F000-\U0001F0FF\U0001F249-\U0001F53D\U0001F546-\U0001F64F"
    r"\U0001F680-\U0001F6FF]--[\p{WB=Regional_Indicator}0-9#*\p{Emoji_Modifier}]]"
)
_MARK = r"[[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]--[\uFE0E\uFE0F\p{Emoji_Modifier}]]"
_MARKS = rf"(?:(?!\u200D++(?:{_PICTOGRAPH}|\p{{Emoji_Modifier}})){_MARK})*+"
_EMOJI = (
    rf"(?:(?:\u200D*+\p{{Emoji_Modifier_Base}}{_MARKS})?\p{{Emoji_Modifier}}{_MARKS}"
    rf"|\u200D*+{_PICTOGRAPH}{_MARKS}\uFE0F?+)"
)
_EMOJI_SEQUENCE = rf"{_EMOJI}(?:\u200D{_EMOJI})*+"
_KEYCAP = rf"[0-9#*]{_MARK}*?\uFE0F?\u20E3{_MARK}*+"
_FLAG = rf"(?:\p{{WB=Regional_Indicator}}{_EXTEND}){{2}}"

_UNICODE_WORDS = regex.compile(
    rf"{_UNICODE_WORD}|{_ASIAN}|{_EMOJI_SEQUENCE}|{_KEYCAP}|{_FLAG}", regex.VERSION1
)
_ASCII_WORDS = re.compile(_word("[A-Za-z]", "[0-9]", "_", "[:.']", "[.,;']"))

# What needs the slower pattern; words end at spaces, so it can be cut out of a text.
_NOT_ASCII = re.compile(r"(?<![!-~])[!-~]*+[^\x00-\x7F][^\x00-\x20]*+")

_POSSESSIVES = ("'s", "’s", "＇s", "'S", "’S", "＇S")


def terms(text: str) -> list[str]:
    """Return the terms of a text in its order, repeated ones as often as they occur."""
    found = map(_term, _words(text))
    return [term for term in found if term]


def _words(text: str) -> list[str]:
    words: list[str] = []
    start = 0
    for piece in _NOT_ASCII.finditer(text):
        words += _ASCII_WORDS.findall(text, start, piece.start())
        words += _UNICODE_WORDS.findall(piece[0])
        start = piece.end()
    words += _ASCII_WORDS.findall(text, start)
    return _cut(text) if max(map(len, words), default=0) > LONGEST_WORD else words


def _cut(text: str) -> list[str]:
    """Return the words of a text that has overlong ones."""
    words = []
    start = 0
    while found := _UNICODE_WORDS.search(text, start):
        # What follows the cut is read afresh: it need not begin with a letter.
        found = _UNICODE_WORDS.match(text, found.start(), found.start() + LONGEST_WORD)
        words.append(found[0])
        start = found.end()
    return words


@lru_cache(maxsize=1 << 18)
def _term(word: str) -> str:
    """Return the term of a word, or nothing for a stop word."""
    word = word[:-2] if word.endswith(_POSSESSIVES) else word
    # Letter by letter, as in Java: no final sigma, and one letter for the dotted capital I.
    word = word.lower() if word.isascii() else "".join(letter.lower()[0] for letter in word)
    return "" if word in STOP_WORDS else stem(word)


_STEP_2 = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize",
    "bli": "ble", "alli": "al", "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize",
    "ation": "ate", "ator": "ate", "alism": "al", "iveness": "ive", "fulness": "ful",
    "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble", "logi": "log",
}  # fmt: skip
_STEP_3 = {
    "icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": "",
}  # fmt: skip
_STEP_4 = {
    "al": "", "ance": "", "ence": "", "er": "", "ic": "", "able": "", "ible": "", "ant": "",
    "ement": "", "ment": "", "ent": "", "ion": "", "ou": "", "ism": "", "ate": "", "iti": "",
    "ous": "", "ive": "", "ize": "",
}  # fmt: skip


def stem(word: str) -> str:
    """Return the stem of a lower-case word by Porter's algorithm (Program 14, 1980, 130-137).

    Where his Java version departs from the article (words of one or two letters stay, ``bli`` and
    ``logi`` are suffixes of step 2), it is followed.
    """
    if len(word) <= 2:
        return word
    word = _without_plural(word)
    word = _without_past(word)
    if word.endswith("y") and "v" in _shape(word[:-1]):
        word = word[:-1] + "i"
    for suffixes, measure in ((_STEP_2, 0), (_STEP_3, 0), (_STEP_4, 1)):
        word = _without_suffix(word, suffixes, measure)
    if word.endswith("e"):
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _is_short(word[:-1])):
            word = word[:-1]
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word


def _shape(word: str) -> str:
    """Return c for each consonant and v for each vowel; y is a vowel after a consonant."""
    shape = ""
    for letter in word:
        vowel = letter in "aeiou" or (letter == "y" and shape.endswith("c"))
        shape += "v" if vowel else "c"
    return shape


def _measure(word: str) -> int:
    return _shape(word).count("vc")


def _is_short(word: str) -> bool:
    """Tell whether the word ends in consonant, vowel, consonant other than w, x and y."""
    return _shape(word).endswith("cvc") and word[-1] not in "wxy"


def _without_plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _without_past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) else word
    rest = word.removesuffix("ed") if word.endswith("ed") else word.removesuffix("ing")
    if rest == word or "v" not in _shape(rest):
        return word
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if rest[-2:-1] == rest[-1] and _shape(rest)[-1] == "c":
        return rest if rest[-1] in "lsz" else rest[:-1]
    return rest + "e" if _measure(rest) == 1 and _is_short(rest) else rest


def _without_suffix(word: str, suffixes: dict[str, str], measure: int) -> str:
    """Replace the first suffix that fits, if what stands before it measures more than `measure`."""
    if not word.endswith(tuple(suffixes)):
        return word
    suffix = next(suffix for suffix in suffixes if word.endswith(suffix))
    rest = word.removesuffix(suffix)
    if _measure(rest) <= measure or (suffix == "ion" and rest[-1] not in "st"):
        return word
    return rest + suffixes[suffix]
