"""VQA 2.0's answers: how they are made comparable, what an answer scores, and which ones a model can give.

The rules are those of the benchmark's own evaluation (github.com/GT-Vision-Lab/VQA, vqaEval.py of 2021), oddities
included: a score is only comparable where every answer is treated exactly as there. They are made for ten annotators.
With another number of them, an answer that all of them gave shall be worth 1 as well: see :func:`vqa_accuracy`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from mmf_muvla.errors import InputError
from mmf_muvla.reading.json_values import text_problem

QUESTION_KINDS = ("yes/no", "number", "other")  # by which the benchmark reports accuracies
ANNOTATORS = 10  # so many people answered each question of VQA 2.0
MIN_OCCURRENCES = 9  # so many questions must have an answer for the usual vocabulary to hold it

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_BETWEEN_DIGITS = re.compile(r"[0-9],[0-9]")
_PERIOD_NOT_BEFORE_A_DIGIT = re.compile(r"\.(?![0-9])")
# The evaluation passes a flag, whose value is 32, where the number of replacements belongs.
_MOST_PERIODS = 32
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten"
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS.split())} | {"none": "0"}
# Words of which the evaluation knows every spelling with one apostrophe missing.
_WITH_APOSTROPHES = """
    ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't needn't oughtn't
    shan't shouldn't wasn't weren't won't wouldn't couldn't've hadn't've mightn't've shouldn't've wouldn't've
    could've might've must've not've should've they've we've what've where've who've would've you've
    he'd how'd it'd someone'd something'd there'd they'd where'd who'd you'd
    he'd've it'd've she'd've somebody'd've someone'd've something'd've there'd've they'd've we'd've who'd've you'd've
    how'll it'll somebody'll someone'll something'll they'll what'll who'll why'll you'll
    he's how's somebody's someone's that's there's what's when's where's who's why's
    there're they're what're why're you're ma'am o'clock 'twas 'ow's'at y'all y'all'll y'all'd've
