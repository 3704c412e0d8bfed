"""Mappings: what is never read, what each transform does, and how a row is understood."""

from typing import Any

import pytest

from services.api.integrations.files.rules import Line, Problem
from services.api.integrations.mappings import operations, rules
from services.api.integrations.mappings.rules import Refusal, TransformError
from services.api.integrations.mappings.schemas import MappingDocument


@pytest.mark.parametrize(
    ("header", "refusal"),
    [
        ("Salary", Refusal.PAY),
        ("basesalary", Refusal.PAY),
        ("pay_group", Refusal.PAY),
        ("DOB", Refusal.BIRTH_DATE),
        ("Date of Birth", Refusal.BIRTH_DATE),
        ("Geburtsdatum", Refusal.BIRTH_DATE),
        ("Age", Refusal.BIRTH_DATE),
        ("Sex", Refusal.GENDER),
        ("GenderID", Refusal.GENDER),
        ("RaceDesc", Refusal.ETHNICITY),
        ("HispanicLatino", Refusal.ETHNICITY),
        ("FromDiversityJobFairID", Refusal.ETHNICITY),
        ("MaritalDesc", Refusal.MARITAL_STATUS),
        ("MarriedID", Refusal.MARITAL_STATUS),
        ("CitizenDesc", Refusal.CITIZENSHIP),
        ("Nationality", Refusal.CITIZENSHIP),
        ("SSN", Refusal.IDENTITY_NUMBER),
        ("social_security_number", Refusal.IDENTITY_NUMBER),
        ("Absences", Refusal.HEALTH),
        ("Disability Status", Refusal.HEALTH),
        ("Religion", Refusal.BELIEF),
        ("PerfScoreID", Refusal.PERFORMANCE),
        ("EmpSatisfaction", Refusal.PERFORMANCE),
        ("TermReason", Refusal.LEAVING_REASON),
        ("Hourly Rate", Refusal.PAY),
        ("Pay Grade", Refusal.PAY),
        ("Paygrade", Refusal.PAY),
        ("Stundenlohn", Refusal.PAY),
        ("Vergütung", Refusal.PAY),
        ("Verguetung", Refusal.PAY),
        ("Bezuege", Refusal.PAY),
        ("Salaire", Refusal.PAY),
        ("Rémunération", Refusal.PAY),
        ("Salario bruto", Refusal.PAY),
        ("Payroll amount", Refusal.PAY),
        ("geb_datum", Refusal.BIRTH_DATE),
        ("GebDatum", Refusal.BIRTH_DATE),
        ("Geb. am", Refusal.BIRTH_DATE),
        ("dob2", Refusal.BIRTH_DATE),
        ("fecha_nac", Refusal.BIRTH_DATE),
        ("Ehestand", Refusal.MARITAL_STATUS),
        ("SV-Nr", Refusal.IDENTITY_NUMBER),
        ("NIE", Refusal.IDENTITY_NUMBER),
        ("ancien combattant", Refusal.VETERAN),
        ("Birthplace office", Refusal.BIRTH_DATE),
        ("Place of Birth", Refusal.BIRTH_DATE),
        ("Date de naissance", Refusal.BIRTH_DATE),
        ("Fecha de nacimiento", Refusal.BIRTH_DATE),
        ("Âge", Refusal.BIRTH_DATE),
        ("Sexe", Refusal.GENDER),
        ("Género", Refusal.GENDER),
        ("Sexual Orientation", Refusal.SEXUAL_ORIENTATION),
        ("Sexuelle Orientierung", Refusal.SEXUAL_ORIENTATION),
        ("orientation_sexuelle", Refusal.SEXUAL_ORIENTATION),
        ("Ethnie", Refusal.ETHNICITY),
        ("Ethnische Herkunft", Refusal.ETHNICITY),
        ("Origine ethnique", Refusal.ETHNICITY),
        ("Origen étnico", Refusal.ETHNICITY),
        ("Zivilstand", Refusal.MARITAL_STATUS),
        ("État civil", Refusal.MARITAL_STATUS),
        ("EstadoCivil", Refusal.MARITAL_STATUS),
        ("Nationalität", Refusal.CITIZENSHIP),
        ("Nationalita\u0308t", Refusal.CITIZENSHIP),
        ("Nationalitaet", Refusal.CITIZENSHIP),
        ("NATIONALITÉ", Refusal.CITIZENSHIP),
        ("Nacionalidad", Refusal.CITIZENSHIP),
        ("Staatsbürgerschaft", Refusal.CITIZENSHIP),
        ("Staatsbuergerschaft", Refusal.CITIZENSHIP),
        ("Diagnosis", Refusal.HEALTH),
        ("isPregnant", Refusal.HEALTH),
        ("BMI", Refusal.HEALTH),
        ("SantéStatut", Refusal.HEALTH),
        ("Grado de discapacidad", Refusal.HEALTH),
        ("Kirchensteuer", Refusal.BELIEF),
        ("Affiliation syndicale", Refusal.BELIEF),
        ("Veteran", Refusal.VETERAN),
        ("Military Service", Refusal.VETERAN),
        ("Leistungsbeurteilung", Refusal.PERFORMANCE),
        ("Évaluation", Refusal.PERFORMANCE),
        ("Desempeño", Refusal.PERFORMANCE),
        ("Kündigungsgrund", Refusal.LEAVING_REASON),
    ],
)
def test_sensitive_columns_are_known_by_their_names(header: str, refusal: Refusal) -> None:
    assert rules.refusal_of(header) is refusal


