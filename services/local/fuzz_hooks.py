"""What the fuzzer is told about this API that no schema can say."""

import itertools
import json
import os
import re
from typing import Any
from uuid import uuid4

import httpx
import schemathesis

# Codes of rules that the document states; a request that follows the document breaks none of them.
# What is missing may depend on another field, so `missing` is not among them.
STATED = frozenset(
    {
        "unknown_field",
        "too_long",
        "too_short",
        "not_whole",
        "wrong_type",
        "not_allowed",
        "unknown_rule",
    }
)
SIBLINGS = frozenset({"matching_unavailable", "notifications_unavailable"})
URL = os.environ.get("FUZZ_URL", "")
SLUG = os.environ.get("FUZZ_ORGANIZATION", "")
# Who holds the credential stays in office: without them, all that is left to see is 401.
HOLDER = os.environ.get("FUZZ_PERSON", "")
KNOWN: dict[str, list[str]] = json.loads(os.environ.get("FUZZ_KNOWN", "{}"))
AN_ID = re.compile("[a-z]{3,4}_[0-7][0-9a-hjkmnp-tv-z]{25}")
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
    """Give every POST a fresh intent, and let ids lead somewhere two times out of three."""
    if case.method.upper() == "POST" and case.headers is not None:
        # A repeated key would replay something deleted since.
        case.headers["Idempotency-Key"] = str(uuid4())
    turn = next(TURNS)
    is_linked = case.meta is not None and case.meta.phase.name == "stateful"
    if turn % 3 and not is_linked:
        _lead_somewhere(case, turn)
    if HOLDER in (case.path_parameters or {}).values():
        case.path_parameters = case.path_parameters | {"person_id": ELSEWHERE}


TURNS = itertools.count()


def _lead_somewhere(case: Any, turn: int) -> None:
    led = _led(case.path_parameters, turn)
    if led != case.path_parameters:
        case.path_parameters = led
        is_positive = case.meta is not None and case.meta.generation.mode.is_positive
        if is_positive and case.headers is not None and "If-Match" in case.headers:
            case.headers["If-Match"] = "*"
    if isinstance(case.body, dict):
        case.body = _led(case.body, turn)


def _led(value: Any, turn: int, name: str = "") -> Any:
    """Return the value with every well-formed id of a known kind replaced by one that exists."""
    if isinstance(value, dict):
        return {key: _led(one, turn, key) for key, one in value.items()}
    if isinstance(value, list):
        return [_led(one, turn, name) for one in value]
    if name in KNOWN and isinstance(value, str) and AN_ID.fullmatch(value):
        return KNOWN[name][turn % len(KNOWN[name])]
    return value


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
