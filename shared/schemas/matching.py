"""What api asks of matching, and what matching answers: a whole problem in, explained pairs out.

Problems are columnar: arrays per field, one entry per row, so that 20,000 people parse at once.
People appear under opaque ids; names, addresses and notes never cross this wire. Readers ignore
fields they do not know (`Wire`), so the contract grows without breaking anybody.

`POST /v1/solutions` answers `application/x-ndjson`: `ProgressLine`s at least every two seconds,
then one `SolutionLine` or one `FailureLine`. `POST /v1/circles`, `/v1/schedules` and `/v1/draws`
answer the same way, each with a last line of its own; what they are asked is a problem with a few
more fields. What is wrong with a problem is answered with
status 400 and JSON pointers where it is known before the first line, else in a `FailureLine` that
carries the same status, code and errors. Work above the limit is refused with 429 or 503.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StringConstraints

from shared.errors import Violation
from shared.schemas.base import Json, Whole, Wire

MAX_PARTICIPANTS = 50_000
MAX_PAIRS = 500_000
MAX_TOKEN = 200
MAX_VALUES = 100
MAX_TEXTS = 1000
POINTS = 10_000
"""A perfect pair in the integers that are solved; a score of 100 in answers."""

type OpaqueId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
type Token = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TOKEN)]
type Tokens = Annotated[list[Token], Field(max_length=400)]
type Path = Annotated[str, StringConstraints(max_length=1000)]
type Vector = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
type Column[Value] = Annotated[list[Value], Field(max_length=MAX_PARTICIPANTS)]
type PairColumn[Value] = Annotated[list[Value], Field(max_length=MAX_PAIRS)]
type Level = Annotated[int, Field(ge=1, le=5)]
type Attribute = StrictBool | int | float | Token | Tokens | None
type Seed = Annotated[int, Whole(0, 2_147_483_647, 1)]


class Format(StrEnum):
    """The form of mentorship that is matched; the words of a track."""

    ONE_TO_ONE = "one_to_one"
    PEER = "peer"
    REVERSE = "reverse"
    GROUP = "group"
    CIRCLE = "circle"
    FLASH = "flash"
    OFFICE_HOURS = "office_hours"
    SPONSORSHIP = "sponsorship"


class Role(StrEnum):
    """What somebody is in a track; the words of a track."""

    MENTOR = "mentor"
    MENTEE = "mentee"
    PEER = "peer"
    FACILITATOR = "facilitator"
    SPONSOR = "sponsor"
    PROTEGE = "protege"


class Objective(StrEnum):
    """What a solution is best at.

    `most_matched`: as many pairs as possible, then as many of them as possible at or above the
    policy's `floor`, then the highest total. `best_total`: the highest total. `fair_floor`: as
    many pairs as possible, then the best worst pair of those that are not locked, then the highest
    total. `stable`: no two people would both rather have each other.
    """

    MOST_MATCHED = "most_matched"
    BEST_TOTAL = "best_total"
    FAIR_FLOOR = "fair_floor"
    STABLE = "stable"


class Seniority(StrEnum):
    """How the grade of the mentor side relates to that of the mentee side."""

    NONE = "none"
    MENTOR_HIGHER = "mentor_higher"
    MENTOR_LOWER = "mentor_lower"


class Mark(StrEnum):
    """What somebody said about somebody else; `ignore` and `no` keep the two apart."""

    FAVORITE = "favorite"
    YES = "yes"
    MAYBE = "maybe"
    NO = "no"
    IGNORE = "ignore"


# The words of a policy.


@dataclass(frozen=True, slots=True)
class Param:
    """What a rule can be told: a number up to `maximum`, a text, one of `words` if any, or texts.

    Of texts there are at most `maximum`, and at least one.
    """

    kind: type[int | float | str | list[str]]
    description: str
    maximum: int = 0
    words: tuple[str, ...] = ()

    def fault_of(self, value: object) -> str | None:
        """Return the code of what is wrong with a value."""
        expected = (int, float) if self.kind is float else self.kind
        if isinstance(value, bool) or not isinstance(value, expected):
            return "wrong_type"
        if isinstance(value, str):
            return self._fault_of_text(value)
        if isinstance(value, list):
            return self._fault_of_list(value)
        return None if 0 <= value <= self.maximum else "out_of_range"

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of its values."""
        described = {"description": self.description}
        text = {"type": "string", "minLength": 1, "maxLength": MAX_TOKEN}
        if self.words:
            return described | {"type": "string", "enum": list(self.words)}
        if self.kind is str:
            return described | text | {"examples": ["department"]}
        if self.kind is list:
            bounds = {"minItems": 1, "maxItems": self.maximum, "examples": [["Legal", "Finance"]]}
            return described | {"type": "array", "items": text} | bounds
        kind = {"type": "integer", "format": "int32"}
        if self.kind is float:
            kind = {"type": "number", "format": "double"}
        return described | kind | {"minimum": 0, "maximum": self.maximum, "examples": [2]}

    def _fault_of_text(self, value: str) -> str | None:
        if self.words:
            return None if value in self.words else "not_allowed"
        if not value:
            return "too_short"
        return "too_long" if len(value) > MAX_TOKEN else None

    def _fault_of_list(self, values: list[object]) -> str | None:
        if not 0 < len(values) <= self.maximum:
            return "too_long" if values else "too_short"
        faults = (
            self._fault_of_text(one) if isinstance(one, str) else "wrong_type" for one in values
        )
        return next(filter(None, faults), None)


