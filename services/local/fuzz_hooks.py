"""What the fuzzer is told about this API that no schema can say."""

import os
from typing import Any
from uuid import uuid4

import httpx
import schemathesis

# Codes of rules that the document states; a request that follows the document breaks none of them.
# What is missing may depend on another field, so `missing` is not among them.
STATED = frozenset(
    {"unknown_field", "too_long", "too_short", "not_whole", "wrong_type", "not_allowed"}
)
SIBLINGS = frozenset({"matching_unavailable", "notifications_unavailable"})
URL = os.environ.get("FUZZ_URL", "")
SLUG = os.environ.get("FUZZ_ORGANIZATION", "")
# Who holds the credential stays in office: without them, all that is left to see is 401.
HOLDER = os.environ.get("FUZZ_PERSON", "")
ELSEWHERE = "per_01kajv7v1cefh8ws6q1fyv4m2z"


@schemathesis.auth(refresh_interval=2)
class Administrator:
    """Signs in anew all the time: a role granted to the administrator ends their tokens."""

    def get(self, _case: Any, _context: Any) -> str:
        """Return a fresh token of the organization under attack."""
        answer = httpx.post(
            f"{URL}/operator/sign-ins",
            json={"organization_slug": SLUG, "person_id": HOLDER},
            headers={"Authorization": f"Bearer {os.environ['FUZZ_OPERATOR_TOKEN']}"},
            trust_env=False,
            timeout=30,
        )
        answer.raise_for_status()
        token: str = answer.json()["access_token"]
        return token

    def set(self, case: Any, data: str, _context: Any) -> None:
        """Let a request carry the token."""
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:  # noqa: ARG001 - the hook's names
    """Give every POST a fresh intent, since a repeated key replays something deleted since."""
    if case.method.upper() == "POST" and case.headers is not None:
        case.headers["Idempotency-Key"] = str(uuid4())
    if HOLDER in (case.path_parameters or {}).values():
        case.path_parameters = case.path_parameters | {"person_id": ELSEWHERE}


@schemathesis.check
def what_follows_the_document_is_taken(context: Any, response: Any, case: Any) -> None:  # noqa: ARG001 - the check's names
    """Tell a rule that the document states from one it cannot, such as a reference that leads on.

    The fuzzer's own check knows the status alone.
    """
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        code = response.json()["code"]
        if code not in SIBLINGS:
            raise AssertionError(f"not available: {code}")
    is_positive = case.meta is not None and case.meta.generation.mode.is_positive
    if not is_positive or response.status_code != httpx.codes.BAD_REQUEST:
        return
    broken = {one["code"] for one in response.json().get("errors", [])} & STATED
    if broken:
        raise AssertionError(f"refused although it follows the document: {sorted(broken)}")
