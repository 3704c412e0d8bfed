"""A bench of half an hour tells each figure as soon as it is there."""

import json
from collections.abc import Iterator

import pytest

from tests.bench import report
from tests.bench.report import Figure

QUICK = Figure("quick work (s)", 0.5, 2.0, 4.0, ">= 3x", met=True)
SLOW = Figure("slow work (s)", 9.0, None, None, "<= 5", met=False)


@pytest.mark.parametrize("as_json", [False, True])
def test_tells_a_figure_before_the_next_is_measured(
    capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    heard: list[str] = []

    def measured() -> Iterator[Figure]:
        yield QUICK
        heard.extend(capsys.readouterr())
        yield SLOW

    told = report.tell(measured(), as_json=as_json, rounds=3)

    lines = heard[1 if as_json else 0].splitlines()
    assert [line.split() for line in lines] == [
        ["work", "ours", "peer", "ratio", "bar", "met"],
        ["quick", "work", "(s)", "0.5", "2.0", "4.0", ">=", "3x", "yes"],
    ]
    assert heard[0 if as_json else 1] == ""
    assert told == [QUICK, SLOW]
    assert not report.all_met(told)


def test_columns_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    report.tell([QUICK, SLOW], as_json=False, rounds=3)

    *lines, about = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert about == f"{report.machine()}; rounds 3"


def test_scripts_read_one_document_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    report.tell([QUICK, SLOW], as_json=True, rounds=3)

    out, lines = capsys.readouterr()
    document = json.loads(out)
    assert (document["machine"], document["rounds"]) == (report.machine(), 3)
    assert [(one["work"], one["met"]) for one in document["rows"]] == [
        ("quick work (s)", True),
        ("slow work (s)", False),
    ]
    assert [line.split()[0] for line in lines.splitlines()] == ["work", "quick", "slow"]