PARAMS: Mapping[str, Param] = MappingProxyType(
    {
        "levels": Param(int, "How far up and down the reporting line; all of it if left out.", 64),
        "attribute": Param(str, "The column that is compared; required where a rule takes it."),
        "values": Param(
            list,
            "What the column may say, case aside: one of these; required where a rule takes it.",
            MAX_VALUES,
        ),
        "side": Param(
            str,
            "Whose column is judged; that of both if left out.",
            words=("mentor", "mentee", "both"),
        ),
        "minimum": Param(int, "Fewest choices to share; 1 if left out.", 400),
        "hours": Param(float, "Working hours to share.", 24),
        "half_hours": Param(int, "Free half hours to share.", 336),
        "relation": Param(
            str, "Whose grade is higher.", words=tuple(one.value for one in Seniority)
        ),
        "gap_min": Param(int, "Fewest grades apart.", 50),
        "gap_max": Param(int, "Most grades apart.", 50),
        "ideal": Param(int, "Grades apart that are best; 2 if left out.", 50),
        "months": Param(
            int, "Months with the organization that are far apart; 36 if left out.", 1200
        ),
        "longer": Param(
            str,
            "Which side should have been there longer; `mentor` if left out. `neither` seeks "
            "those who have been there equally long.",
            words=("mentor", "mentee", "neither"),
        ),
        "unknown": Param(
            str,
            "Whether a pair passes or fails where something is unknown; it passes if left out.",
            words=("passes", "fails"),
        ),
    }
)
"""Every parameter of every rule: a name means the same wherever it is taken."""

HARD_RULES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "not_oneself": (),
        "not_blocked": (),
        "not_ignored": (),
        "not_past_pair": (),
        "reporting_line_distance": ("levels",),
        "shared_language": ("minimum", "unknown"),
        "timezone_overlap": ("hours", "unknown"),
        "availability_overlap": ("half_hours", "unknown"),
        "seniority": ("relation", "gap_min", "gap_max", "unknown"),
        "attribute_equal": ("attribute", "unknown"),
        "attribute_different": ("attribute", "unknown"),
        "attribute_in": ("attribute", "values", "side", "unknown"),
        "choice_overlap": ("attribute", "minimum", "unknown"),
    }
)
"""Every hard rule and what it takes."""

SOFT_RULES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "shared_language": (),
        "timezone_overlap": ("hours",),
        "availability_overlap": ("half_hours",),
        "attribute_equal": ("attribute",),
        "attribute_different": ("attribute",),
        "choice_overlap": ("attribute",),
        "offers_wants": (),
        "path_fit": (),
        "style_fit": (),
        "shortlisted": (),
        "shared_values": (),
        "shared_interests": (),
        "expectation_fit": (),
        "level_distance": ("ideal",),
        "tenure": ("months", "longer"),
        "location": (),
    }
)
"""Every soft criterion and what it takes."""

REQUIRED = ("attribute", "values")
"""Parameters that must be said wherever they are taken."""


