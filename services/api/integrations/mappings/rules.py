"""What a mapping means: refused columns, the closed list of transforms, and one row understood.

There are no expressions and no patterns from clients: a mapping is data that can be read aloud.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from services.api.integrations.files.rules import Problem

PERSON_FIELDS = (
    *("employee_number", "email", "phone", "given_name", "family_name", "preferred_name"),
    *("pronouns", "locale", "timezone", "title", "department", "country", "city", "site"),
    *("grade", "job_family", "hired_on", "in_job_since"),
)
"""Fields of a person that a source may set as they are."""

DAY_FIELDS = frozenset({"hired_on", "in_job_since", "ended_on"})
NEVER_CLEARED = frozenset({"email", "given_name", "family_name", "locale", "timezone", "status"})
REQUIRED = ("email", "given_name", "family_name")


class PersonField(StrEnum):
    """What a column can mean."""

    EMPLOYEE_NUMBER = "employee_number"
    EMAIL = "email"
    PHONE = "phone"
    GIVEN_NAME = "given_name"
    FAMILY_NAME = "family_name"
    PREFERRED_NAME = "preferred_name"
    PRONOUNS = "pronouns"
    LOCALE = "locale"
    TIMEZONE = "timezone"
    TITLE = "title"
    DEPARTMENT = "department"
    COUNTRY = "country"
    CITY = "city"
    SITE = "site"
    GRADE = "grade"
    JOB_FAMILY = "job_family"
    HIRED_ON = "hired_on"
    IN_JOB_SINCE = "in_job_since"
    STATUS = "status"
    ENDED_ON = "ended_on"


class Empty(StrEnum):
    """What an empty cell does to a value that is there."""

    KEEP = "keep"
    CLEAR = "clear"


class Otherwise(StrEnum):
    """What a lookup does with a value that its table does not hold."""

    REFUSE = "refuse"
    KEEP = "keep"
    EMPTY = "empty"


class NamePart(StrEnum):
    """Which part of a full name."""

    GIVEN = "given"
    FAMILY = "family"


class ManagerBy(StrEnum):
    """How a file names somebody's manager."""

    ID = "id"
    NAME = "name"


class Leavers(StrEnum):
    """What happens to people who had left before this system ever heard of them."""

    CREATE = "create"
    SKIP = "skip"


class DateFormat(StrEnum):
    """How a file writes days."""

    ISO = "YYYY-MM-DD"
    COMPACT = "YYYYMMDD"
    SLASHED_YEAR_FIRST = "YYYY/MM/DD"
    MONTH_FIRST = "M/D/YYYY"
    DAY_FIRST = "D/M/YYYY"
    DOTTED = "D.M.YYYY"
    DASHED = "D-M-YYYY"


_ISO = re.compile(r"(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)(?:T.*)?", re.ASCII)
_PATTERNS: Mapping[DateFormat, re.Pattern[str]] = MappingProxyType(
    {
        DateFormat.ISO: _ISO,
        DateFormat.COMPACT: re.compile(r"(?P<y>\d{4})(?P<m>\d\d)(?P<d>\d\d)", re.ASCII),
        DateFormat.SLASHED_YEAR_FIRST: re.compile(
            r"(?P<y>\d{4})/(?P<m>\d\d?)/(?P<d>\d\d?)", re.ASCII
        ),
        DateFormat.MONTH_FIRST: re.compile(r"(?P<m>\d\d?)/(?P<d>\d\d?)/(?P<y>\d{4})", re.ASCII),
        DateFormat.DAY_FIRST: re.compile(r"(?P<d>\d\d?)/(?P<m>\d\d?)/(?P<y>\d{4})", re.ASCII),
        DateFormat.DOTTED: re.compile(r"(?P<d>\d\d?)\.(?P<m>\d\d?)\.(?P<y>\d{4})", re.ASCII),
        DateFormat.DASHED: re.compile(r"(?P<d>\d\d?)-(?P<m>\d\d?)-(?P<y>\d{4})", re.ASCII),
    }
)
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_DAY_LIKE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}", re.ASCII)


