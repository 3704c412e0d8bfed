"""A fictional company of 240 people, the same one every time: what the demo imports.

Every name, address and career in here is made up; addresses end in a domain reserved for examples
(RFC 2606).
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

SEED = 20_261_101
SIZE = 240
FOUNDED = date(2009, 4, 1)
NEWEST_HIRE = date(2026, 9, 1)
GRADES = ("Junior", "Professional", "Senior", "Lead", "Director")
DOMAIN = "northwind-orchard.example.org"

GIVEN_NAMES = (
    *("Amara", "Anders", "Anouk", "Arjun", "Beatriz", "Benedikt", "Camille", "Chidi", "Daria"),
    *("Elif", "Emeka", "Fatou", "Fergus", "Greta", "Hakan", "Hanna", "Idris", "Ines", "Ingrid"),
    *("Jonas", "Joao", "Kaito", "Katarina", "Lamine", "Leila", "Linnea", "Malik", "Marisol"),
    *("Matteo", "Mei", "Nadia", "Niamh", "Noor", "Oskar", "Paloma", "Petra", "Rafael", "Ravi"),
    *("Saoirse", "Selin", "Sigrid", "Sofia", "Tariq", "Tomasz", "Ulla", "Viktor", "Wanda", "Yara"),
)
FAMILY_NAMES = (
    *("Abara", "Achterberg", "Almeida", "Bergstrom", "Bianchi", "Castellan", "Chowdhury", "Dahl"),
    *("Demirel", "Eklund", "Falkner", "Fontaine", "Gallagher", "Grabowski", "Haddad", "Halloran"),
    *("Ibarra", "Iwata", "Jansson", "Kadir", "Kowalczyk", "Lindqvist", "Lombardo", "Mbeki"),
    *("Moreau", "Nakano", "Novak", "Okafor", "Oliveira", "Petrov", "Quispe", "Rahimi", "Rossi"),
    *("Santos", "Schreiber", "Sorensen", "Takeda", "Toure", "Ulrich", "Vasquez", "Verhoeven"),
    *("Wexler", "Wolff", "Yilmaz", "Zielinski", "Zimmer"),
)


@dataclass(frozen=True, slots=True)
class Department:
    """A part of the company: its share of the people, its ladder of titles, and its skills."""

    name: str
    share: int
    titles: tuple[str, str, str, str, str]
    skills: tuple[str, ...]


DEPARTMENTS = (
    Department(
        "Engineering",
        80,
        (
            *("Junior Engineer", "Software Engineer", "Senior Engineer"),
            *("Engineering Lead", "Director of Engineering"),
        ),
        ("Python", "System design", "Code review", "Data modelling", "Incident response"),
    ),
    Department(
        "Product",
        30,
        (
            *("Associate Product Manager", "Product Manager", "Senior Product Manager"),
            *("Product Lead", "Director of Product"),
        ),
        ("Discovery", "Roadmapping", "Pricing", "User interviews", "Storytelling"),
    ),
    Department(
        "Sales",
        50,
        (
            *("Sales Representative", "Account Executive", "Senior Account Executive"),
            *("Sales Lead", "Director of Sales"),
        ),
        ("Negotiation", "Prospecting", "Account planning", "Presenting", "Forecasting"),
    ),
    Department(
        "Operations",
        50,
        (
            *("Operations Assistant", "Operations Specialist", "Senior Operations Specialist"),
            *("Operations Lead", "Director of Operations"),
        ),
        ("Process design", "Vendor management", "Planning", "Cost control", "Safety"),
    ),
    Department(
        "People and Finance",
        30,
        (
            *("People Assistant", "People Partner", "Senior People Partner"),
            *("Finance Lead", "Director of People and Finance"),
        ),
        ("Coaching", "Budgeting", "Hiring", "Facilitation", "Labour law"),
    ),
)
EVERYBODY_LEARNS = ("Leadership", "Public speaking", "Giving feedback", "Career planning")
PLACES = (
    ("Berlin", "Germany", "Europe/Berlin", "de", ("de", "en")),
    ("Lisbon", "Portugal", "Europe/Lisbon", "en", ("pt", "en")),
    ("Dublin", "Ireland", "Europe/Dublin", "en", ("en",)),
    ("Toronto", "Canada", "America/Toronto", "en", ("en", "fr")),
    ("Bengaluru", "India", "Asia/Kolkata", "en", ("en", "hi")),
)
# How many of each grade there are in a hundred, from Junior to Director.
PYRAMID = (24, 38, 24, 11, 3)


@dataclass(frozen=True, slots=True)
class Employee:
    """One row of the company's people file; `skills` and `wishes` are for their own profile."""

    employee_id: str
    given_name: str
    family_name: str
    email: str
    title: str
    department: str
    grade: str
    city: str
    country: str
    timezone: str
    locale: str
    hired_on: date
    manager_id: str
    skills: tuple[str, ...]
    wishes: tuple[str, ...]
    languages: tuple[str, ...]


