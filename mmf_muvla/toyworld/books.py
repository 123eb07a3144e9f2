"""Book-like sentences: a narrator in the past tense, characters, weather and moods, and the world's nouns.

No sentence tells of a scene. What retrieval can find in them is company: a sentence keeps to one kind of place, so
that its nouns are nouns that occur together.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS, THEMES, Theme
from mmf_muvla.toyworld.wording import capitalised, choose_noun, is_person, with_article

_OBJECTLESS_SHARE = 0.15

_PLACES = {
    "kitchen": ("in the kitchen", "by the stove", "in her mother's kitchen"),
    "living room": ("in the parlour", "by the fireside", "in the sitting room"),
    "office": ("in the office", "at the bank", "upstairs in the office"),
    "street": ("in the street", "at the corner", "on the road to town"),
    "farm": ("on the farm", "in the yard", "beyond the meadow"),
    "park": ("in the park", "on the common", "under the open sky"),
    "beach": ("on the shore", "by the water", "at the edge of the sea"),
    "zoo": ("at the zoo", "in the menagerie", "behind the iron fence"),
}
_TIMES = (
    "that morning", "one evening in autumn", "late in the afternoon", "before the war", "on the third day",
    "towards midnight", "when the rain had stopped", "long before dawn", "in those years", "after the funeral",
    "on the eve of the wedding", "as the light was failing", "at the end of that summer", "the next Sunday",
)  # fmt: skip
_WEATHERS = (
    "the wind had risen", "snow lay on the ground", "the fog would not lift", "it had rained since noon",
    "the heat was hard to bear", "thunder rolled over the hills", "the sun had not yet risen", "dusk was falling",
    "the frost had come early", "not a leaf stirred",
)  # fmt: skip
_MANNERS = (
    "softly", "without turning round", "with a sigh", "in a low voice", "rather coldly", "half in jest",
    "almost in tears", "with great dignity", "at last", "as if in a dream",
)  # fmt: skip
_FEELINGS = (
    "lonely", "strangely happy", "ashamed", "uneasy", "full of hope", "tired of the whole affair", "quite at home",
    "afraid", "younger than before", "almost free", "angry with everybody", "grateful",
)  # fmt: skip
_MEMORIES = (
    "the old days", "his promise", "the letter", "everything that had been lost", "home", "the long winter",
    "what the doctor had said", "the quarrel", "a song from childhood", "the debts",
)  # fmt: skip
_ADJECTIVES = ("old", "forgotten", "fine", "strange", "poor", "splendid", "lonely", "familiar", "shabby", "beloved")
_OWNERS = ("my grandfather", "the parson", "a stranger from the north", "the innkeeper", "the twins", "a retired judge")


@dataclass(frozen=True)
class _Character:
    name: str
    she: str  # "she" or "he"

    @property
    def her(self) -> str:
        """The possessive."""
        return "her" if self.she == "she" else "his"


_CHARACTERS = tuple(
    _Character(name, she)
    for she, names in {
        "she": "Martha/Eleanor/old Mrs. Finch/Agnes/the widow/Clara/her sister/Miss Pym/the governess/Aunt Judith",
        "he": "Thomas/the captain/Mr. Hale/young Edgar/the schoolmaster/Jonas/her brother/the gardener/Uncle Silas",
    }.items()
    for name in names.split("/")
)


def book_corpus(rng: random.Random, count: int) -> list[str]:
    """``count`` different book-like sentences, about one in seven without any of the world's objects."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[book_sentence(rng)] = None
    return list(found)


def book_sentence(rng: random.Random) -> str:
    """One sentence with capital and full stop."""
    author = _Author(rng)
    templates = _OBJECTLESS if rng.random() < _OBJECTLESS_SHARE else _TEMPLATES
    return capitalised(rng.choice(templates)(author)) + "."