def fault_of_param(name: str, value: object) -> str | None:
    """Return the code of what is wrong with a parameter, whichever rule takes it."""
    return PARAMS[name].fault_of(value) if name in PARAMS else "unknown_parameter"


def faults_of_rule(
    pointer: str, word: str, params: Mapping[str, Any], known: Mapping[str, tuple[str, ...]]
) -> Iterator[Violation]:
    """Return what is wrong with one rule of a policy."""
    if word not in known:
        yield Violation(f"{pointer}/rule", "unknown_rule", f"Known rules: {_listed(known)}.")
        return
    taken = known[word]
    detail = f"{word} takes: {_listed(taken) or 'nothing'}."
    for name, value in params.items():
        code = fault_of_param(name, value) if name in taken else "unknown_parameter"
        if code:
            yield Violation(f"{pointer}/params/{name}", code, detail)
    least, most = params.get("gap_min"), params.get("gap_max")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        said = f"The smallest gap, {least}, exceeds the largest, {most}."
        yield Violation(f"{pointer}/params/gap_min", "minimum_above_maximum", said)
    for name in REQUIRED:
        if name in taken and name not in params:
            yield Violation(f"{pointer}/params/{name}", "missing", f"This rule needs {name}.")


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


# The policy, exactly as api stores it.


class HardRule(Wire):
    """What no match may break."""

    rule: Token
    params: dict[Token, Json] = Field(default_factory=dict, max_length=20)


class SoftRule(Wire):
    """What makes a match better: a value from 0 to 1, times its weight."""

    rule: Token
    weight: Annotated[int, Whole(0, 100, 30)]
    params: dict[Token, Json] = Field(default_factory=dict, max_length=20)


class Limits(Wire):
    """How much work a solution may take."""

    max_candidates: Annotated[int, Whole(1, 10_000, 64)] | None = None
    time_s: Annotated[int, Whole(1, 3600, 60)] | None = None


class PolicyTest(Wire):
    """One expectation of a coordinator about two people."""

    name: Token
    people: Annotated[list[OpaqueId], Field(min_length=2, max_length=2)]
    expect: dict[Token, Json] = Field(
        max_length=5,
        description=(
            "`allowed` true or false, `score_at_least` or `score_at_most` 0-100, or `matched` "
            "true or false."
        ),
    )


class Policy(Wire):
    """How a pool is weighed, and what is forbidden."""

    hard: Annotated[list[HardRule], Field(max_length=50)] = Field(default_factory=list)
    soft: Annotated[list[SoftRule], Field(max_length=50)] = Field(default_factory=list)
    objective: Objective = Objective.MOST_MATCHED
    seed: Seed = 1
    floor: Annotated[int, Whole(0, 100, 40)] = 0
    stay_bonus: Annotated[int, Whole(0, 100, 5)] = 0
    limits: Limits = Field(default_factory=Limits)
    text_model: Token | None = Field(
        None,
        description="The name of a model, or what is to be compared: `words`, the usual, or "
        "`letters`.",
    )
    synonyms: Annotated[list[Tokens], Field(max_length=5000)] = Field(
        default_factory=list, description="Skills that mean the same, the preferred word first."
    )
    tests: Annotated[list[PolicyTest], Field(max_length=100)] = Field(default_factory=list)


# The problem.


class Track(Wire):
    """What the format and its track demand of every match."""

    seniority: Seniority = Seniority.NONE
    grade_gap_min: Annotated[int, Whole(0, 50, 1)] | None = None
    grade_gap_max: Annotated[int, Whole(0, 50, 3)] | None = None
    min_members: Annotated[int, Whole(0, 100, 2)] | None = None
    max_members: Annotated[int, Whole(0, 100, 8)] | None = None


