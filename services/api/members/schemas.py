"""Bodies of what members do."""

from typing import Annotated
from uuid import UUID

from services.api.programs.schemas import PersonId
from shared.schemas.base import Body, Id

MemberId = Annotated[UUID, Id("member")]


class DriverChange(Body):
    """Whose move it is from now on."""

    person_id: PersonId
