"""Scoring, hard rules and candidates against dense NumPy: `python -m tests.bench.matching_scores`.

Either works in a process of its own with one thread, on the same invented pool, and finds the best
of everybody on both sides; that both find the same is asserted. The peer works out whole matrices
in float32 with matrix products and `argpartition`, in bands of rows where a pool is large. Seconds
are of the processor; texts are embedded beforehand. Memory is the peak of the process, with
everything that has been loaded.
"""

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from services.matching import blocks, board, candidates, inputs, measures, text
from services.matching.board import Board
from services.matching.pool import WORKER_ENVIRONMENT
from shared.schemas.matching import POINTS, Problem
from tests.bench import report
from tests.bench.report import Figure

MOST = 64
SIZES = {5_000: 3, 10_000: 1, 20_000: 1}
BAND = 1_000
FASTER = 5.0
MEMORY = {5_000: 400, 10_000: 400, 20_000: 1_536}

type Matrix = npt.NDArray[Any]


def quiet(_phase: str, _done: int, _total: int) -> None:
    """Take no note of progress; what other tests share would load a web framework."""


def pool(size: int) -> Problem:
    """Return as many mentors as mentees, with what a policy usually looks at."""
    chance = random.Random(1)  # noqa: S311 - no secret, only variety
    people = range(2 * size)
    words = [f"word{place}" for place in range(400)]
    skills = [f"skill {place}" for place in range(200)]
    rarer = [1 / (1 + place) for place in range(200)]

    def several(kind: str, count: int, few: int) -> list[list[str]]:
        known = [f"{kind} {place}" for place in range(count)]
        return [chance.sample(known, few) for _ in people]

    def some_skills() -> list[list[str]]:
        return [sorted(set(chance.choices(skills, rarer, k=6))) for _ in people]

    def sentences() -> list[str]:
        return [" ".join(chance.choices(words, k=12)) for _ in people]

    def numbers(low: int, high: int) -> list[int]:
        return [chance.randint(low, high) for _ in people]

    weights = {"offers_wants": 40, "path_fit": 30, "shared_values": 10, "shared_interests": 5}
    weights |= {"style_fit": 10, "level_distance": 10}
    values = {
        "format": "one_to_one",
        "policy": {
            "soft": [{"rule": word, "weight": weight} for word, weight in weights.items()],
            "hard": [
                {"rule": "shared_language"},
                {"rule": "seniority", "params": {"relation": "mentor_higher"}},
                {"rule": "attribute_different", "params": {"attribute": "department"}},
            ],
        },
        "participants": {
            "id": [f"p{place}" for place in people],
            "skills_offered": some_skills(),
            "skills_wanted": some_skills(),
            "values": several("value", 20, 3),
            "interests": several("interest", 40, 4),
            "languages": several("language", 6, 2),
            "department": [f"department {one}" for one in numbers(0, 30)],
            "grade_rank": numbers(1, 9),
            "path_now": sentences(),
            "path_target": sentences(),
            **{
                f"{side}_{kind}": numbers(1, 5)
                for side in ("wants", "offers")
                for kind in ("encouragement", "challenge")
            },
        },
        "places": {
            "participant": list(people),
            "role": ["mentor"] * size + ["mentee"] * size,
            "capacity": [1] * (2 * size),
        },
    }
    return inputs.canonical(Problem.model_validate(values))


def ours(ready: Board) -> int:
    """Return the sum of the scores of everybody's best, as the service finds them."""
    nobody = np.zeros(0, dtype=np.int64)
    made = candidates.find(ready.blocks(), MOST, (nobody, nobody, nobody), step=quiet)
    return int(made.scores.sum())


class Dense:
    """The same problem in matrices of features, as one would write it with NumPy alone."""

    def __init__(self, ready: Board) -> None:
        """Lay every feature out as a matrix."""
        self.height, self.width = ready.shape
        rows = ready.first.rows, ready.second.rows
        people = ready.problem.participants
        self.weights = [rule.weight for rule in ready.problem.policy.soft]
        self.skills = _incidence(people.skills_offered, people.skills_wanted, rows)
        wanted = people.skills_offered, people.skills_wanted
        counts = sum(
            _incidence(one, one, (range(2 * self.height), ()))[0].sum(axis=0) for one in wanted
        )
        self.rarity = np.log1p(2 * self.height / counts)
        self.texts = [
            text.vectors([(column or [])[row] or "" for row in side]).astype(np.float32)
            for column, side in ((people.path_now, rows[0]), (people.path_target, rows[1]))
        ]
        self.sets = [_incidence(one, one, rows) for one in (people.values, people.interests)]
        self.languages = _incidence(people.languages, people.languages, rows)
        kinds = ("encouragement", "challenge")
        self.style = [
            (
                np.array(getattr(people, f"offers_{kind}"), dtype=np.float32)[rows[0]],
                np.array(getattr(people, f"wants_{kind}"), dtype=np.float32)[rows[1]],
            )
            for kind in kinds
        ]
        grades = np.array(people.grade_rank, dtype=np.float32)
        self.grades = grades[rows[0]], grades[rows[1]]
        _, names = np.unique(np.array(people.department), return_inverse=True)
        self.departments = names[rows[0]], names[rows[1]]

    def scores(self, band: slice) -> Matrix:
        """Return the scores of some rows with everybody, -1 where a rule forbids."""
        total = np.zeros((band.stop - band.start, self.width), dtype=np.float32)
        for weight, values in zip(self.weights, self._values(band), strict=True):
            total += np.rint(np.rint(values * POINTS) * weight / sum(self.weights))
        gaps = np.subtract.outer(self.grades[0][band], self.grades[1])
        apart = (gaps < 1) | (self.languages[0][band] @ self.languages[1].T < 1)
        apart |= np.equal.outer(self.departments[0][band], self.departments[1])
        total[apart] = -1
        return total

    def _values(self, band: slice) -> list[Matrix]:
        offered, wanted = self.skills
        needed = (wanted * self.rarity).astype(np.float32)
        texts = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in self.texts]
        styles = [1 - np.abs(np.subtract.outer(one[band], other)) / 4 for one, other in self.style]
        gaps = np.abs(np.subtract.outer(self.grades[0][band], self.grades[1]))
        return [
            (offered[band] @ needed.T) / needed.sum(axis=1),
            np.clip(texts[0][band] @ texts[1].T, 0, 1),
            *(
                one[band] @ other.T / np.minimum.outer(one[band].sum(axis=1), other.sum(axis=1))
                for one, other in self.sets
            ),
            (styles[0] + styles[1]) / 2,
            1 / (1 + np.abs(gaps - 2)),
        ]


