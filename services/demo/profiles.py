"""Who suits which role, and what they might say of themselves: read from a directory alone.

A people file knows titles, departments and dates, not wishes. What a real person would write into
their own profile is derived here from those facts, always the same for the same file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.demo.company import Employee

SENIOR_WORDS = (
    "president",
    "ceo",
    "cio",
    "director",
    "manager",
    "lead",
    "senior",
    "sr",
    "architect",
)
MENTOR_SHARE, MENTEE_SHARE = 0.12, 0.18
CAPACITY_OF_LEADERS, CAPACITY_OF_OTHERS = 2, 1
USUAL_WISHES = ("Leadership", "Career planning", "Public speaking", "Giving feedback")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person who is to register: the role, how many places, and the preferences."""

    person: Mapping[str, Any]
    role: str
    capacity: int
    preferences: Mapping[str, Any]


def candidates(
    people: Sequence[Mapping[str, Any]], known: Mapping[str, Employee]
) -> list[Candidate]:
    """Choose mentors from the experienced and mentees from the newest; nobody is both.

    `known` maps addresses to employees whose own wishes are on file. Only facts of the file decide,
    no ids, so that another installation plays the same journey.
    """
    managers = {one["manager_id"] for one in people if one["manager_id"]}
    ranked = sorted(
        people, key=lambda one: (_experience(one, managers), one["email"]), reverse=True
    )
    mentors = ranked[: round(len(ranked) * MENTOR_SHARE)]
    mentees = ranked[len(ranked) - round(len(ranked) * MENTEE_SHARE) :]
    return [
        *(_candidate(one, "mentor", managers, known) for one in mentors),
        *(_candidate(one, "mentee", managers, known) for one in mentees),
    ]


def _experience(person: Mapping[str, Any], managers: set[str]) -> tuple[bool, int, str]:
    """Order people: who leads others, then who has a senior title, then who came first."""
    words = (person["title"] or "").lower().replace(".", " ").replace(",", " ").split()
    seniority = min(
        (SENIOR_WORDS.index(word) for word in words if word in SENIOR_WORDS),
        default=len(SENIOR_WORDS),
    )
    hired_on = person["hired_on"] or "9999-12-31"
    return person["id"] in managers, -seniority, _reversed_day(hired_on)


def _reversed_day(day: str) -> str:
    """Return a text that sorts the earlier day last."""
    return "".join(chr(ord("0") + 9 - int(one)) if one.isdigit() else one for one in day)


def _candidate(
    person: Mapping[str, Any], role: str, managers: set[str], known: Mapping[str, Employee]
) -> Candidate:
    leads = person["id"] in managers
    return Candidate(
        person=person,
        role=role,
        capacity=CAPACITY_OF_LEADERS if role == "mentor" and leads else CAPACITY_OF_OTHERS,
        preferences=_preferences(person, known.get(person["email"])),
    )


def _preferences(person: Mapping[str, Any], employee: Employee | None) -> dict[str, Any]:
    title = person["title"] or "colleague"
    department = person["department"] or "the company"
    skills = employee.skills if employee else tuple(dict.fromkeys((department, title)))
    wishes = employee.wishes if employee else _wishes(person)
    strength = 1 + sum(map(ord, person["email"])) % 5
    return {
        "values": ["curiosity", "candour"] if strength % 2 else ["patience", "curiosity"],
        "path_now": f"{title} in {department}.",
        "path_target": f"Growing beyond {title}: {', '.join(wishes)}.",
        "wants": {"encouragement": strength, "challenge": 6 - strength},
        "offers": {"encouragement": 6 - strength, "challenge": strength},
        "wants_skills": list(wishes),
        "offers_skills": list(skills),
        "languages": list(employee.languages) if employee else [person["locale"]],
    }


def _wishes(person: Mapping[str, Any]) -> tuple[str, ...]:
    first = sum(map(ord, person["family_name"])) % len(USUAL_WISHES)
    department = person["department"] or USUAL_WISHES[first]
    return tuple(dict.fromkeys((department, USUAL_WISHES[first])))