FIELDS = (
    *("employee_id", "given_name", "family_name", "email", "title", "department", "grade"),
    *("city", "country", "timezone", "locale", "hired_on", "manager_id"),
    *("skills", "wishes", "languages"),
)


def employees() -> list[Employee]:
    """Return everybody, each department from its director down."""
    random = Random(SEED)  # noqa: S311 - the same company every time, nothing secret
    names = _names(random)
    found: list[Employee] = []
    for department in DEPARTMENTS:
        found.extend(_department(random, department, names, first=len(found) + 1))
    return found


def people_file() -> bytes:
    """Return the company as the CSV file an HR system would export."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(FIELDS)
    for one in employees():
        writer.writerow([_cell(getattr(one, field)) for field in FIELDS])
    return buffer.getvalue().encode()


def _cell(value: object) -> str:
    return "; ".join(value) if isinstance(value, tuple) else str(value)


def _names(random: Random) -> Iterator[tuple[str, str]]:
    """Yield pairs of names, none of them twice."""
    pairs = [(given, family) for given in GIVEN_NAMES for family in FAMILY_NAMES]
    yield from random.sample(pairs, SIZE)


def _department(
    random: Random, department: Department, names: Iterator[tuple[str, str]], *, first: int
) -> list[Employee]:
    grades = _grades(random, department.share)
    found: list[Employee] = []
    for offset, grade in enumerate(grades):
        manager = _manager(random, found, grade)
        found.append(
            _employee(random, department, next(names), grade, manager, number=first + offset)
        )
    return found


def _grades(random: Random, count: int) -> list[int]:
    """Return grades as places in GRADES, one director first and the rest from the top down."""
    drawn = random.choices(range(len(GRADES) - 1), weights=PYRAMID[:-1], k=count - 1)
    return [len(GRADES) - 1, *sorted(drawn, reverse=True)]


def _manager(random: Random, above: Sequence[Employee], grade: int) -> Employee | None:
    """Return somebody of a higher grade; leads report to the director."""
    leading = [one for one in above if GRADES.index(one.grade) > max(grade, 2)]
    return random.choice(leading) if leading else None


def _employee(
    random: Random,
    department: Department,
    name: tuple[str, str],
    grade: int,
    manager: Employee | None,
    *,
    number: int,
) -> Employee:
    given, family = name
    city, country, timezone, locale, languages = random.choice(PLACES)
    years = grade * 3 + random.random() * 3
    hired_on = max(FOUNDED, NEWEST_HIRE - timedelta(days=round(years * 365)))
    foreign = random.choice([one for one in DEPARTMENTS if one is not department])
    return Employee(
        employee_id=f"E{number:04}",
        given_name=given,
        family_name=family,
        email=f"{given}.{family}@{DOMAIN}".lower(),
        title=department.titles[grade],
        department=department.name,
        grade=GRADES[grade],
        city=city,
        country=country,
        timezone=timezone,
        locale=locale,
        hired_on=hired_on,
        manager_id=manager.employee_id if manager else "",
        skills=(*random.sample(department.skills, 3), random.choice(EVERYBODY_LEARNS)),
        wishes=(random.choice(foreign.skills), *random.sample(EVERYBODY_LEARNS, 2)),
        languages=languages,
    )