def _incidence(left: Any, right: Any, rows: Any) -> tuple[Matrix, Matrix]:
    """Return who has which word, as matrices of either side."""
    words = {
        word: place
        for place, word in enumerate(sorted({w for one in [*left, *right] for w in one}))
    }
    found = []
    for column, side in ((left, rows[0]), (right, rows[1])):
        matrix = np.zeros((len(side), len(words)), dtype=np.float32)
        for place, row in enumerate(side):
            matrix[place, [words[word] for word in column[row]]] = 1
        found.append(matrix)
    return found[0], found[1]


def dense(made: Dense) -> int:
    """Return the sum of the scores of everybody's best, found in whole matrices."""
    band = made.height if made.height * made.width <= BAND * 25_000 else BAND
    pairs, best = [], np.zeros((0, made.width), dtype=np.float32)
    who = np.zeros((0, made.width), dtype=np.int64)
    for start in range(0, made.height, band):
        scores = made.scores(slice(start, start + band))
        across = np.argpartition(-scores, MOST, axis=1)[:, :MOST]
        rows = np.repeat(np.arange(len(scores)), MOST)
        pairs.append(
            _packed(rows + start, across.ravel(), scores[rows, across.ravel()], made.width)
        )
        down = np.argpartition(-scores, MOST, axis=0)[:MOST]
        best = np.concatenate([best, np.take_along_axis(scores, down, axis=0)])
        who = np.concatenate([who, down + start])
        kept = np.argpartition(-best, min(MOST, len(best) - 1), axis=0)[:MOST]
        best, who = np.take_along_axis(best, kept, axis=0), np.take_along_axis(who, kept, axis=0)
    columns = np.broadcast_to(np.arange(made.width), who.shape)
    pairs.append(_packed(who.ravel(), columns.ravel(), best.ravel(), made.width))
    packed = np.unique(np.concatenate(pairs))
    return int((packed & 0xFFFF).sum())


def _packed(rows: Matrix, columns: Matrix, scores: Matrix, width: int) -> Matrix:
    allowed = scores >= 0
    found: Matrix = (rows * width + columns)[allowed] << 16 | scores[allowed].astype(np.int64)
    return found


def child(who: str, size: int) -> None:
    """Work as one of the two, and print what it took."""
    ready = board.set_up(pool(size), step=quiet)
    if who == "ours":
        for module in (measures, blocks, candidates):
            module.warm()
        ours(board.set_up(pool(50), step=quiet))
    made = Dense(ready) if who == "peer" else None
    spent = []
    for _ in range(SIZES[size]):
        before = time.process_time()
        total = ours(ready) if made is None else dense(made)
        spent.append(time.process_time() - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"seconds": statistics.median(spent), "megabytes": peak, "total": total}
    print(json.dumps(found))  # noqa: T201 - for the process that asked


def measured(who: str, size: int) -> dict[str, float]:
    """Return what one of the two took, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.matching_scores", who, str(size)]
    environment = {**os.environ, **WORKER_ENVIRONMENT}
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own words
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def rows_of(size: int) -> list[Figure]:
    """Compare the two on pools of one size."""
    own, peer = measured("ours", size), measured("peer", size)
    # Rounding in float32 moves a few scores by a hundredth of a point.
    if abs(own["total"] - peer["total"]) > 1e-4 * own["total"]:
        raise ArithmeticError(f"found {own['total']} and {peer['total']}")
    faster = peer["seconds"] / own["seconds"]
    return [
        Figure(
            work=f"score, rules and best {MOST}, {size:,} x {size:,}: seconds",
            ours=round(own["seconds"], 2),
            peer=round(peer["seconds"], 2),
            ratio=round(faster, 1),
            bar=f">= {FASTER:g}x",
            met=faster >= FASTER,
        ),
        Figure(
            work="the same: peak megabytes",
            ours=round(own["megabytes"]),
            peer=round(peer["megabytes"]),
            ratio=round(peer["megabytes"] / own["megabytes"], 1),
            bar=f"<= {MEMORY[size]}",
            met=own["megabytes"] <= MEMORY[size],
        ),
    ]


def rows() -> Iterator[Figure]:
    """Compare the two on pools of all sizes."""
    for size in SIZES:
        yield from rows_of(size)


def main(*, as_json: bool) -> int:
    """Run the bench; the exit code says whether every bar was met."""
    told = report.tell(rows(), as_json=as_json, best=MOST, threads=1)
    return 0 if report.all_met(told) else 1


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(sys.argv[1], int(sys.argv[2]))
    else:
        sys.exit(main(as_json="--json" in sys.argv[1:]))
