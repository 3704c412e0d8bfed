"""Reading files: every encoding with every delimiter, and every fault a row can have."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.integrations.files import rules
from shared.errors import InvalidError

NAMES = "id,name\n1,Zoë\n2,Åsa\n"


def lines(content: bytes) -> list[tuple[int, tuple[str, ...], str | None]]:
    return [
        (one.number, one.cells, one.problem.code if one.problem else None)
        for one in rules.read(content).lines
    ]


def refusal(content: bytes) -> tuple[str, str]:
    with pytest.raises(InvalidError) as refused:
        rules.read(content)
    violation = refused.value.errors[0]
    return violation.code, violation.detail


@pytest.mark.parametrize("delimiter", rules.DELIMITERS)
@pytest.mark.parametrize(
    ("encoding", "understood_as"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("cp1252", "cp1252"),
    ],
)
def test_every_encoding_and_delimiter_reads_the_same(
    encoding: str, understood_as: str, delimiter: str
) -> None:
    sheet = rules.read(NAMES.replace(",", delimiter).encode(encoding))

    assert (sheet.encoding, sheet.delimiter) == (understood_as, delimiter)
    assert sheet.header == ("id", "name")
    assert [line.cells for line in sheet.lines] == [("1", "Zoë"), ("2", "Åsa")]
    assert sheet.warnings == (("read_as_cp1252",) if encoding == "cp1252" else ())


@pytest.mark.parametrize("content", [b"id,name\n1,\x81\n", b"\xef\xbb\xbfid\n\xff", b"\xff\xfea"])
def test_what_is_no_text_is_refused(content: bytes) -> None:
    assert refusal(content)[0] == "unreadable_encoding"


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04\x14\x00\x06\x00\x08\x00[Content_Types].xml",
        b"%PDF-1.7\nid,name\n",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        b"\x00\x01\x02\x03id\x04\x05",
        b"id,name\n\x81\xff\x81",
    ],
)
def test_a_binary_is_told_that_it_is_no_text_file(content: bytes) -> None:
    code, detail = refusal(content)

    assert code == "unreadable_encoding"
    assert "not a text file" in detail


@pytest.mark.parametrize("content", [b"", b"   \n \n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(content: bytes) -> None:
    assert refusal(content)[0] == "empty_file"


def test_a_header_alone_has_no_rows() -> None:
    assert rules.read(b"id,name\n").lines == ()


@pytest.mark.parametrize(
    ("header", "code", "named"),
    [
        ("id,name,ID", "duplicate_header", "id (column 1), ID (column 3)"),
        ("id,,name, ", "blank_header", "2, 4"),
        (",,", "unreadable_header", "header"),
        ('id,"na', "unreadable_header", "header"),
        ("id,na\x07me", "unreadable_header", "printable"),
        (",".join(f"c{number}" for number in range(513)), "too_many_columns", "512"),
    ],
)
def test_a_bad_header_names_what_is_wrong(header: str, code: str, named: str) -> None:
    found, detail = refusal(f"{header}\n1,2\n".encode())

    assert found == code
    assert named in detail


def test_line_numbers_survive_quoted_newlines_and_blank_lines() -> None:
    content = b'id,name\n1,"two\nlines"\n\n,\n2,plain\n\n\n'

    assert lines(content) == [(2, ("1", "two\nlines"), None), (6, ("2", "plain"), None)]


def test_quoted_delimiters_and_doubled_quotes_are_text() -> None:
    assert lines(b'id,name\n1,"a, ""b"""\n') == [(2, ("1", 'a, "b"'), None)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_reads_the_same(end: bytes) -> None:
    assert lines(end.join([b"id,name", b"1,a", b"2,b"])) == [
        (2, ("1", "a"), None),
        (3, ("2", "b"), None),
    ]


def test_a_row_with_a_cell_too_few_or_too_many_keeps_no_cell() -> None:
    assert lines(b"a,b,c\n1,2\n1,2,3,4\n1,2,3\n") == [
        (2, (), "wrong_field_count"),
        (3, (), "wrong_field_count"),
        (4, ("1", "2", "3"), None),
    ]


def test_blank_cells_after_the_last_column_do_not_matter() -> None:
    assert lines(b"a,b\n1,2,, \n") == [(2, ("1", "2"), None)]


def test_a_missing_cell_is_named_by_the_first_column_without_one() -> None:
    (line,) = rules.read(b"a,b,c\n1,2\n").lines

    assert line.problem is not None
    assert line.problem.column == "c"