class Participants(Wire):
    """One row per participant: their id and what is known of them; a column may be absent."""

    id: Column[OpaqueId]
    reporting_line: Column[Annotated[list[OpaqueId], Field(max_length=64)]] | None = Field(
        None, description="Who is above: the manager first, then theirs, up to the top."
    )
    skills_offered: Column[Tokens] | None = None
    skills_wanted: Column[Tokens] | None = None
    languages: Column[Tokens] | None = None
    utc_offset_minutes: Column[Annotated[int, Field(ge=-840, le=840)] | None] | None = Field(
        None, description="Of their time zone, on the day the problem was frozen."
    )
    work_starts_minute: Column[Annotated[int, Field(ge=0, le=1440)] | None] | None = Field(
        None, description="Local time; 540 (nine o'clock) where absent."
    )
    work_ends_minute: Column[Annotated[int, Field(ge=0, le=1440)] | None] | None = Field(
        None, description="Local time; 1020 (five o'clock) where absent."
    )
    availability: (
        Column[Annotated[list[Annotated[int, Field(ge=0, lt=336)]], Field(max_length=336)]] | None
    ) = Field(None, description="Free half hours of a week in UTC, from Monday 00:00 on.")
    grade_rank: Column[int | None] | None = None
    department: Column[Token | None] | None = None
    team: Column[Token | None] | None = None
    location: Column[Token | None] | None = None
    tenure_months: Column[Annotated[int, Field(ge=0, le=1200)] | None] | None = None
    values: Column[Tokens] | None = None
    interests: Column[Tokens] | None = None
    expectations: Column[Tokens] | None = None
    path_now: Column[Path | None] | None = None
    path_target: Column[Path | None] | None = None
    vector_model: Token | None = Field(
        None,
        description=(
            "The text model that `POST /v1/embeddings` made the vectors below with. Where another "
            "one is used they are ignored, and texts are embedded."
        ),
    )
    path_now_vector: Column[Vector | None] | None = Field(
        None, description="Of `path_now`, which goes along; where absent the text is embedded."
    )
    path_target_vector: Column[Vector | None] | None = Field(
        None, description="Of `path_target`, likewise."
    )
    wants_encouragement: Column[Level | None] | None = None
    wants_challenge: Column[Level | None] | None = None
    offers_encouragement: Column[Level | None] | None = None
    offers_challenge: Column[Level | None] | None = None
    attributes: dict[Token, Column[Attribute]] = Field(
        default_factory=dict,
        max_length=100,
        description="Further columns by name; choices of several are lists.",
    )


class Places(Wire):
    """One row per role somebody takes in the track; `participant` is a row of participants."""

    participant: Column[Annotated[int, Field(ge=0)]]
    role: Column[Role]
    capacity: Column[Annotated[int, Field(ge=0, le=1000)]]
    minimum: Column[Annotated[int, Field(ge=0, le=1000)]] | None = Field(
        None, description="Fewest who must come together with this one, or none do."
    )


class Pairs(Wire):
    """Two people per row; where sides matter, `first` is on the mentor side."""

    first: PairColumn[OpaqueId] = Field(default_factory=list)
    second: PairColumn[OpaqueId] = Field(default_factory=list)


class Preferences(Wire):
    """What one person said about another, one row each; `rank` 1 is the first choice."""

    by: PairColumn[OpaqueId] = Field(default_factory=list)
    about: PairColumn[OpaqueId] = Field(default_factory=list)
    mark: PairColumn[Mark] = Field(default_factory=list)
    rank: PairColumn[Annotated[int, Field(ge=1, le=1000)] | None] | None = None


class Problem(Wire):
    """Everything a solution depends on; the same problem has the same solution."""

    format: Format
    policy: Policy
    track: Track = Field(default_factory=Track)
    participants: Participants
    places: Places
    locks: Pairs = Field(default_factory=Pairs, description="Pairs that are decided already.")
    locks_yield: StrictBool = Field(
        False,
        description=(
            "What is locked, as pairs or as circles that have not begun, was decided by people who "
            "knew the policy: its rules do not forbid it. What another rule or too few places "
            "forbid is left out and counted in `warnings`, where it would be refused otherwise."
        ),
    )
    blocks: Pairs = Field(default_factory=Pairs, description="People kept apart, either way.")
    past_pairs: Pairs = Field(default_factory=Pairs, description="Met before, either way.")
    current_pairs: Pairs = Field(
        default_factory=Pairs, description="Matched before this run; `stay_bonus` favors them."
    )
    preferences: Preferences = Field(default_factory=Preferences)
    seed: Seed | None = Field(None, description="Overrides the policy's.")


# The answer.


