"""Columns as this product writes them: typed, and each with its class of confidentiality."""

from enum import Enum as PythonEnum
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, DateTime, Enum, MetaData, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Confidentiality(StrEnum):
    """Who may ever see a column outside its own feature."""

    PUBLIC = "public"
    INTERNAL = "internal"
    PERSONAL = "personal"
    CONFIDENTIAL = "confidential"


def metadata() -> MetaData:
    """Return the metadata of one service: services never share tables."""
    return MetaData(naming_convention=NAMING)


def one_of(values: type[PythonEnum]) -> Enum:
    """Store an enum as its value in text, checked by the database.

    SQLAlchemy's default is a native type that stores member names and needs migrations to grow.
    """
    return Enum(
        values,
        native_enum=False,
        create_constraint=True,
        length=32,
        values_callable=lambda members: [member.value for member in members],
        name=values.__name__.lower(),
    )


def column(
    sa_type: Any = None,
    *,
    confidentiality: Confidentiality = Confidentiality.INTERNAL,
    **options: Any,
) -> Any:
    """Declare a column and who may see it."""
    kwargs = options.pop("sa_column_kwargs", {})
    kwargs["info"] = {"confidentiality": confidentiality.value}
    if sa_type is not None:
        options["sa_type"] = sa_type
    return Field(sa_column_kwargs=kwargs, **options)


def personal(sa_type: Any = None, **options: Any) -> Any:
    """Declare a column about one identifiable person."""
    return column(sa_type, confidentiality=Confidentiality.PERSONAL, **options)


def confidential(sa_type: Any = None, **options: Any) -> Any:
    """Declare a column that leaves its feature only for those its audience names."""
    return column(sa_type, confidentiality=Confidentiality.CONFIDENTIAL, **options)


def organization_key() -> Any:
    """Declare the column that leads every key."""
    return column(Uuid(as_uuid=True), primary_key=True)


def identity() -> Any:
    """Declare the id; its value is made in Python."""
    return column(Uuid(as_uuid=True), primary_key=True)


def instant(**options: Any) -> Any:
    """Declare a point in time, in UTC."""
    return column(DateTime(timezone=True), **options)


def document(**options: Any) -> Any:
    """Declare a JSON document."""
    return column(JSONB, **options)


def reference(**options: Any) -> Any:
    """Declare an id of something in the same organization."""
    return column(Uuid(as_uuid=True), **options)


def at_least(name: str, minimum: int) -> CheckConstraint:
    """Let the database refuse smaller numbers too."""
    return CheckConstraint(f"{name} >= {minimum}", name=f"{name}_at_least_{minimum}")