@pytest.mark.parametrize(
    "header",
    [
        "\uff33\uff41\uff4c\uff41\uff52\uff59",
        "Sal\u00adary",
        "\u200bSalary",
        "SALARY_2024_EUR",
        "BaseSalary1",
        "S a l a r y",
    ],
)
def test_a_name_is_known_however_it_is_written(header: str) -> None:
    assert rules.refusal_of(header) is Refusal.PAY


@pytest.mark.parametrize(
    "header",
    [
        *("EmpID", "Employee_Name", "Position", "Department", "ManagerName", "DateofHire"),
        *("Company", "Language", "Stage", "Manager", "Trace", "Essex office", "Page", "Sextant"),
        *("DateofTermination", "EmploymentStatus", "Payton site", "Grade", "Team"),
        *("Nationwide", "International ID", "Payroll ID", "payroll_number", "Rating agency"),
        *("Title", "Job Grade", "Healthcare division", "Orientation date", "Smaller groups"),
        *("Syndicate desk", "Internet nickname", "State", "Zip", "Cost center", "Workplace"),
        *("Abteilung", "Eintrittsdatum", "Gebäude", "Disziplinarischer Vorgesetzter", "Ort"),
        *("Matricule salarié", "Date d'embauche", "Fonction", "Nom de famille", "Pays"),
        *("Fecha de ingreso", "Puesto", "Apellidos", "Correo electrónico", "País"),
    ],
)
def test_harmless_columns_are_not_mistaken(header: str) -> None:
    assert rules.refusal_of(header) is None