"""
_CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word
    for word in _WITH_APOSTROPHES.split()
    for place, character in enumerate(word)
    if character == "'"
} | {"somebody'd": "somebodyd"}  # The wrong way round in the evaluation, too.


# Half of all annotators' answers are among a few hundred.
@lru_cache(maxsize=2**16)
def normalize_answer(answer: str) -> str:
    """An answer in the form in which the evaluation compares answers that are not unanimous.

    In this order: newlines and tabs become blanks; punctuation vanishes where it stands next to a blank somewhere in
    the answer, or where there is a comma between two digits, and becomes a blank otherwise; periods vanish unless a
    digit follows; letters become small, number words up to ten digits ("none" is 0); articles vanish; contractions get
    their apostrophe. Nothing may remain, as of ``"the"``.
    """
    words = (_DIGITS.get(word, word) for word in _strip_punctuation(_flatten(answer)).lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answer: str, annotators: Sequence[str]) -> float:
    """What an answer scores, in [0, 1], as the benchmark's evaluation has it.

    For every annotator left out in turn the answer scores ``min(1, n / 3)``, ``n`` being how many of the others gave
    it; the accuracy is the mean of these. Answers are normalised, unless ten annotators are unanimous: then the given
    answer must be theirs to the letter. Fewer than four annotators cannot leave three others who agree: then the
    accuracy is the share of them who gave the answer.

    Raises:
        ValueError: there are no annotators.
    """
    if not annotators:
        raise ValueError("an accuracy needs at least one annotator's answer")
    return soft_scores(annotators).get(_form_among(annotators)(answer), 0.0)


def soft_scores(answers: Sequence[str]) -> dict[str, float]:
    """The accuracy (see :func:`vqa_accuracy`) that each of the annotators' answers would get.

    With ten annotators it is 0.3, 0.6 and 0.9 for an answer of one, two and three of them, and 1 beyond; with five
    4/15, 8/15, 12/15, and 1 beyond; with fewer than four it is the share of them. Answers are as they are compared.
    """
    counts = Counter(map(_form_among(answers), answers))
    return {answer: _leave_one_out(count, len(answers)) for answer, count in counts.items()}


def answer_vocabulary(answers: Iterable[str], min_occurrences: int = MIN_OCCURRENCES) -> list[str]:
    """The answers that a model chooses from, by the rule that most work on the benchmark follows.

    That rule, of Anderson et al. (2018) and Teney et al. (2018) as github.com/hengyuan-hu/bottom-up-attention-vqa has
    it: the normalised most frequent answers (``multiple_choice_answer``) of the questions of train and val together,
    each that at least 9 questions have. It gives 3,129 answers, one of which is empty: what is left of "a" and "the".
    The most frequent comes first; equally frequent ones are in alphabetical order.

    Raises:
        InputError: no answer is frequent enough.
    """
    counts = Counter(map(normalize_answer, answers))
    frequent = [answer for answer, count in counts.items() if count >= min_occurrences]
    if not frequent:
        problem = f"none of {len(counts):,} different answers is that of {min_occurrences:,} or more questions"
        raise InputError("answer vocabulary", problem, "Lower min_occurrences, or give the whole annotations")
    return sorted(frequent, key=lambda answer: (-counts[answer], answer))


def read_answers(path: str | Path) -> list[str]:
    """Read an answer vocabulary, one answer a line.

    Raises:
        InputError: the file is missing, no text, empty, or has the same answer twice.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(str(path), "no such answer vocabulary", "Check dataset_config.vqa2.answers")
    try:
        answers = path.read_text(encoding="utf-8-sig").splitlines()
    except ValueError as error:
        raise InputError(str(path), f"is no text in UTF-8 ({error})", "Give an answer a line") from error
    if not answers:
        raise InputError(str(path), "has no answers", "Give an answer a line")
    for number, answer in enumerate(answers, 1):
        if problem := text_problem(answer):
            raise InputError(f"{path}, line {number}", problem, "Mend or remove the line")
    answer, count = Counter(answers).most_common(1)[0]
    if count > 1:
        raise InputError(str(path), f"the answer {answer!r} stands there twice", "Remove one of the lines")
    return answers


def question_kind(answer_type: str | None, annotators: Sequence[str] = ()) -> str:
    """The kind under which a question's accuracy is reported: as annotated, else as its most frequent answer says."""
    if answer_type in QUESTION_KINDS:
        return answer_type
    if not annotators:
        return "other"
    most_frequent = Counter(map(normalize_answer, annotators)).most_common(1)[0][0]
    if most_frequent in ("yes", "no"):
        return "yes/no"
    return "number" if re.fullmatch(r"[0-9]+(\.[0-9]+)?", most_frequent) else "other"


def _form_among(annotators: Sequence[str]) -> Callable[[str], str]:
    """How the evaluation compares with these answers: to the letter where ten annotators agree, else normalised."""
    is_literal = len(annotators) == ANNOTATORS and len(set(map(_flatten, annotators))) == 1
    return _flatten if is_literal else normalize_answer


def _flatten(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


def _leave_one_out(count: int, total: int) -> float:
    """The mean score, over ``total`` annotators left out in turn, of an answer that ``count`` of them gave."""
    if total < 4:
        return count / total
    return ((total - count) * min(1.0, count / 3) + count * min(1.0, (count - 1) / 3)) / total


def _strip_punctuation(answer: str) -> str:
    has_number_with_comma = _COMMA_BETWEEN_DIGITS.search(answer) is not None
    replacements = {
        ord(mark): "" if has_number_with_comma or f"{mark} " in answer or f" {mark}" in answer else " "
        for mark in _PUNCTUATION
        if mark in answer
    }
    return _PERIOD_NOT_BEFORE_A_DIGIT.sub("", answer.translate(replacements), count=_MOST_PERIODS)
