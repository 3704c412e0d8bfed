"""What must be known of somebody before a provider may bring them in."""

from typing import Annotated, ClassVar

from pydantic import ConfigDict

from shared.schemas.base import Body, Email, Line


class Newcomer(Body):
    """A person as the provider describes them; without a name they stay outside."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore", str_strip_whitespace=True)

    email: Email
    given_name: Annotated[str, Line(120, "Ada")]
    family_name: Annotated[str, Line(120, "Lovelace")]