class Reason(Wire):
    """A text key and what fills it, so that every front end says it in its own language."""

    rule: str
    key: str
    params: dict[str, Any] = Field(default_factory=dict)


class Part(Reason):
    """What one criterion gave: `points` of a score of 100, `value` of its own best of 1."""

    points: float
    weight: int
    value: float


class Member(Wire):
    """Somebody in a match, and as what."""

    id: str
    role: Role


class ScoredPair(Wire):
    """Two people, how well they fit from 0 to 100, and why."""

    first: str
    second: str
    score: float
    parts: list[Part]
    notes: list[Reason] = Field(default_factory=list)


class Match(Wire):
    """People a solution puts together, the mentor side first.

    In a group, score and parts are means over the mentees, and `pairs` holds each of them. `broken`
    are the rules of the policy that give way to locks, once for each two who are locked.
    """

    members: list[Member]
    score: float
    parts: list[Part]
    notes: list[Reason] = Field(default_factory=list)
    is_locked: bool = False
    is_current: bool = False
    pairs: list[ScoredPair] = Field(default_factory=list)
    broken: list[Reason] = Field(default_factory=list)


class Unmatched(Wire):
    """Somebody who got nobody, and the reason that decided it; `free` places they have."""

    id: str
    role: Role
    free: int
    reason: Reason


class CertificateKind(StrEnum):
    """What is known about how good a solution is."""

    OPTIMAL = "optimal"
    BOUND = "bound"
    HEURISTIC = "heuristic"


class Certificate(Wire):
    """What is guaranteed.

    `primal` and `dual` are the values of the objective found and of its bound, in the solver's
    integers; `gap` is the relative distance between them, 0 when optimal, None when unknown. What
    is stable has no bound: it is optimal where no two would both rather have each other.
    """

    kind: CertificateKind
    objective: Objective
    primal: int
    dual: int | None
    gap: float | None
    method: str


class Price(Wire):
    """The dual price of somebody: what one more place would add, in the solver's integers."""

    id: str
    role: Role
    price: int


class Fairness(Wire):
    """How evenly scores fall: the least, the 5th percentile, and the Gini index."""

    minimum: float | None
    fifth_percentile: float | None
    gini: float | None


class Totals(Wire):
    """The solution in figures; `criteria` is the mean value of each criterion over pairs."""

    people: int
    matched: int
    matches: int
    pairs: int
    total: float
    mean: float | None
    criteria: dict[str, float]


class Versions(Wire):
    """Which engine and text model made it."""

    engine: str
    text_model: str


class Churn(Wire):
    """What became of current pairs."""

    kept: int
    lost: int
    made: int


class Solution(Wire):
    """The answer to a problem; equal problems and versions give equal bytes."""

    input_hash: str
    versions: Versions
    seed: int
    certificate: Certificate
    totals: Totals
    fairness: Fairness
    blocking_pairs: int
    churn: Churn
    matches: list[Match]
    unmatched: list[Unmatched]
    prices: list[Price]
    warnings: list[Reason] = Field(default_factory=list)


class ProgressLine(Wire):
    """How far the work is."""

    type: Literal["progress"] = "progress"
    phase: str
    done: int
    total: int
    eta_seconds: float | None = None


class Timings(Wire):
    """Seconds spent in each phase."""

    prepare: float
    score: float
    solve: float
    explain: float


class SolutionLine(Wire):
    """The last line when all went well; `digest` is the SHA-256 of the solution's own JSON."""

    type: Literal["solution"] = "solution"
    digest: str
    solution: Solution
    timings: Timings


class Fault(Wire):
    """One thing wrong with a problem, and where."""

    pointer: str
    code: str
    detail: str


class FailureLine(Wire):
    """The last line when it did not; `status` is what a plain answer would have carried."""

    type: Literal["failure"] = "failure"
    status: int
    code: str
    detail: str
    errors: list[Fault] = Field(default_factory=list)
    retry_after: int | None = None


type Line = Annotated[ProgressLine | SolutionLine | FailureLine, Field(discriminator="type")]


# `POST /v1/circles`.


class Ground(StrEnum):
    """The columns in which people of a circle can have something in common."""

    VALUES = "values"
    INTERESTS = "interests"


