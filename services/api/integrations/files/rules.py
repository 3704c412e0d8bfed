"""Reading a delimited file: its encoding, its delimiter, its header, and every row with its line.

One bad row never spoils a file: it is returned with the reason instead of its cells. That holds for
a quotation mark that is never closed as well: nothing that stands after its line is lost. What
makes the whole file unreadable is an `InvalidError`.
"""

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from shared.errors import InvalidError, Violation

DELIMITERS = (",", ";", "\t", "|")
SNIFFED_BYTES = 64 * 1024
SNIFFED_ROWS = 50
MAX_FIELD_BYTES = 32 * 1024
MAX_COLUMNS = 512
MAX_ROW_LINES = 100
"""How many lines a row may stand on, all line breaks in its cells together."""
MAX_UNCLOSED = 100
"""How many rows a file may have whose quotation marks are never closed; each is read twice."""
MAX_NAMED = 10
UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
BINARY_MARKS = (
    *(b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0", b"%PDF-", b"\x1f\x8b", b"7z\xbc\xaf"),
    *(b"\x89PNG", b"\xff\xd8\xff", b"GIF89a", b"SQLite format 3\x00", b"\x7fELF"),
)
CONTROL_SHARE = 0.2
"""Share of control characters from which what could be decoded is no text all the same."""
_CONTROLS = frozenset(map(chr, range(32))) - frozenset("\t\n\v\f\r\x1a")
WIDE_SHARE = 0.4
"""Share of NUL bytes on one side from which text without a mark is taken for UTF-16."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row, or one of its cells, cannot be used; never with the value itself."""

    column: str | None
    code: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One record and the line it starts on; a record with a problem has no cells."""

    number: int
    cells: tuple[str, ...]
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file as it was understood."""

    encoding: str
    delimiter: str
    header: tuple[str, ...]
    lines: tuple[Line, ...]
    warnings: tuple[str, ...]


def read(content: bytes) -> Sheet:
    """Return the file's header and rows; blank lines are left out."""
    text, encoding = decode(content)
    if not text.strip():
        raise _refused("empty_file", "The file is empty; it needs at least a header.")
    delimiter = sniff(text)
    records = Records(text, delimiter)
    header = _header(next(records, None))
    lines = tuple(_rows(records, header))
    warnings = ("read_as_cp1252",) if encoding == "cp1252" else ()
    return Sheet(encoding, delimiter, header, lines, warnings)


def decode(content: bytes) -> tuple[str, str]:
    """Return the text and the encoding it was in; the byte-order mark is no part of it."""
    if content.startswith(BINARY_MARKS):
        raise _no_text()
    text, encoding = _decoded(content)
    sample = text[:4096]
    if sum(character in _CONTROLS for character in sample) > CONTROL_SHARE * len(sample):
        raise _no_text()
    return text, encoding


def _decoded(content: bytes) -> tuple[str, str]:
    encoding = _encoding(content)
    try:
        return content.decode(encoding).removeprefix("\ufeff"), encoding
    except UnicodeDecodeError:
        if encoding != "utf-8" or content.startswith(UTF8_MARK):
            raise _unreadable() from None
    try:
        # What older spreadsheets write in western Europe; its gaps are no text at all.
        return content.decode("cp1252"), "cp1252"
    except UnicodeDecodeError:
        raise _unreadable() from None


def _encoding(content: bytes) -> str:
    if content.startswith(UTF16_MARKS):
        return "utf-16"
    start = content[:4096]
    half = max(len(start) // 2, 1)
    if start[1::2].count(0) / half > WIDE_SHARE and start[0::2].count(0) == 0:
        return "utf-16-le"
    if start[0::2].count(0) / half > WIDE_SHARE and start[1::2].count(0) == 0:
        return "utf-16-be"
    return "utf-8"


def sniff(text: str) -> str:
    """Return the delimiter whose rows agree best with their header; a comma when none does."""
    sample = text[:SNIFFED_BYTES]
    if len(text) > SNIFFED_BYTES:
        sample = sample[: sample.rfind("\n") + 1] or sample
    return max(DELIMITERS, key=lambda delimiter: _agreement(sample, delimiter))


def _agreement(sample: str, delimiter: str) -> tuple[int, int]:
    widths: list[int] = []
    for record in Records(sample, delimiter):
        if isinstance(record.cells, list) and record.cells:
            widths.append(len(record.cells))
        if len(widths) > SNIFFED_ROWS:
            break
    if not widths or widths[0] < 2:  # noqa: PLR2004 - one column is no evidence
        return 0, 0
    return sum(width == widths[0] for width in widths), widths[0]


@dataclass(frozen=True, slots=True)
class Record:
    """What the parser took for one row, on which lines; or its complaint instead of cells."""

    first: int
    last: int
    cells: list[str] | str


class _Source:
    """The lines of a text as the parser asks for them, no more at once than a row may have."""

    def __init__(self, text: str) -> None:
        self.lines = list(io.StringIO(text, newline=""))
        self.start = self.read = 0

    def __iter__(self) -> "_Source":
        return self

    def __next__(self) -> str:
        if self.read in {len(self.lines), self.start + MAX_ROW_LINES}:
            raise StopIteration
        self.read += 1
        return self.lines[self.read - 1]


class Records:
    """The records of a text in order; one can read on from an earlier line than the parser."""

    def __init__(self, text: str, delimiter: str) -> None:
        """Take the text, whose lines end as they like."""
        self._source = _Source(text)
        self._parser = csv.reader(self._source, delimiter=delimiter, strict=True)

    def __iter__(self) -> "Records":
        """Return itself: there is one place to read on from."""
        return self

    def __next__(self) -> Record:
        """Return the next record; of one that the parser gives up on, its complaint."""
        self._source.start = self._source.read
        try:
            cells: list[str] | str = next(self._parser)
        except csv.Error as error:
            cells = str(error)
        return Record(self._source.start + 1, self._source.read, cells)

    def back_to(self, line: int) -> None:
        """Read on after this line."""
        self._source.read = line


def _blank(cells: list[str] | str) -> bool:
    return isinstance(cells, list) and not any(cell.strip() for cell in cells)


def _header(record: Record | None) -> tuple[str, ...]:
    cells = record.cells if record else []
    if isinstance(cells, str) or _blank(cells):
        raise _refused("unreadable_header", "The first line cannot be read as a header.")
    if len(cells) > MAX_COLUMNS:
        raise _refused("too_many_columns", f"A file has at most {MAX_COLUMNS} columns.")
    names = tuple(unicodedata.normalize("NFC", cell.strip()) for cell in cells)
    _refuse_bad_names(names)
    return names


def _rows(records: Records, header: Sequence[str]) -> Iterator[Line]:
    """Yield every row; of one that ran over several lines in vain, only the first is given up.

    Whether its quotation mark was meant to be closed there cannot be known. What comes after it
    are rows of other people, who would otherwise look as if they had left.
    """
    unclosed: list[int] = []
    for record in records:
        if _blank(record.cells):
            continue
        line = line_of(record.first, record.cells, header)
        if line.problem and _ran_on(record, header):
            unclosed.append(record.first)
            _refuse_many(unclosed)
            records.back_to(record.first)
            line = replace(line, problem=_with_extent(line.problem, record))
        yield line


def _ran_on(record: Record, header: Sequence[str]) -> bool:
    """Tell whether a quotation mark may have swallowed the lines after its own."""
    cells = record.cells
    return record.last > record.first and (isinstance(cells, str) or len(cells) != len(header))


def _with_extent(problem: Problem, record: Record) -> Problem:
    extent = (
        f"The row runs through line {record.last}; what follows line {record.first} was read anew."
    )
    return replace(problem, message=f"{problem.message} {extent}")


def _refuse_many(unclosed: Sequence[int]) -> None:
    if len(unclosed) > MAX_UNCLOSED:
        raise _refused(
            "malformed_quotes",
            f"More than {MAX_UNCLOSED} rows have a quotation mark that is never closed, the first"
            f" on line {unclosed[0]}.",
        )


def _refuse_bad_names(names: Sequence[str]) -> None:
    blank = [str(place) for place, name in enumerate(names, start=1) if not name]
    if blank:
        raise _refused("blank_header", f"Columns without a name: {_listed(blank)}.")
    folded = Counter(name.casefold() for name in names)
    doubled = [
        f"{name} (column {place})"
        for place, name in enumerate(names, start=1)
        if folded[name.casefold()] > 1
    ]
    if doubled:
        raise _refused("duplicate_header", f"Columns of one name: {_listed(doubled)}.")
    if any(not name.isprintable() or len(name) > 200 for name in names):  # noqa: PLR2004
        raise _refused("unreadable_header", "A column's name has 1 to 200 printable characters.")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (", ..." if len(names) > MAX_NAMED else "")


def line_of(number: int, cells: list[str] | str, header: Sequence[str]) -> Line:
    """Return one record as a row under a header, or why it is none."""
    if isinstance(cells, str):
        return Line(number, (), _unparsed(cells))
    while len(cells) > len(header) and not cells[-1].strip():
        cells = cells[:-1]
    problem = _wrong_width(cells, header) or _bad_cell(cells, header)
    return Line(number, () if problem else tuple(cells), problem)


def _unparsed(complaint: str) -> Problem:
    if "limit" in complaint:
        return Problem(None, "too_long", "A field is longer than 32 kB.")
    return Problem(
        None,
        "malformed_quotes",
        "Quotation marks do not match.",
        "Put a field that holds quotation marks in quotation marks and double those inside.",
    )


def _wrong_width(cells: Sequence[str], header: Sequence[str]) -> Problem | None:
    if len(cells) == len(header):
        return None
    # Which cell is missing cannot be known, so no cell of the row can be trusted.
    column = header[len(cells)] if len(cells) < len(header) else header[-1]
    return Problem(
        column,
        "wrong_field_count",
        f"The row has {len(cells)} fields, the header {len(header)}.",
        "A field is missing or one too many, so the cells after it stand in wrong columns.",
    )


def _bad_cell(cells: Sequence[str], header: Sequence[str]) -> Problem | None:
    for column, cell in zip(header, cells, strict=True):
        if "\x00" in cell:
            return Problem(column, "forbidden_character", "The field holds a NUL character.")
        if len(cell) * 4 > MAX_FIELD_BYTES and len(cell.encode()) > MAX_FIELD_BYTES:
            return Problem(column, "too_long", "The field is longer than 32 kB.")
    return None


def _no_text() -> InvalidError:
    return _refused(
        "unreadable_encoding",
        "This is not a text file but a workbook, an archive or another binary; save it as CSV.",
    )


def _unreadable() -> InvalidError:
    return _refused(
        "unreadable_encoding",
        "This is not a text file: it is neither UTF-8, UTF-16 nor Windows-1252.",
    )


def _refused(code: str, detail: str) -> InvalidError:
    return InvalidError("The file cannot be read.", errors=[Violation("#/file", code, detail)])