class _Author:
    """Keeps to one place and to two characters for the length of a sentence."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.theme: Theme = rng.choice(tuple(THEMES.values()))
        self.one, self.other = rng.sample(_CHARACTERS, 2)
        weights = {name: 3 for name in self.theme.typical} | {name: 1 for name in self.theme.occasional}
        self._weights = {name: weight for name, weight in weights.items() if not is_person(name)}

    def category(self) -> str:
        """A category of the place, none twice in a sentence."""
        name = self.rng.choices(list(self._weights), list(self._weights.values()))[0]
        del self._weights[name]
        return name

    def words(self, category: str | None = None) -> str:
        """ "old brown horse": a singular noun with none, one or two adjectives."""
        category = category or self.category()
        words = []
        if self.rng.random() < 0.45:
            words.append(self.rng.choice(_ADJECTIVES))
        if self.rng.random() < 0.35:
            usual = self.rng.random() < 0.7
            words.append(self.rng.choice(CATEGORIES[category].colours if usual else COLOURS))
        return " ".join([*words, choose_noun(self.rng, category).singular])

    def a(self) -> str:
        return with_article(self.words())

    def the(self) -> str:
        return f"the {self.words()}"

    def many(self) -> str:
        """ "the old boats" """
        adjective = f"{self.rng.choice(_ADJECTIVES)} " if self.rng.random() < 0.4 else ""
        return f"the {adjective}{choose_noun(self.rng, self.category()).plural}"

    def place(self) -> str:
        return self.rng.choice(_PLACES[self.theme.name])

    def time(self) -> str:
        return self.rng.choice(_TIMES)

    def weather(self) -> str:
        return self.rng.choice(_WEATHERS)

    def manner(self) -> str:
        return self.rng.choice(_MANNERS)

    def feeling(self) -> str:
        return self.rng.choice(_FEELINGS)

    def memory(self) -> str:
        return self.rng.choice(_MEMORIES)

    def owner(self) -> str:
        return self.rng.choice(_OWNERS)


_TEMPLATES: tuple[Callable[[_Author], str], ...] = (
    lambda w: f"{w.one.name} stood for a long time beside {w.the()} and thought of {w.memory()}",
    lambda w: f"when {w.one.name} came home, {w.the()} was still there, but {w.the()} had been taken away",
    lambda w: f"{w.time()}, {w.one.name} saw {w.a()} and {w.a()} {w.place()}, and felt {w.feeling()}",
    lambda w: f'"is that your {w.words()}?" asked {w.one.name} {w.manner()}',
    lambda w: f"{w.one.name} had never cared for {w.many()}, yet {w.one.she} could not look away from {w.the()}",
    lambda w: f"{w.weather()}, and {w.the()} had been left {w.place()} beside {w.the()}",
    lambda w: f"it was said {w.place()} that {w.the()} had once belonged to {w.owner()}",
    lambda w: f"{w.one.name} remembered {w.the()} from the days when {w.other.name} was young",
    lambda w: f"nobody noticed {w.the()} until {w.one.name} spoke of it {w.manner()}",
    lambda w: f"{w.one.name} promised {w.other.name} {w.a()}, and {w.time()} {w.one.she} kept {w.one.her} word",
    lambda w: f"there had been {w.a()} {w.place()} as long as anyone could remember",
    lambda w: f"{w.one.name} drew {w.the()} and {w.the()} in {w.one.her} notebook, for {w.weather()}",
    lambda w: f'"I would give {w.a()} for {w.a()}," said {w.one.name} {w.manner()}',
    lambda w: f"{w.time()} {w.many()} were gone, and only {w.the()} remained {w.place()}",
    lambda w: f"{w.one.name} walked past {w.many()} without a word, because {w.other.name} was waiting near {w.the()}",
    lambda w: f"behind {w.the()} {w.one.name} found {w.a()}, and {w.one.she} felt {w.feeling()}",
    lambda w: f"how {w.one.name} had come by {w.a()} was a question that {w.other.name} never dared to ask",
    lambda w: f"{w.weather()} when {w.one.name} sold {w.the()} to {w.owner()}",
    lambda w: f"in {w.one.her} dreams {w.one.name} was always looking for {w.a()} {w.place()}",
    lambda w: f"{w.the()} was worth more to {w.one.name} than {w.the()}, {w.the()} and {w.memory()} together",
    lambda w: f"{w.one.name} laid one hand on {w.the()} and told {w.other.name} {w.manner()} about {w.memory()}",
    lambda w: f"though {w.weather()}, {w.many()} {w.place()} seemed to {w.one.name} more beautiful than ever",
)

_OBJECTLESS: tuple[Callable[[_Author], str], ...] = (
    lambda w: f"{w.one.name} could not sleep, for {w.weather()}",
    lambda w: f"{w.time()}, nothing was said for a while, and {w.one.name} felt {w.feeling()}",
    lambda w: f'"you must not think of {w.memory()}," said {w.one.name} {w.manner()}',
    lambda w: f"{w.one.name} had been {w.feeling()} ever since {w.other.name} spoke {w.manner()} of {w.memory()}",
    lambda w: f"{w.weather()}, and {w.time()} {w.one.name} began to speak of {w.memory()}",
    lambda w: f"neither {w.one.name} nor {w.other.name} ever mentioned {w.memory()} again",
    lambda w: f"what {w.one.name} answered {w.manner()} made {w.other.name} feel {w.feeling()}",
)
