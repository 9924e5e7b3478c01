"""Texts of exactly so many tokens, made of real ones: joined, and cut between words."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

_WORDS_PER_TOKEN = 2  # a word is a token or more, but normalisers swallow some
CountTokens = Callable[[str], int]


def longest_input(texts: Iterable[str], count_tokens: CountTokens, most: int) -> int:
    """Return how many tokens the model reads of a text that is longer than ``most`` tokens, at most ``most``.

    Args:
        texts: Real texts.
        count_tokens: Tokens of a text after the model's own truncation, special ones included.
        most: Longest length of interest.
    """
    words = _words(texts)
    wanted = most * _WORDS_PER_TOKEN
    return min(most, count_tokens(" ".join(words[:wanted]))) if words else 0


def texts_of_length(texts: Iterable[str], length: int, number: int, count_tokens: CountTokens) -> list[str]:
    """Return texts of exactly ``length`` tokens; fewer than ``number`` where the words do not yield as many.

    Args:
        texts: Real texts, in the order in which they are joined.
        length: Tokens, special ones included.
        number: How many texts.
        count_tokens: Tokens of a text after the model's own truncation, special ones included.
    """
    words = _words(texts)
    found: list[str] = []
    start = 0
    while start < len(words) and len(found) < number:
        window = words[start : start + length * _WORDS_PER_TOKEN]
        taken = _fewest_words(window, length, count_tokens)
        text = " ".join(window[:taken])
        if taken and count_tokens(text) == length:
            found.append(text)
            start += taken
        else:
            start += 1  # the word at the end has several tokens and would go beyond; the next window ends elsewhere
    return found


def _words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in text.split()]


def _fewest_words(words: Sequence[str], length: int, count_tokens: CountTokens) -> int:
    """Return how many of the first words it takes to reach ``length`` tokens, 0 when all are too few."""
    sizes = range(1, len(words) + 1)
    place = bisect_left(sizes, length, key=lambda size: count_tokens(" ".join(words[:size])))
    return sizes[place] if place < len(sizes) else 0