@pytest.mark.parametrize(
    ("step", "value", "result"),
    [
        ({"do": "trim"}, "  a   b ", "a b"),
        ({"do": "lower"}, "Ada@X", "ada@x"),
        ({"do": "date", "format": "M/D/YYYY"}, "7/5/2011", "2011-07-05"),
        ({"do": "date", "format": "D/M/YYYY"}, "7/5/2011", "2011-05-07"),
        ({"do": "date", "format": "D.M.YYYY"}, "7.5.2011", "2011-05-07"),
        ({"do": "date", "format": "D-M-YYYY"}, "07-05-2011", "2011-05-07"),
        ({"do": "date", "format": "YYYY/MM/DD"}, "2011/5/7", "2011-05-07"),
        ({"do": "date", "format": "YYYYMMDD"}, "20110507", "2011-05-07"),
        ({"do": "date", "format": "YYYY-MM-DD"}, "2011-05-07T00:00:00", "2011-05-07"),
        ({"do": "date", "format": "M/D/YYYY"}, "  ", ""),
        ({"do": "lookup", "table": {"Áctive ": "a"}, "otherwise": "refuse"}, "ACTIVE", "a"),
        ({"do": "lookup", "table": {"x": "a"}, "otherwise": "keep"}, "y", "y"),
        ({"do": "lookup", "table": {"x": "a"}, "otherwise": "empty"}, "y", ""),
        ({"do": "lookup", "table": {"x": "a"}, "otherwise": "refuse"}, " ", ""),
        ({"do": "split", "on": "/", "take": 2}, "a/b", "b"),
        ({"do": "split", "on": "/", "take": 3}, "a/b", ""),
        ({"do": "default", "value": "d"}, " ", "d"),
        ({"do": "default", "value": "d"}, "v", "v"),
        ({"do": "name_part", "part": "given"}, "Gray,  Elijiah  J ", "Elijiah J"),
        ({"do": "name_part", "part": "family"}, "Ait Sidi , Karthikeyan", "Ait Sidi"),
        ({"do": "name_part", "part": "given"}, "Ada King Lovelace", "Ada King"),
        ({"do": "name_part", "part": "family"}, "Ada King Lovelace", "Lovelace"),
        ({"do": "name_part", "part": "family"}, "Cher", "Cher"),
    ],
)
def test_a_transform_does_one_plain_thing(step: dict[str, Any], value: str, result: str) -> None:
    assert rules.TRANSFORMS[step["do"]](step, value) == result


@pytest.mark.parametrize(
    ("step", "value", "code"),
    [
        ({"do": "date", "format": "M/D/YYYY"}, "13/1/2011", "wrong_date"),
        ({"do": "date", "format": "M/D/YYYY"}, "2/30/2011", "wrong_date"),
        ({"do": "date", "format": "M/D/YYYY"}, "2/3/11", "wrong_date"),
        ({"do": "date", "format": "YYYYMMDD"}, "00000101", "wrong_date"),
        (
            {"do": "date", "format": "D.M.YYYY"},
            "\u0661.\u0661.\u0662\u0660\u0661\u0661",
            "wrong_date",
        ),
        ({"do": "lookup", "table": {"x": "a"}, "otherwise": "refuse"}, "y", "unknown_value"),
    ],
)
def test_what_a_transform_cannot_take_is_an_error(
    step: dict[str, Any], value: str, code: str
) -> None:
    with pytest.raises(TransformError) as refused:
        rules.TRANSFORMS[step["do"]](step, value)

    assert refused.value.code == code


def document(**fields: dict[str, Any]) -> dict[str, Any]:
    made = MappingDocument.model_validate(
        {
            "key": {"column": "id"},
            "fields": {"title": {"columns": ["title"]}, **fields},
            "manager": {"column": "boss", "by": "name"},
        }
    )
    return operations.plain_document(made)


def read(mapping: dict[str, Any], **cells: str) -> operations.Reading:
    return operations.read_row(mapping, list(cells), Line(2, tuple(cells.values())))


def codes(reading: operations.Reading) -> list[tuple[str | None, str]]:
    return [(one.column, one.code) for one in reading.problems]


def test_absent_empty_and_cleared_are_three_things() -> None:
    keep, clear = {"columns": ["x"]}, {"columns": ["x"], "empty": "clear"}

    assert "city" not in read(document(city=keep), id="1", title="t", boss="").values
    assert "city" not in read(document(city=keep), id="1", title="t", boss="", x=" ").values
    assert "city" not in read(document(city=clear), id="1", title="t", boss="").values
    assert read(document(city=clear), id="1", title="t", boss="", x=" ").values["city"] is None


def test_nobody_is_left_without_a_name_or_address() -> None:
    mapping = document(email={"columns": ["mail"], "empty": "clear"})

    assert "email" not in read(mapping, id="1", title="t", mail="").values


def test_templates_use_what_other_fields_became() -> None:
    mapping = document(
        email={"template": "{employee_number}@example.org", "steps": [{"do": "lower"}]},
        employee_number={"columns": ["id"], "steps": [{"do": "trim"}]},
    )

    assert read(mapping, id=" A1 ", title="t").values["email"] == "a1@example.org"
    assert "email" not in read(document(email={"template": "{phone}@x.org"}), id="1").values