class CommonGround(Wire):
    """What all members of a circle should share: one value or interest that all of them chose.

    It adds `points` to every member; where it `is_required`, there is no circle without.
    """

    columns: Annotated[list[Ground], Field(max_length=2)] = Field(
        default_factory=lambda: list(Ground)
    )
    points: Annotated[int, Whole(0, 100, 10)] = 10
    is_required: StrictBool = False


class Seats(Wire):
    """Who is in which circle already and stays there, one row each.

    `circle` is any number that tells circles apart; a facilitator may be in several.
    """

    id: PairColumn[OpaqueId] = Field(default_factory=list)
    role: PairColumn[Role] = Field(default_factory=list)
    circle: PairColumn[Annotated[int, Field(ge=0, le=MAX_PARTICIPANTS)]] = Field(
        default_factory=list
    )


class Openings(Wire):
    """Circles that are there and settled, one row each, and how many more people each takes.

    `circle` is the number that `there` gives it. Who is in it stays, whatever rules say of them
    today: only who joins is judged.
    """

    circle: PairColumn[Annotated[int, Field(ge=0, le=MAX_PARTICIPANTS)]] = Field(
        default_factory=list
    )
    places: PairColumn[Annotated[int, Field(ge=0, le=1000)]] = Field(default_factory=list)


class CircleProblem(Problem):
    """A problem of the format `circle`, with mentors, mentees and facilitators.

    A mentor or mentee is in one circle at most, a facilitator in as many as their capacity says.
    `min_members` and `max_members` of the track count facilitators; 4 and 8 where absent. Locks
    are people of one circle, in either order. The policy's rules hold between mentors and mentees;
    those about named people and reporting lines hold between all of a circle.
    """

    facilitators: Annotated[int, Whole(1, 2, 1)] = Field(
        1, description="Of each circle: one it must have, a second where somebody is left."
    )
    of_a_team: Annotated[int, Whole(1, 100, 2)] = Field(
        2, description="Most mentors and mentees of one team in a circle."
    )
    common_ground: CommonGround = Field(default_factory=CommonGround)
    there: Seats = Field(default_factory=Seats)
    openings: Openings | None = Field(
        None,
        description=(
            "For circles that have begun. Where it is said of a circle, it decides how many join, "
            "and the sizes of the track do not."
        ),
    )
    only_judged: StrictBool = Field(
        False,
        description=(
            "Form nothing: say of circles that are there what they are worth and what they break, "
            "whatever their size and however many lead them. Nobody else is told of."
        ),
    )


class Joining(Member):
    """Somebody who joins a circle that is settled: means over their pairs with all of it.

    `broken` are the rules that keep them from others there, and give way as they are locked.
    """

    score: float
    parts: list[Part]
    broken: list[Reason] = Field(default_factory=list)


class Circle(Match):
    """A circle: its facilitators first, then mentors, then mentees, each in order of ids.

    `score` and `parts` are means over the pairs of mentors and mentees, `fit` is that of the first
    facilitator with them. `common_ground` says what all mentors and mentees chose. `there` are
    those who were in it already; `is_locked` says that nobody else is. Of a circle with openings,
    `joining` are the mentors and mentees who are new, and pairs of those who are not do not count.
    `broken` are the rules that those break who were in it already or are only judged, once for each
    two.
    """

    fit: float
    there: list[str] = Field(default_factory=list)
    joining: list[Joining] = Field(default_factory=list)
    common_ground: list[Reason] = Field(default_factory=list)


class Circles(Wire):
    """The answer to a problem of circles; equal problems and versions give equal bytes.

    What circles are worth is the sum over their mentors and mentees of how the facilitator fits
    them, of their mean score with the others, and of the points for common ground. The bound is
    one for as many circles.
    """

    input_hash: str
    versions: Versions
    seed: int
    certificate: Certificate
    totals: Totals
    fairness: Fairness
    circles: list[Circle]
    unmatched: list[Unmatched]
    warnings: list[Reason] = Field(default_factory=list)


class CirclesLine(Wire):
    """The last line when circles were formed; `digest` is the SHA-256 of their own JSON."""

    type: Literal["circles"] = "circles"
    digest: str
    circles: Circles
    timings: Timings


# `POST /v1/schedules`.