class Refusal(StrEnum):
    """Why a column is never read: what it would tell about a person."""

    PAY = "pay"
    BIRTH_DATE = "birth_date"
    GENDER = "gender"
    SEXUAL_ORIENTATION = "sexual_orientation"
    ETHNICITY = "ethnicity"
    MARITAL_STATUS = "marital_status"
    CITIZENSHIP = "citizenship"
    IDENTITY_NUMBER = "identity_number"
    HEALTH = "health"
    BELIEF = "belief"
    VETERAN = "veteran_status"
    PERFORMANCE = "performance"
    LEAVING_REASON = "leaving_reason"


_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})


def _spelled(*lines: str) -> frozenset[str]:
    """Return words as names spell them: without accents, and with `ae` for `ä`."""
    words = [word for line in lines for word in line.split()]
    expanded = [word.translate(_UMLAUTS) for word in words]
    return frozenset(_bare(word).casefold() for word in [*words, *expanded])


def _bare(text: str) -> str:
    """Return a text in plain letters: no wide forms, no accents, nothing that is not seen."""
    return "".join(
        character
        for character in unicodedata.normalize("NFKD", text)
        if unicodedata.category(character) not in {"Mn", "Cf"}
    )


# Lines are English, German, French and Spanish, where a language adds to those before.
# A word counts only as a whole one.
_WORDS: Mapping[Refusal, frozenset[str]] = MappingProxyType(
    {
        Refusal.PAY: _spelled(
            "pay payroll payslip payslips wage wages bonus bonuses income earnings stipend",
            "allowance allowances salaried iban ctc",
            "lohn löhne bezüge honorar",
            "paie paye revenus honoraires",
            "sueldo sueldos nómina ingresos honorarios",
        ),
        Refusal.BIRTH_DATE: _spelled(
            "dob yob bday birth birthdate birthday born age ages alter geb",
            "naissance anniversaire edad nac nacido nacida cumpleaños",
        ),
        Refusal.GENDER: _spelled("sex gender male female geschlecht sexe genre sexo género"),
        Refusal.SEXUAL_ORIENTATION: _spelled("lgbt lgbtq lgbtqi lgbtqia queer lesbian bisexual"),
        Refusal.ETHNICITY: _spelled(
            "race races racial latino latina latinx diversity minority minorities bipoc indigenous",
            "aboriginal caucasian ancestry caste rasse raza etnia etnias etnico etnica",
        ),
        Refusal.MARITAL_STATUS: _spelled(
            "married marriage divorced widowed spouse spouses husband wife maiden",
            "children kids dependents dependants",
            "verheiratet heirat heiratsdatum ehestand ledig geschieden verwitwet kinder",
            "mariage mariée divorcé divorcée conjoint conjointe enfants",
            "matrimonio casado casada soltero soltera divorciado divorciada cónyuge hijos hijas",
        ),
        Refusal.CITIZENSHIP: _spelled("visa visas citizen immigration foreigner ausländer"),
        Refusal.IDENTITY_NUMBER: _spelled("ssn nin passport tin steuer sv svnr nir dni nie nif"),
        Refusal.HEALTH: _spelled(
            "health medical medication sick sickness illness absence absences absenteeism",
            "pregnancy pregnant diagnosis diagnoses disease diseases injury injuries bmi hiv covid",
            "blood smoker mental fmla allergy allergies",
            "allergie allergien diagnose diagnosen gesundheit impfung gdb fehltage fehlzeiten",
            "santé enceinte grossesse malade maladie invalide",
            "salud diagnóstico enfermedad embarazo embarazada ausencia ausencias alergias",
        ),
        Refusal.BELIEF: _spelled(
            "religion religious faith church union party politics political",
            "glaube kirche weltanschauung",
            "confession croyance église syndicat syndical syndicale",
            "creencia iglesia sindicato sindical",
        ),
        Refusal.PERFORMANCE: _spelled(
            "perf performance rating ratings appraisal appraisals evaluation evaluations",
            "engagement satisfaction late lateness tardiness disciplinary warnings",
            "leistung rendement evaluación evaluaciones rendimiento desempeño",
        ),
    }
)
# Stems mean nothing else, wherever they stand in a name; spaces are not minded.
_STEMS: Mapping[Refusal, frozenset[str]] = MappingProxyType(
    {
        Refusal.PAY: _spelled(
            "salary salaries compensation remunerat hourlyrate dailyrate payrate rateofpay",
            "paygrade payband payscale stockoption bankaccount",
            "gehalt vergütung entgelt einkommen besoldung tarifgruppe stundensatz tagessatz",
            "stundenlohn monatslohn jahreslohn bruttolohn nettolohn grundlohn lohngruppe",
            "lohnsteuer bankverbindung kontonummer",
            "salaire tauxhoraire salario remunerac tarifahora",
        ),
        Refusal.BIRTH_DATE: _spelled(
            "dateofbirth birthdate yearofbirth birthday birthplace",
            "geburt gebdat gebjahr altersgruppe altersklasse lebensalter nacimiento",
        ),
        Refusal.GENDER: _spelled("gender geschlecht"),
        Refusal.SEXUAL_ORIENTATION: _spelled("sexual sexuel"),
        Refusal.ETHNICITY: _spelled(
            "ethni hispanic racedesc diversit diversidad skincolo",
            "hautfarbe migrationshintergrund origenétnic",
        ),
        Refusal.MARITAL_STATUS: _spelled(
            "marital matrimonial civilstatus familystatus relationshipstatus",
            "familienstand familienstatus zivilstand personenstand ehegatte ehepartner",
            "kinderzahl",
            "étatcivil situationfamilial situationdefamille estadocivil situaciónfamiliar",
        ),
        Refusal.CITIZENSHIP: _spelled(
            "citizen nationalit immigration workpermit residencepermit residencystatus",
            "nationalorigin countryoforigin",
            "staatsang staatsbürger herkunftsland aufenthaltstitel aufenthaltserlaubnis",
            "arbeitserlaubnis",
            "citoyennet paysdorigine permisdetravail titredeséjour",
            "nacionalidad ciudadanía paísdeorigen permisodetrabajo permisoderesidencia",
        ),
        Refusal.IDENTITY_NUMBER: _spelled(
            "socialsecurity nationalid nationalinsurance passport taxid",
            "steuerid sozialversicherung rentenversicherung personalausweis reisepass",
            "sécuritésociale passeport seguridadsocial pasaporte",
        ),
        Refusal.HEALTH: _spelled(
            "disab medical handicap pregnan vaccin sickleave maternit paternit parentalleave",
            "behinder krank schwanger mutterschutz mutterschaft elternzeit arbeitsunfähig",
            "arbeitsunfall blutgruppe impfstatus gesundheitszustand",
            "absentéisme maternidad paternidad discapaci incapacidad minusval",
        ),
        Refusal.BELIEF: _spelled(
            "religio tradeunion konfession gewerkschaft parteizugehör parteimitglied kirchensteuer",
        ),
        Refusal.VETERAN: _spelled(
            "veteran militarystatus militaryservice wehrdienst servicemilitaire serviciomilitar",
            "anciencombattant excombatiente",
        ),
        Refusal.PERFORMANCE: _spelled(
            "performance satisfaction highpotential reviewscore annualreview",
            "beurteilung leistungsbewertung leistungsnote zielerreichung abmahnung",
        ),
        Refusal.LEAVING_REASON: _spelled(
            "termreason terminationreason leavingreason exitreason separationreason",
            "reasonforleaving reasonfortermination kündigungsgrund austrittsgrund",
            "motifdedépart motifdesortie motivodebaja motivodesalida",
        ),
    }
)
# What holds one of these and tells nothing about a person.
_HARMLESS = re.compile(
    r"\b(?:rating agenc(?:y|ies)|payroll (?:id|no|nr|number)|international id)\b"
)
_BEGINS_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_WORD = re.compile(r"[\W_]+")
_NO_LETTER = re.compile(r"[\W\d_]+")


