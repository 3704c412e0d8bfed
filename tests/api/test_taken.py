"""What a broken unique index says: the same as the rule that is checked before it."""

import pytest

from services.api.main import TAKEN
from services.api.migrations.tables import METADATA
from shared.web import codes


def unique_names() -> set[str]:
    """Return every name of an index or key of the api that keeps something unique."""
    names = {str(table.primary_key.name) for table in METADATA.tables.values()}
    indexes = (index for table in METADATA.tables.values() for index in table.indexes)
    return names | {str(index.name) for index in indexes if index.unique}


def test_every_named_constraint_exists() -> None:
    assert TAKEN.keys() <= unique_names()


@pytest.mark.parametrize("name", TAKEN)
def test_every_answer_is_a_documented_conflict(name: str) -> None:
    assert codes.CODES[TAKEN[name][0]].status == 409
