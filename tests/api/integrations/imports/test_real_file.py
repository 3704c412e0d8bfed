"""A real HR export, with every fault such files have, through the whole import."""

import json
from collections import Counter
from pathlib import Path

import pytest

from services.api.integrations.files import rules as files
from services.api.integrations.mappings import rules as mappings
from services.api.resources import WorkerResources
from tests.support.apps import World
from tests.support.imports import Importing, importing
from tests.support.work import bench

ROOT = Path(__file__).parents[4]
REAL_FILE = ROOT.parent / "shared" / "data" / "hr-export-v14.csv"
MAPPING = ROOT / "examples" / "hr-export" / "mapping.json"
REFUSED = {
    *("MarriedID", "MaritalStatusID", "MaritalDesc", "GenderID", "Sex", "Salary", "DOB"),
    *("CitizenDesc", "HispanicLatino", "RaceDesc", "FromDiversityJobFairID", "RecruitmentSource"),
    *("TermReason", "Absences", "DaysLateLast30", "PerfScoreID", "PerformanceScore"),
    *("EngagementSurvey", "EmpSatisfaction", "LastPerformanceReview_Date", "Zip"),
}

pytestmark = pytest.mark.skipif(
    not REAL_FILE.exists(), reason=f"the real export is not at {REAL_FILE}"
)


@pytest.fixture
async def desk(worker: WorkerResources, world: World) -> Importing:
    document = json.loads(MAPPING.read_text())
    return await importing(world, bench(worker, world).resources.database, document)


async def test_everything_but_the_bad_rows_goes_in(desk: Importing) -> None:
    run = await desk.bring(REAL_FILE.read_bytes(), mode="full")
    rows = await desk.rows(run["id"])
    people = await desk.people()

    assert run["status"] == "partial"
    assert run["counts"] | {"seen": 311, "created": 304, "failed": 7} == run["counts"]
    failed = {
        row["line"]: [(one["code"], one["column"]) for one in row["errors"]]
        for row in rows
        if row["outcome"] == "failed"
    }
    assert failed == {
        **{line: [("missing_id", "EmpID")] for line in (2, 3, 4, 5, 6, 24)},
        10: [("wrong_field_count", "Absences")],
    }
    assert run["managers"] == {
        "named": 304,
        "resolved": 231,
        "unknown": 73,
        "ambiguous": 0,
        "circular": 0,
    }
    assert sum(1 for one in people.values() if one["manager_id"]) == 231
    assert Counter(one["status"] for one in people.values()) == {"active": 203, "inactive": 101}
    refused = {one["column"] for one in run["ignored_columns"] if one["reason"] == "refused"}
    assert refused == REFUSED
    assert people["10017"]["family_name"] == "Liebig"
    assert people["10017"]["email"] == "10017@example.org"

    again = await desk.bring(REAL_FILE.read_bytes(), mode="full")

    assert again["counts"] | {"unchanged": 304, "failed": 7, "created": 0} == again["counts"]


def test_nothing_refused_is_left_in_what_is_kept() -> None:
    sheet = files.read(REAL_FILE.read_bytes())
    document = json.loads(MAPPING.read_text())

    kept = mappings.columns_of(document)

    assert REFUSED.isdisjoint(kept)
    assert set(sheet.header) >= REFUSED
    assert len(sheet.lines) == 311
    assert mappings.refused_by(document) == []
