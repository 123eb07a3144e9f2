"""Book-like sentences: a narrator in the past tense, characters, weather and moods, and the world's nouns.

No sentence tells of a scene. What retrieval can find in them is company: a sentence keeps to one kind of place, so
that its nouns are nouns that occur together.
"""

from __future__ import annotations

import random
from itertools import repeat

from mmf_muvla.toyworld.vocabulary import CATEGORIES, COLOURS, THEMES
from mmf_muvla.toyworld.wording import capitalised, choose_noun, first_distinct, is_person, with_article

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
_PHRASES = {
    "time": (
        "that morning", "one evening in autumn", "late in the afternoon", "before the war", "on the third day",
        "towards midnight", "when the rain had stopped", "long before dawn", "in those years", "after the funeral",
        "on the eve of the wedding", "as the light was failing", "at the end of that summer", "the next Sunday",
    ),
    "weather": (
        "the wind had risen", "snow lay on the ground", "the fog would not lift", "it had rained since noon",
        "the heat was hard to bear", "thunder rolled over the hills", "the sun had not yet risen", "dusk was falling",
        "the frost had come early", "not a leaf stirred",
    ),
    "manner": (
        "softly", "without turning round", "with a sigh", "in a low voice", "rather coldly", "half in jest",
        "almost in tears", "with great dignity", "at last", "as if in a dream",
    ),
    "feeling": (
        "lonely", "strangely happy", "ashamed", "uneasy", "full of hope", "tired of the whole affair", "quite at home",
        "afraid", "younger than before", "almost free", "angry with everybody", "grateful",
    ),
    "memory": (
        "the old days", "his promise", "the letter", "everything that had been lost", "home", "the long winter",
        "what the doctor had said", "the quarrel", "a song from childhood", "the debts",
    ),
    "owner": (
        "my grandfather", "the parson", "a stranger from the north", "the innkeeper", "the twins", "a retired judge",
    ),
}  # fmt: skip
_ADJECTIVES = ("old", "forgotten", "fine", "strange", "poor", "splendid", "lonely", "familiar", "shabby", "beloved")
_WOMEN = (
    "Martha", "Eleanor", "old Mrs. Finch", "Agnes", "the widow", "Clara", "her sister", "Miss Pym",
    "the governess", "Aunt Judith",
)  # fmt: skip
_MEN = (
    "Thomas", "the captain", "Mr. Hale", "young Edgar", "the schoolmaster", "Jonas", "her brother",
    "the gardener", "Uncle Silas",
)  # fmt: skip


def book_corpus(rng: random.Random, count: int) -> list[str]:
    """``count`` different book-like sentences, about one in seven without any of the world's objects."""
    return first_distinct((book_sentence(rng) for _ in repeat(None)), count)


def book_sentence(rng: random.Random) -> str:
    """One sentence with capital and full stop."""
    author = _Author(rng)
    templates = _OBJECTLESS if rng.random() < _OBJECTLESS_SHARE else _TEMPLATES
    return capitalised(rng.choice(templates).format_map(author)) + "."


class _Author:
    """Fills the gaps of a template, and keeps to one place and to two characters for the length of a sentence."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        theme = rng.choice(tuple(THEMES.values()))
        one, other = rng.sample([*_WOMEN, *_MEN], 2)
        she, her = ("she", "her") if one in _WOMEN else ("he", "his")
        self._characters = {"one": one, "she": she, "her": her, "other": other}
        self._phrases = _PHRASES | {"place": _PLACES[theme.name]}
        self._weights = {name: weight for name, weight in theme.weights.items() if not is_person(name)}

    def __getitem__(self, gap: str) -> str:
        if gap in self._characters:
            return self._characters[gap]
        if gap in self._phrases:
            return self.rng.choice(self._phrases[gap])
        if gap == "many":  # "the old boats"
            adjective = f"{self.rng.choice(_ADJECTIVES)} " if self.rng.random() < 0.4 else ""
            return f"the {adjective}{choose_noun(self.rng, self._category()).plural}"
        words = self._words()
        return {"a": with_article(words), "the": f"the {words}", "words": words}[gap]

    def _category(self) -> str:
        """A category of the place, none twice in a sentence."""
        name = self.rng.choices(list(self._weights), list(self._weights.values()))[0]
        del self._weights[name]
        return name

    def _words(self) -> str:
        """ "old brown horse": a singular noun with none, one or two adjectives."""
        category = self._category()
        words = []
        if self.rng.random() < 0.45:
            words.append(self.rng.choice(_ADJECTIVES))
        if self.rng.random() < 0.35:
            words.append(self.rng.choice(CATEGORIES[category].colours if self.rng.random() < 0.7 else COLOURS))
        return " ".join([*words, choose_noun(self.rng, category).singular])


_TEMPLATES = (
    "{one} stood for a long time beside {the} and thought of {memory}",
    "when {one} came home, {the} was still there, but {the} had been taken away",
    "{time}, {one} saw {a} and {a} {place}, and felt {feeling}",
    '"is that your {words}?" asked {one} {manner}',
    "{one} had never cared for {many}, yet {she} could not look away from {the}",
    "{weather}, and {the} had been left {place} beside {the}",
    "it was said {place} that {the} had once belonged to {owner}",
    "{one} remembered {the} from the days when {other} was young",
    "nobody noticed {the} until {one} spoke of it {manner}",
    "{one} promised {other} {a}, and {time} {she} kept {her} word",
    "there had been {a} {place} as long as anyone could remember",
    "{one} drew {the} and {the} in {her} notebook, for {weather}",
    '"I would give {a} for {a}," said {one} {manner}',
    "{time} {many} were gone, and only {the} remained {place}",
    "{one} walked past {many} without a word, because {other} was waiting near {the}",
    "behind {the} {one} found {a}, and {she} felt {feeling}",
    "how {one} had come by {a} was a question that {other} never dared to ask",
    "{weather} when {one} sold {the} to {owner}",
    "in {her} dreams {one} was always looking for {a} {place}",
    "{the} was worth more to {one} than {the}, {the} and {memory} together",
    "{one} laid one hand on {the} and told {other} {manner} about {memory}",
    "though {weather}, {many} {place} seemed to {one} more beautiful than ever",
)

_OBJECTLESS = (
    "{one} could not sleep, for {weather}",
    "{time}, nothing was said for a while, and {one} felt {feeling}",
    '"you must not think of {memory}," said {one} {manner}',
    "{one} had been {feeling} ever since {other} spoke {manner} of {memory}",
    "{weather}, and {time} {one} began to speak of {memory}",
    "neither {one} nor {other} ever mentioned {memory} again",
    "what {one} answered {manner} made {other} feel {feeling}",
)