def test_braces_in_a_value_ask_for_nothing() -> None:
    mapping = document(
        title={"template": "{employee_number} {external_id}"}, employee_number={"columns": ["x"]}
    )

    assert read(mapping, id="7", x="{external_id}").values["title"] == "{external_id} 7"


def test_several_columns_are_joined_leaving_empty_ones_out() -> None:
    mapping = document(
        given_name={"columns": ["a", "b", "c"], "steps": [{"do": "concat", "with": " "}]}
    )

    assert read(mapping, id="1", a="Ada ", b=" ", c="K").values["given_name"] == "Ada K"


@pytest.mark.parametrize("value", ["03/04/2026", "3.4.2026", "3-4-26"])
def test_an_ambiguous_day_is_an_error_not_a_guess(value: str) -> None:
    reading = read(document(hired_on={"columns": ["hired"]}), id="1", hired=value)

    assert codes(reading) == [("hired", "ambiguous_date")]
    assert reading.values == {}


def test_what_the_directory_refuses_a_file_may_not_bring() -> None:
    mapping = document(
        email={"columns": ["mail"]},
        timezone={"columns": ["zone"]},
        hired_on={"columns": ["hired"]},
    )

    reading = read(mapping, id="1", title="x" * 201, mail="nobody", zone="Mars", hired="1500-01-01")

    assert {column for column, _code in codes(reading)} == {"title", "mail", "zone", "hired"}
    assert {code for _column, code in codes(reading)} == {"wrong_value"}
    assert "nobody" not in repr(reading.problems)


def test_a_row_needs_an_id() -> None:
    assert codes(read(document(), id=" ", title="t")) == [("id", "missing_id")]
    assert codes(read(document(), id="x" * 201, title="t")) == [("id", "wrong_id")]


def test_a_row_that_could_not_be_read_says_why() -> None:
    problem = Problem("x", "wrong_field_count", "The row has 1 field.")

    reading = operations.read_row(document(), ["id"], Line(7, (), problem))

    assert (reading.line, reading.external_id, reading.problems) == (7, None, (problem,))


@pytest.mark.parametrize(
    ("named", "given", "family"),
    [
        ("Brandon R. LeBlanc", "Brandon  R", "LeBlanc"),
        ("elijiah GRAY", "Elijiah ", "Gray"),
        ("Gray, Elijiah", "Elijiah", "Gray"),
        ("Zoe Muller", "Zoë Anne", "Müller"),
        ("Mary-Ann O'Neil", "Mary Ann", "O Neil"),
    ],
)
def test_managers_are_found_however_the_name_is_written(
    named: str, given: str, family: str
) -> None:
    assert rules.manager_names(named) in rules.names_of(given, family)


def test_ignored_columns_say_why() -> None:
    mapping = document() | {"refused_columns": [{"column": "Why", "reason": "Too private."}]}

    ignored = rules.ignored_columns(["id", "title", "boss", "Salary", "Why", "Desk"], mapping)

    assert [(one.column, one.reason, one.detail) for one in ignored] == [
        ("Salary", "refused", "Nothing about pay is kept."),
        ("Why", "refused", "Too private."),
        ("Desk", "not_mapped", "The mapping does not use this column."),
    ]


def test_a_mapping_that_reads_what_is_refused_is_found_out() -> None:
    mapping = document(grade={"columns": ["Salary"]}) | {
        "refused_columns": [{"column": "boss", "reason": "r"}]
    }

    assert [column for column, _why in rules.refused_by(mapping)] == ["Salary", "boss"]


def test_a_suggestion_takes_what_speaks_for_itself_and_nothing_refused() -> None:
    suggested = rules.suggest(["EmpID", "First Name", "surname", "E-Mail", "Salary", "ManagerName"])

    assert suggested["key"] == {"column": "EmpID"}
    assert suggested["manager"] == {"column": "ManagerName", "by": "name"}
    assert {name: rule["columns"] for name, rule in suggested["fields"].items()} == {
        "email": ["E-Mail"],
        "given_name": ["First Name"],
        "family_name": ["surname"],
    }