def refusal_of(header: str) -> Refusal | None:
    """Return why a column of this name is never read, or None when it may be."""
    parted = _BEGINS_WORD.sub(" ", _bare(header)).casefold()
    told = _HARMLESS.sub(" ", _NO_LETTER.sub(" ", parted))
    words = told.split()
    squeezed = "".join(words)
    for refusal in Refusal:
        if not _WORDS.get(refusal, frozenset()).isdisjoint(words):
            return refusal
        if any(stem in squeezed for stem in _STEMS.get(refusal, ())):
            return refusal
    return None


@dataclass(frozen=True, slots=True)
class IgnoredColumn:
    """A column that is not read, and why."""

    column: str
    reason: str
    detail: str


def ignored_columns(header: Sequence[str], document: Mapping[str, Any]) -> list[IgnoredColumn]:
    """Return every column of a file that a mapping leaves alone, in the file's order."""
    used = set(columns_of(document))
    listed = {one["column"]: one["reason"] for one in document.get("refused_columns", ())}
    return [
        _ignored(column, listed.get(column)) for column in header if same_column(column) not in used
    ]


def _ignored(column: str, listed: str | None) -> IgnoredColumn:
    refusal = refusal_of(column)
    if listed is not None:
        return IgnoredColumn(column, "refused", listed)
    if refusal is not None:
        return IgnoredColumn(
            column, "refused", f"Nothing about {_spoken_refusal(refusal)} is kept."
        )
    return IgnoredColumn(column, "not_mapped", "The mapping does not use this column.")