class Absences(Wire):
    """Who is not there in which round, one row each; rounds are numbered from 0."""

    id: PairColumn[OpaqueId] = Field(default_factory=list)
    round: PairColumn[Annotated[int, Field(ge=0, le=199)]] = Field(default_factory=list)


class FixedMeetings(Wire):
    """Meetings that are decided already, one row each; in any round where none is named."""

    mentor: PairColumn[OpaqueId] = Field(default_factory=list)
    mentee: PairColumn[OpaqueId] = Field(default_factory=list)
    round: PairColumn[Annotated[int, Field(ge=0, le=199)] | None] = Field(default_factory=list)


class FlashProblem(Problem):
    """A problem of the format `flash`: short meetings of two, in rounds in which nobody is twice.

    Capacity is how many meetings somebody may have, for mentees not more than
    `meetings_per_mentee`. Whoever met before (`past_pairs`) does not meet again. Locks are
    meetings in any round. The objectives `most_matched` and `best_total` are known; others count
    as the first, with a warning.
    """

    rounds: Annotated[int, Whole(1, 200, 6)]
    meetings_per_mentee: Annotated[int, Whole(1, 20, 4)] = 4
    absences: Absences = Field(default_factory=Absences)
    fixed: FixedMeetings = Field(default_factory=FixedMeetings)


class Meeting(ScoredPair):
    """A meeting in a round, the mentor first."""

    round: int
    is_locked: bool = False


class Shortfall(Wire):
    """A mentee who has some meetings, but fewer than wanted."""

    id: str
    wanted: int
    meetings: int


class Schedule(Wire):
    """The answer to a flash problem; equal problems and versions give equal bytes.

    Meetings are in order of rounds, then of ids; `rounds` is how many of them are used.
    """

    input_hash: str
    versions: Versions
    seed: int
    certificate: Certificate
    totals: Totals
    fairness: Fairness
    rounds: int
    meetings: list[Meeting]
    shortfalls: list[Shortfall]
    unmatched: list[Unmatched]
    warnings: list[Reason] = Field(default_factory=list)


class ScheduleLine(Wire):
    """The last line when a schedule was made; `digest` is the SHA-256 of its own JSON."""

    type: Literal["schedule"] = "schedule"
    digest: str
    schedule: Schedule
    timings: Timings


# `POST /v1/draws`.


class Met(Wire):
    """Who met in earlier draws, either way, one row for each two.

    `times` is how often, `ago` how many draws ago the last time was: 1 is the last draw.
    """

    first: PairColumn[OpaqueId] = Field(default_factory=list)
    second: PairColumn[OpaqueId] = Field(default_factory=list)
    times: PairColumn[Annotated[int, Field(ge=1, le=10_000)]] = Field(default_factory=list)
    ago: PairColumn[Annotated[int, Field(ge=1, le=10_000)]] = Field(default_factory=list)


class SatOut(Wire):
    """Who had nobody in earlier draws, and how often."""

    id: PairColumn[OpaqueId] = Field(default_factory=list)
    times: PairColumn[Annotated[int, Field(ge=1, le=10_000)]] = Field(default_factory=list)


class DrawProblem(Problem):
    """A problem whose pairs are drawn: as many as can be, the least repetition, then chance.

    Everybody with a capacity is in one pair at most. Scores decide nothing, hard rules hold. The
    seed is the draw: the same gives the same. Past pairs count as met once, long ago.
    """

    met: Met = Field(default_factory=Met)
    sat_out: SatOut = Field(default_factory=SatOut)
    with_trio: StrictBool = Field(
        False, description="Let an odd peer join a pair; else whoever sat out least sits out."
    )


class Draw(Wire):
    """The answer to a draw; equal problems and versions give equal bytes.

    In its certificate `primal` and `dual` count repetition, less of which is better. `repeated` is
    how many pairs met before; in a group of three, `pairs` of a match holds each two.
    """

    input_hash: str
    versions: Versions
    seed: int
    certificate: Certificate
    totals: Totals
    repeated: int
    matches: list[Match]
    unmatched: list[Unmatched]
    warnings: list[Reason] = Field(default_factory=list)


class DrawLine(Wire):
    """The last line when pairs were drawn; `digest` is the SHA-256 of the draw's own JSON."""

    type: Literal["draw"] = "draw"
    digest: str
    draw: Draw
    timings: Timings


