"""How evenly scores fall."""

from collections.abc import Sequence

from shared.schemas.matching import Fairness


def of(scores: Sequence[int]) -> Fairness:
    """Return the figures of scores in hundredths of a point."""
    ranked = sorted(scores)
    if not ranked:
        return Fairness(minimum=None, fifth_percentile=None, gini=None)
    return Fairness(
        minimum=ranked[0] / 100,
        fifth_percentile=ranked[(len(ranked) - 1) // 20] / 100,
        gini=round(gini(ranked), 6),
    )


def gini(ranked: Sequence[int]) -> float:
    """Return how unevenly scores that rise fall, from 0 (all alike) towards 1."""
    count, total = len(ranked), sum(ranked)
    if not total:
        return 0.0
    weighed = sum((place + 1) * score for place, score in enumerate(ranked))
    return 2 * weighed / (count * total) - (count + 1) / count