def _spoken_refusal(refusal: Refusal) -> str:
    return refusal.value.replace("_", " ")


def refused_by(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the columns a mapping uses though it may not, each with the reason."""
    listed = {same_column(one["column"]) for one in document.get("refused_columns", ())}
    found = []
    for column in columns_of(document):
        refusal = refusal_of(column)
        if refusal is not None or column in listed:
            found.append(
                (column, _spoken_refusal(refusal) if refusal else "refused by the mapping")
            )
    return found


def columns_of(document: Mapping[str, Any]) -> list[str]:
    """Return the columns a mapping reads, each once, as they are compared."""
    columns = [document["key"]["column"]]
    for rule in document["fields"].values():
        columns += rule.get("columns") or ()
    if document.get("manager"):
        columns.append(document["manager"]["column"])
    return list(dict.fromkeys(same_column(column) for column in columns))


def same_column(column: str) -> str:
    """Return a column's name as it is compared."""
    return unicodedata.normalize("NFC", column.strip())


class TransformError(ValueError):
    """A value that a transform cannot take; the code says why."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        """Name the reason."""
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


def trim(_step: Mapping[str, Any], value: str) -> str:
    """Drop spaces around a value and double ones inside."""
    return " ".join(value.split())


def lower(_step: Mapping[str, Any], value: str) -> str:
    """Return small letters."""
    return value.lower()


def read_day(step: Mapping[str, Any], value: str) -> str:
    """Return the day as ISO text."""
    if not value.strip():
        return ""
    matched = _PATTERNS[DateFormat(step["format"])].fullmatch(value.strip())
    if matched is None:
        raise TransformError("wrong_date", f"This is no day written as {step['format']}.")
    try:
        return date(*(int(matched[part]) for part in "ymd")).isoformat()
    except ValueError:
        raise TransformError("wrong_date", "There is no such day.") from None


def look_up(step: Mapping[str, Any], value: str) -> str:
    """Return what the table has for the value, letters and spaces not minded."""
    table = {fold(key): result for key, result in step["table"].items()}
    if fold(value) in table:
        return str(table[fold(value)])
    if not value.strip() or step["otherwise"] == Otherwise.EMPTY:
        return ""
    if step["otherwise"] == Otherwise.KEEP:
        return value
    raise TransformError(
        "unknown_value", "The lookup table does not hold this value.", "Add it to the mapping."
    )


def split(step: Mapping[str, Any], value: str) -> str:
    """Return one part of a value, counted from 1; a part that is not there is empty."""
    parts = value.split(step["on"])
    return parts[step["take"] - 1] if step["take"] <= len(parts) else ""


def default(step: Mapping[str, Any], value: str) -> str:
    """Return the value, or another one where it is empty."""
    return value if value.strip() else str(step["value"])


def name_part(step: Mapping[str, Any], value: str) -> str:
    """Return the given or the family part of "Last, First" or "First Last"."""
    family, comma, given = value.partition(",")
    if not comma:
        given, _, family = value.strip().rpartition(" ")
    wanted = given if step["part"] == NamePart.GIVEN else family
    return " ".join(wanted.split())


TRANSFORMS: Mapping[str, Callable[[Mapping[str, Any], str], str]] = MappingProxyType(
    {
        "trim": trim,
        "lower": lower,
        "date": read_day,
        "lookup": look_up,
        "split": split,
        "default": default,
        "name_part": name_part,
    }
)
"""Every transform but `concat`, which makes one value of several columns."""


@dataclass(frozen=True, slots=True)
class Understood:
    """A row in the words of this product: texts still unchecked, None where it clears a value."""

    line: int
    external_id: str | None
    values: Mapping[str, str | None] = field(default_factory=dict)
    manager: str | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def understand(document: Mapping[str, Any], *, line: int, cells: Mapping[str, str]) -> Understood:
    """Read one row; `cells` holds the columns that the file has."""
    problems: list[Problem] = []
    key = document["key"]["column"]
    external_id = cells.get(same_column(key), "").strip()
    if not external_id:
        problems.append(Problem(key, "missing_id", "The row has no id in this column."))
    values = _values(document["fields"], cells, external_id, problems)
    manager = document.get("manager")
    named = cells.get(same_column(manager["column"]), "").strip() if manager else ""
    return Understood(
        line,
        external_id or None,
        values,
        named or None,
        {name: _first_column(rule) for name, rule in document["fields"].items()},
        tuple(problems),
    )


def _first_column(rule: Mapping[str, Any]) -> str | None:
    return rule["columns"][0] if rule.get("columns") else None


def _values(
    fields: Mapping[str, Mapping[str, Any]],
    cells: Mapping[str, str],
    external_id: str,
    problems: list[Problem],
) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    # Templates name other fields, so they come after all of those.
    for name, rule in sorted(fields.items(), key=lambda item: bool(item[1].get("template"))):
        raw = _raw(rule, cells, {**values, "external_id": external_id})
        if raw is None:
            continue
        try:
            value = _transformed(name, rule, raw)
        except TransformError as error:
            problems.append(Problem(_first_column(rule), error.code, error.message, error.hint))
            continue
        if value:
            values[name] = value
        elif rule["empty"] == Empty.CLEAR and name not in NEVER_CLEARED:
            values[name] = None
    return values


def _raw(
    rule: Mapping[str, Any], cells: Mapping[str, str], known: Mapping[str, str | None]
) -> str | None:
    """Return what a field starts from; None when the file has no such column at all."""
    if rule.get("template"):
        return _filled(rule["template"], known)
    present = [
        cells[same_column(column)] for column in rule["columns"] if same_column(column) in cells
    ]
    if not present:
        return None
    joint = rule["steps"][0]["with"] if _joins(rule) else ""
    return str(joint).join(part.strip() for part in present if part.strip())


def _joins(rule: Mapping[str, Any]) -> bool:
    return bool(rule["steps"]) and rule["steps"][0]["do"] == "concat"


def _filled(template: str, known: Mapping[str, str | None]) -> str:
    """Put values into a template; one that is missing leaves nothing at all."""
    if not all(known.get(name) for name in placeholders(template)):
        return ""
    # In one pass: braces in a value are text and ask for nothing.
    return _PLACEHOLDER.sub(lambda found: str(known[found[1]]), template)


def placeholders(template: str) -> list[str]:
    """Return the names a template asks for."""
    return _PLACEHOLDER.findall(template)


def has_stray_braces(template: str) -> bool:
    """Tell whether a brace of a template is no part of a plain name in braces."""
    rest = _PLACEHOLDER.sub("", template)
    return "{" in rest or "}" in rest


def templates_of_templates(fields: Mapping[str, str | None]) -> list[str]:
    """Return the fields whose template asks for a field that is one itself, such as its own."""
    made = {name for name, template in fields.items() if template}
    return [
        name
        for name, template in fields.items()
        if template and not made.isdisjoint(placeholders(template))
    ]


def _transformed(name: str, rule: Mapping[str, Any], value: str) -> str:
    steps = rule["steps"][1:] if _joins(rule) else rule["steps"]
    for step in steps:
        value = TRANSFORMS[step["do"]](step, value)
    value = value.strip()
    if name in DAY_FIELDS and value:
        _refuse_ambiguous(value)
    return value


def _refuse_ambiguous(value: str) -> None:
    if not _ISO.fullmatch(value) and _DAY_LIKE.fullmatch(value):
        raise TransformError(
            "ambiguous_date",
            "Which part is the month cannot be told.",
            "Declare how the file writes days: a `date` step with its format.",
        )


def fold(text: str) -> str:
    """Return a text as it is compared: letters folded, accents, dots and double spaces gone."""
    bare = "".join(
        character
        for character in unicodedata.normalize("NFKD", text)
        if not unicodedata.combining(character)
    )
    return " ".join(_NO_WORD.sub(" ", bare.casefold()).split())


def names_of(given: str, family: str) -> set[str]:
    """Return how a manager column may write a person: with all given names, or the first only."""
    first = given.split()[:1]
    return {fold(f"{given} {family}"), fold(" ".join([*first, family]))}


def manager_names(named: str) -> str:
    """Return a manager's name as it is compared; "Last, First" is turned round."""
    family, comma, given = named.partition(",")
    return fold(f"{given} {family}") if comma else fold(named)


_GUESSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "employee_number": ("employee number", "employee no", "personnel number", "staff number"),
        "email": ("email", "e mail", "mail", "email address", "work email"),
        "phone": ("phone", "telephone", "mobile", "work phone"),
        "given_name": ("given name", "first name", "firstname", "vorname", "forename"),
        "family_name": ("family name", "last name", "lastname", "surname", "nachname"),
        "preferred_name": ("preferred name", "known as"),
        "pronouns": ("pronouns",),
        "locale": ("locale", "language"),
        "timezone": ("timezone", "time zone"),
        "title": ("title", "job title", "position", "role"),
        "department": ("department", "abteilung", "org unit"),
        "country": ("country", "land"),
        "city": ("city", "town", "ort"),
        "site": ("site", "office", "location", "state"),
        "grade": ("grade", "level", "job level", "band"),
        "job_family": ("job family", "function"),
        "hired_on": ("hired on", "hire date", "date of hire", "start date", "dateofhire"),
        "status": ("status", "employment status"),
        "ended_on": ("ended on", "end date", "termination date", "date of termination"),
    }
)
_KEY_GUESSES = ("id", "employee id", "emp id", "person id", "external id", "worker id")
_MANAGER_GUESSES: Mapping[str, ManagerBy] = MappingProxyType(
    {
        "manager id": ManagerBy.ID,
        "manager employee id": ManagerBy.ID,
        "manager": ManagerBy.NAME,
        "manager name": ManagerBy.NAME,
    }
)


