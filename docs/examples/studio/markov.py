"""A small language model: given two words, which words came next in the text it has read? The Storyteller's engine."""

from __future__ import annotations

import random
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator

SENTENCE_END = (".", "?", "!")
# Indented lines are code or grammar, bars make tables; the change notes would open every other story.
NO_PROSE = re.compile(r"^ |::=|\||>>>|^(New|Added|Changed) in version", re.MULTILINE)
MARKS = re.compile(r'["*`“”]|\[\d+\]')  # quotes, emphasis, footnote numbers


def read_language_reference() -> list[str]:
    """The prose of Python's language reference, which every Python carries for help(): one string per paragraph."""
    from pydoc_data.topics import topics  # here, since it is half a megabyte that only a trained model needs

    paragraphs = []
    for text in topics.values():
        for block in text.split("\n\n"):
            paragraph = textwrap.dedent(block).strip("\n")
            if paragraph[:1].isupper() and paragraph.endswith(".") and not NO_PROSE.search(paragraph):
                paragraphs.append(MARKS.sub("", paragraph.replace("-\n", "-")))
    return paragraphs


class MarkovModel:
    """A chain of order two over words."""

    def __init__(self, paragraphs: list[str]) -> None:
        self.following: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self.openings: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)  # lower-case word: pairs it begins
        self.beginnings: list[tuple[str, str]] = []  # the pairs that begin a sentence
        for paragraph in paragraphs:
            words = paragraph.split()
            starts_sentence = True
            for first, second, third in zip(words, words[1:], words[2:], strict=False):
                self.following[first, second].append(third)
                self.openings[first.lower()].append((first, second))
                if starts_sentence:
                    self.beginnings.append((first, second))
                starts_sentence = first.endswith(SENTENCE_END)

    def knows(self, word: str) -> bool:
        """Whether a text can begin with this word."""
        return word.lower() in self.openings

    def words(self, opening: str = "", at_least: int = 70, at_most: int = 160) -> Iterator[str]:
        """Yield the words of a new text; it ends with the first sentence that ends after `at_least` words."""
        pair = random.choice(self.openings[opening.lower()] if opening else self.beginnings)
        yield pair[0][:1].upper() + pair[0][1:]
        for count in range(2, at_most + 1):
            yield pair[1]
            if count >= at_least and pair[1].endswith(SENTENCE_END):
                return
            third = random.choice(self.following[pair]) if pair in self.following else None
            if third is None:  # the end of a paragraph that nothing else continues: begin another sentence
                pair = random.choice(self.beginnings)
                yield pair[0]
            else:
                pair = pair[1], third
