"""What an organization is, and the limits of its settings."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from shared.errors import Violation


class Kind(StrEnum):
    """Whether people's real programs live here, or rehearsals with a movable clock."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"


class EmailCodes(StrEnum):
    """Whether people may sign in with a code by mail where they have a provider of their own."""

    AUTOMATIC = "automatic"
    ON = "on"


def grade_rank(grade: str | None, order: Sequence[str]) -> int | None:
    """Return how high a grade stands, lowest 0; an unlisted grade has no rank."""
    return order.index(grade) if grade in order else None


def words_of(skill: Mapping[str, Any], *, locale: str) -> list[str]:
    """Return every word for a skill, each once whatever its case, the label in a locale first."""
    labels: Mapping[str, str] = skill["label"]
    preferred = labels.get(locale) or labels[min(labels)]
    others = [labels[name] for name in sorted(labels)]
    # A key is written as people would not write it.
    words = [preferred, *others, skill["key"], skill["key"].replace("_", " "), *skill["synonyms"]]
    found: dict[str, str] = {}
    for word in words:
        found.setdefault(word.casefold(), word)
    return list(found.values())


def words_of_two(skills: Sequence[Mapping[str, Any]]) -> Iterator[Violation]:
    """Return which skills share a word with one before, so that it would mean both."""
    known: set[str] = set()
    for place, skill in enumerate(skills):
        words = {word.casefold() for word in words_of(skill, locale="")}
        if repeated := sorted(words & known):
            detail = f"Another skill is called so already: {repeated[0]}."
            yield Violation(f"#/skills/{place}", "not_unique", detail)
        known |= words


def synonyms(skills: Sequence[Mapping[str, Any]], *, locale: str) -> list[list[str]]:
    """Return the words of each skill that has several, the preferred one first."""
    groups = [words_of(skill, locale=locale) for skill in skills]
    return [group for group in groups if len(group) > 1]