def spoken(header: str) -> str:
    """Return a column's name as words: `DateofHire` and `date_of_hire` alike."""
    parted = _BEGINS_WORD.sub(" ", header)
    return fold(re.sub(r"(?<=[a-z])of(?= )", " of", parted))


def suggest(header: Sequence[str]) -> dict[str, Any]:
    """Return a mapping for the columns whose names speak for themselves."""
    by_name = {spoken(column): column for column in reversed(header) if not refusal_of(column)}
    found = {name: _first(guesses, by_name) for name, guesses in _GUESSES.items()}
    fields = {
        name: {"columns": [by_name[guess]], "steps": [{"do": "trim"}], "empty": Empty.KEEP}
        for name, guess in found.items()
        if guess is not None
    }
    document: dict[str, Any] = {"fields": fields}
    key = _first(_KEY_GUESSES, by_name) or _first(_GUESSES["employee_number"], by_name)
    if key is not None:
        document["key"] = {"column": by_name[key]}
    for guess, by in _MANAGER_GUESSES.items():
        if guess in by_name:
            document["manager"] = {"column": by_name[guess], "by": by}
            break
    return document


def _first(guesses: Sequence[str], by_name: Mapping[str, str]) -> str | None:
    return next((guess for guess in guesses if guess in by_name), None)
