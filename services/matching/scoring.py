"""Soft criteria: how well two people fit, from 0 to 1, and the reason, each one small function."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from services.matching import constraints
from shared.schemas.matching import Mark, Problem

type Rows = Sequence[int]
type Params = Mapping[str, Any]
type Values = npt.NDArray[np.float64]

TEXT_MODEL = "character-ngrams-1"
NGRAMS = (3, 4)
LEVELS = 4
FORWARD = {Mark.FAVORITE: 1.0, Mark.YES: 1.0, Mark.MAYBE: 0.5}


@dataclass(frozen=True, slots=True)
class Criterion:
    """A word of a policy: its value for every pair, and what its explanation says about one."""

    values: Callable[[Problem, Rows, Rows, Params], Values]
    facts: Callable[[Problem, int, int, Params], Mapping[str, Any]]


# Choices.


def _shared_language(problem: Problem, first: Rows, second: Rows, _params: Params) -> Values:
    return np.minimum(1.0, _shared(problem, first, second, "languages"))


def _shared(problem: Problem, first: Rows, second: Rows, name: str) -> Values:
    people = problem.participants
    left = constraints.chosen(people, name, first)
    right = constraints.chosen(people, name, second)
    return constraints.overlap(left, right).astype(float)


def _overlap(problem: Problem, first: Rows, second: Rows, params: Params) -> Values:
    """Return which part of the shorter list the other shares."""
    people, name = problem.participants, params["attribute"]
    left = constraints.chosen(people, name, first)
    right = constraints.chosen(people, name, second)
    shorter = np.minimum.outer([len(one) for one in left], [len(one) for one in right])
    return constraints.overlap(left, right) / np.maximum(1, shorter)


def _named(name: str) -> Callable[[Problem, Rows, Rows, Params], Values]:
    def values(problem: Problem, first: Rows, second: Rows, _params: Params) -> Values:
        return _overlap(problem, first, second, {"attribute": name})

    return values


def _named_facts(name: str) -> Callable[[Problem, int, int, Params], Mapping[str, Any]]:
    def facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
        return _choice_facts(problem, first, second, {"attribute": name})

    return facts


def _choice_facts(problem: Problem, first: int, second: int, params: Params) -> Mapping[str, Any]:
    name = params["attribute"]
    left, right = constraints.chosen(problem.participants, name, [first, second])
    shared = [str(word) for word in constraints.sorted_words([left & right])]
    return {"attribute": name, "shared": shared}


def _equal(problem: Problem, first: Rows, second: Rows, params: Params) -> Values:
    known, same = _known_and_same(problem, first, second, params["attribute"])
    return (known & same).astype(float)


def _different(problem: Problem, first: Rows, second: Rows, params: Params) -> Values:
    known, same = _known_and_same(problem, first, second, params["attribute"])
    return (known & ~same).astype(float)


def _known_and_same(
    problem: Problem, first: Rows, second: Rows, name: str
) -> tuple[constraints.Apart, constraints.Apart]:
    left = constraints.chosen(problem.participants, name, first)
    right = constraints.chosen(problem.participants, name, second)
    known = np.logical_and.outer([bool(one) for one in left], [bool(one) for one in right])
    return known, constraints.same_choices(left, right)


def _attribute_facts(
    _problem: Problem, _first: int, _second: int, params: Params
) -> Mapping[str, Any]:
    return {"attribute": params["attribute"]}


# Skills: what one offers of what the other wants, rare skills counting more.


def _offers_wants(problem: Problem, first: Rows, second: Rows, _params: Params) -> Values:
    rarity = _rarity(problem)
    offered = _skills(problem, "skills_offered", first)
    wanted = _skills(problem, "skills_wanted", second)
    words = {word: place for place, word in enumerate(sorted(rarity))}
    left = np.zeros((len(first), max(1, len(words))))
    right = np.zeros((len(second), max(1, len(words))))
    for matrix, several in ((left, offered), (right, wanted)):
        for row, one in enumerate(several):
            matrix[row, [words[word] for word in one]] = 1
    for word, place in words.items():
        right[:, place] *= rarity[word]
    return (left @ right.T) / np.maximum(right.sum(axis=1), 1e-12)[None, :]


def _rarity(problem: Problem) -> Mapping[str, float]:
    """Return how rare each skill is among everybody, as inverse document frequency."""
    everybody = range(len(problem.participants.id))
    counts: Counter[str] = Counter()
    for name in ("skills_offered", "skills_wanted"):
        for one in _skills(problem, name, everybody):
            counts.update(one)
    return {word: float(np.log1p(len(everybody) / count)) for word, count in counts.items()}


def _skills(problem: Problem, name: str, rows: Rows) -> list[frozenset[str]]:
    preferred = {
        word.casefold(): group[0].casefold() for group in problem.policy.synonyms for word in group
    }
    several = constraints.chosen(problem.participants, name, rows)
    return [frozenset(preferred.get(word, word) for word in one) for one in several]


def _skill_facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
    offered = _skills(problem, "skills_offered", [first])[0]
    wanted = _skills(problem, "skills_wanted", [second])[0]
    return {"covered": sorted(offered & wanted), "missing": sorted(wanted - offered)}


# Texts: where one wants to go, against where the other stands.


def _path_fit(problem: Problem, first: Rows, second: Rows, _params: Params) -> Values:
    now = problem.participants.path_now or []
    target = problem.participants.path_target or []
    texts = [now[row] or "" if now else "" for row in first]
    goals = [target[row] or "" if target else "" for row in second]
    counts = _ngrams([*texts, *goals])
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    weighted = counts @ sparse.diags(np.log1p(counts.shape[0] / np.maximum(1, frequency)))
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    normal = sparse.diags(1 / np.where(lengths == 0, 1, lengths)) @ weighted
    likeness = (normal[: len(texts)] @ normal[len(texts) :].T).toarray()
    bounded: Values = np.clip(likeness, 0.0, 1.0)
    return bounded


def _ngrams(texts: Sequence[str]) -> Any:
    """Return how often each text holds each run of letters, dampened, as a sparse matrix."""
    places: dict[str, int] = {}
    rows, columns, counts = [], [], []
    for row, text in enumerate(texts):
        words = f" {' '.join(text.casefold().split())} " if text.strip() else ""
        found = Counter(
            words[start : start + size] for size in NGRAMS for start in range(len(words) - size + 1)
        )
        for gram, count in found.items():
            rows.append(row)
            columns.append(places.setdefault(gram, len(places)))
            counts.append(1 + np.log(count))
    return sparse.csr_matrix((counts, (rows, columns)), shape=(len(texts), max(1, len(places))))


def _no_facts(_problem: Problem, _first: int, _second: int, _params: Params) -> Mapping[str, Any]:
    return {}


# Style, levels, time.


def _style_fit(problem: Problem, first: Rows, second: Rows, _params: Params) -> Values:
    fits = [_level_fit(problem, first, second, kind) for kind in ("encouragement", "challenge")]
    return (fits[0] + fits[1]) / 2


def _level_fit(problem: Problem, first: Rows, second: Rows, kind: str) -> Values:
    offers = _numbers(getattr(problem.participants, f"offers_{kind}"), first)
    wants = _numbers(getattr(problem.participants, f"wants_{kind}"), second)
    distance = np.abs(np.subtract.outer(offers, wants))
    return np.nan_to_num(1 - distance / LEVELS, nan=0.0)


def _numbers(values: Sequence[Any] | None, rows: Rows) -> Values:
    return np.array(
        [np.nan if not values or values[row] is None else values[row] for row in rows], dtype=float
    )


def _style_facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
    people = problem.participants
    found = {}
    for kind in ("encouragement", "challenge"):
        offers, wants = getattr(people, f"offers_{kind}"), getattr(people, f"wants_{kind}")
        found[kind] = {
            "offers": offers[first] if offers else None,
            "wants": wants[second] if wants else None,
        }
    return found


def _level_distance(problem: Problem, first: Rows, second: Rows, params: Params) -> Values:
    gaps = np.abs(constraints.grade_gaps(problem, first, second))
    away = np.abs(gaps - params.get("ideal", 2))
    near: Values = np.nan_to_num(1 / (1 + away), nan=0.0)
    return near


def _level_facts(problem: Problem, first: int, second: int, params: Params) -> Mapping[str, Any]:
    gap = constraints.grade_gaps(problem, [first], [second])[0, 0]
    return {"gap": None if np.isnan(gap) else int(abs(gap)), "ideal": params.get("ideal", 2)}


def _timezone_overlap(problem: Problem, first: Rows, second: Rows, params: Params) -> Values:
    minutes = constraints.shared_minutes(problem, first, second)
    wanted = 60 * max(1, params.get("hours", 4))
    part: Values = np.clip(minutes / wanted, 0.0, 1.0)
    return part


def _time_facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
    minutes = int(constraints.shared_minutes(problem, [first], [second])[0, 0])
    return {"shared_minutes": max(0, minutes)}


def _availability(problem: Problem, first: Rows, second: Rows, params: Params) -> Values:
    left = constraints.free_slots(problem, first)
    right = constraints.free_slots(problem, second)
    wanted = max(1, params.get("half_hours", 4))
    part: Values = np.clip(constraints.overlap(left, right) / wanted, 0.0, 1.0).astype(float)
    return part


def _slot_facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
    left, right = constraints.free_slots(problem, [first, second])
    return {"shared": len(left & right)}


# What people said about each other.


def _shortlisted(problem: Problem, first: Rows, second: Rows, _params: Params) -> Values:
    wish = wishes(problem, first, second)
    wished = wishes(problem, second, first).T
    return 0.7 * np.maximum(wish, wished) + 0.3 * np.minimum(wish, wished)


def wishes(problem: Problem, by: Rows, about: Rows) -> Values:
    """Return how much each wishes to be with each, from 0 to 1; a lower rank counts less."""
    said, ids = problem.preferences, problem.participants.id
    left = {ids[row]: place for place, row in enumerate(by)}
    right = {ids[row]: place for place, row in enumerate(about)}
    found = np.zeros((len(by), len(about)))
    ranks = said.rank or [None] * len(said.by)
    for one, other, mark, rank in zip(said.by, said.about, said.mark, ranks, strict=True):
        if one in left and other in right:
            wish = FORWARD.get(mark, 0.0) * max(0.5, 1.1 - 0.1 * (rank or 1))
            found[left[one], right[other]] = max(wish, found[left[one], right[other]])
    return found


def _wish_facts(problem: Problem, first: int, second: int, _params: Params) -> Mapping[str, Any]:
    wish = wishes(problem, [first], [second])[0, 0] > 0
    wished = wishes(problem, [second], [first])[0, 0] > 0
    # Who marked whom is never told, only that somebody or both did.
    return {"sides": int(wish) + int(wished)}


def _named_criterion(name: str) -> Criterion:
    return Criterion(_named(name), _named_facts(name))


CRITERIA: Mapping[str, Criterion] = MappingProxyType(
    {
        "shared_language": Criterion(_shared_language, _named_facts("languages")),
        "timezone_overlap": Criterion(_timezone_overlap, _time_facts),
        "availability_overlap": Criterion(_availability, _slot_facts),
        "attribute_equal": Criterion(_equal, _attribute_facts),
        "attribute_different": Criterion(_different, _attribute_facts),
        "choice_overlap": Criterion(_overlap, _choice_facts),
        "offers_wants": Criterion(_offers_wants, _skill_facts),
        "path_fit": Criterion(_path_fit, _no_facts),
        "style_fit": Criterion(_style_fit, _style_facts),
        "shortlisted": Criterion(_shortlisted, _wish_facts),
        "shared_values": _named_criterion("values"),
        "shared_interests": _named_criterion("interests"),
        "expectation_fit": _named_criterion("expectations"),
        "level_distance": Criterion(_level_distance, _level_facts),
    }
)
"""Every soft criterion by its word in a policy; what each takes stands in the contract."""