def test_a_nul_character_spoils_its_row_only() -> None:
    assert lines(b"a,b\n1,x\x00y\n2,z\n") == [
        (2, (), "forbidden_character"),
        (3, ("2", "z"), None),
    ]


def test_an_overlong_field_spoils_its_row_only() -> None:
    long = b"x" * (rules.MAX_FIELD_BYTES + 1)

    assert lines(b"a,b\n1," + long + b"\n2,z\n") == [
        (2, (), "too_long"),
        (3, ("2", "z"), None),
    ]


def test_a_field_beyond_the_parsers_own_limit_spoils_its_row_only() -> None:
    assert lines(b"a,b\n1," + b"x" * 200_000 + b"\n2,z\n")[-1] == (3, ("2", "z"), None)


def test_quotes_that_do_not_match_are_a_problem_of_their_row() -> None:
    assert lines(b'a,b\n"x"y,1\n2,z\n') == [
        (2, (), "malformed_quotes"),
        (3, ("2", "z"), None),
    ]


def test_a_quotation_mark_that_is_never_closed_swallows_nobody() -> None:
    many = "".join(f"{number},Name {number}\n" for number in range(2_000))
    sheet = rules.read(f'a,b\n1,x\n2,"never closed\n{many}'.encode())

    problems = [line for line in sheet.lines if line.problem]
    assert len(sheet.lines) == 2_002
    assert [(line.number, line.problem and line.problem.code) for line in problems] == [
        (3, "malformed_quotes")
    ]
    assert sheet.lines[-1].cells == ("1999", "Name 1999")
    assert problems[0].problem is not None
    assert f"runs through line {2 + rules.MAX_ROW_LINES}" in problems[0].problem.message


def test_a_quotation_mark_at_the_end_of_a_file_says_how_far_it_ran() -> None:
    first, second = rules.read(b'a,b\n1,"never closed\n2,z\n').lines

    assert first.problem is not None
    assert (first.number, first.problem.code) == (2, "malformed_quotes")
    assert "runs through line 3" in first.problem.message
    assert second.cells == ("2", "z")


def test_a_quotation_mark_that_another_one_seems_to_close_swallows_nobody() -> None:
    # The mark of an inch ends the field that a stray one began.
    assert lines(b'a,b\n1,"Bob\n2,Al\n3,24",x\n4,z\n') == [
        (2, (), "wrong_field_count"),
        (3, ("2", "Al"), None),
        (4, (), "wrong_field_count"),
        (5, ("4", "z"), None),
    ]


def test_a_cell_of_many_lines_is_one_cell() -> None:
    note = "\n".join(f'line {number}, with ""quotes""' for number in range(rules.MAX_ROW_LINES))

    (first, second) = rules.read(f'a,b\n1,"{note}"\n2,z\n'.encode()).lines

    assert first.cells == ("1", note.replace('""', '"'))
    assert (second.number, second.cells) == (2 + rules.MAX_ROW_LINES, ("2", "z"))


def test_a_row_of_too_many_lines_is_given_up() -> None:
    note = "\n" * rules.MAX_ROW_LINES

    found = lines(f'a,b\n1,"{note}"\n2,z\n'.encode())

    assert found[0] == (2, (), "malformed_quotes")
    assert found[-1] == (3 + rules.MAX_ROW_LINES, ("2", "z"), None)


@pytest.mark.parametrize("row", ['1,"x\n', 'a","b\n'])
def test_a_file_full_of_open_quotation_marks_is_refused_soon(row: str) -> None:
    code, detail = refusal(f"a,b\n{row * 200_000}".encode())

    assert code == "malformed_quotes"
    assert "on line 2" in detail


def test_the_delimiter_is_the_one_whose_rows_agree() -> None:
    assert rules.read(b"id;name\n1;a, b\n2;c, d\n").delimiter == ";"
    assert rules.read(b"id\n1\n").delimiter == ","
    assert rules.read(b"a\tb\n" + b"1\tx, y; z|w\n" * 5000).delimiter == "\t"


def test_formula_cells_are_text_like_any_other() -> None:
    assert lines(b"id,name\n1,=1+1\n") == [(2, ("1", "=1+1"), None)]


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_do_more_than_be_refused(content: bytes) -> None:
    try:
        sheet = rules.read(content)
    except InvalidError:
        return
    assert all(one.problem or len(one.cells) == len(sheet.header) for one in sheet.lines)