type FormLine = Annotated[
    ProgressLine | CirclesLine | ScheduleLine | DrawLine | FailureLine, Field(discriminator="type")
]


# `POST /v1/scores`, `/v1/explanations`, `/v1/policy-checks`.


class ScoresRequest(Wire):
    """Score pairs of a problem; all allowed ones of `about` when no pairs are named."""

    problem: Problem
    pairs: Pairs = Field(default_factory=Pairs)
    about: OpaqueId | None = Field(None, description="Whose best matches are wanted.")
    limit: Annotated[int, Whole(1, 500, 20)] = 20


class PairScore(ScoredPair):
    """One pair: allowed or kept apart by the rules in `broken`; best first."""

    allowed: bool
    broken: list[Reason]


class ScoresAnswer(Wire):
    """Scores of pairs; where groups are formed, also of each mentor with all they were named with.

    Such a group is told as a solution would tell it, whether or not rules keep its pairs apart.
    """

    input_hash: str
    versions: Versions
    pairs: list[PairScore]
    groups: list[Match] = Field(default_factory=list)


class ExplanationsRequest(Wire):
    """Explain pairs of a problem against its solution, which is made anew: same problem, same."""

    problem: Problem
    pairs: Pairs
    alternatives: Annotated[int, Whole(0, 50, 5)] = 5
    with_what_if: bool = Field(
        False, description="Also solve with each pair forced, to say what that would change."
    )


class Alternative(Wire):
    """Somebody else who could have been matched, and what that would cost the objective at least.

    That is the slack of the pair under the prices, a lower bound of the loss, in points; None where
    it is beyond what points can add up to. The loss itself is found by forcing the pair.
    """

    first: str
    second: str
    score: float
    costs_at_least: float | None


class WhatIf(Wire):
    """What forcing a pair would do: the exact change of the total, and whose match changes.

    The total is the sum of the scores of all pairs, in points. Where it is not possible, `reasons`
    are the rules, or whose places are none or locked.
    """

    possible: bool
    reasons: list[Reason] = Field(default_factory=list)
    change: float | None = None
    gained: list[ScoredPair] = Field(default_factory=list)
    lost: list[ScoredPair] = Field(default_factory=list)


class Explanation(PairScore):
    """Why two people are together, or why they are not."""

    matched: bool
    why_not: list[Reason] = Field(default_factory=list)
    costs_at_least: float | None = Field(
        None, description="What the pair would cost the objective at least, as in alternatives."
    )
    alternatives: list[Alternative] = Field(default_factory=list)
    what_if: WhatIf | None = None


class ExplanationsAnswer(Wire):
    """Explanations of pairs."""

    input_hash: str
    versions: Versions
    explanations: list[Explanation]


class PolicyCheckRequest(Wire):
    """Judge a policy, alone or on a pool; with a pool its tests are run."""

    policy: Policy
    problem: Problem | None = Field(None, description="The pool; its own policy is not used.")


class RuleEffect(Wire):
    """How many pairs of the pool a hard rule keeps apart, and how many only it does."""

    rule: str
    index: int | None
    pairs: int
    only: int


class CheckedTest(Wire):
    """What became of one of the policy's tests."""

    name: str
    passed: bool
    found: dict[str, Any]


class PolicyCheckAnswer(Wire):
    """What is wrong with a policy (`faults`), what is doubtful, and what its tests say."""

    valid: bool
    faults: list[Fault]
    warnings: list[Reason]
    pairs: int | None = None
    allowed_pairs: int | None = None
    effects: list[RuleEffect] = Field(default_factory=list)
    tests: list[CheckedTest] = Field(default_factory=list)


# `POST /v1/embeddings`.


class EmbeddingsRequest(Wire):
    """Turn texts into vectors; none of them may be confidential, as notes and feedback are."""

    texts: Annotated[list[Path], Field(max_length=MAX_TEXTS)]
    model: Token | None = Field(None, description="The usual one of the installation if left out.")


class EmbeddingsAnswer(Wire):
    """The vector of each text, as a problem takes it: the same for the same text and model."""

    model: str
    dimensions: int
    vectors: list[str] = Field(
        description="Whole numbers of 16 bits, the low byte first, in base64; 0 for empty texts."
    )
