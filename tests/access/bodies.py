"""Bodies and queries that a schema alone cannot make valid, from the ids of one organization."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from tests.support.imports import mapping
from tests.support.programs import DAYS, ONE_QUESTION

type Known = Mapping[str, str]

BODIES: Mapping[str, Callable[[Known], Any]] = MappingProxyType(
    {
        "advance_sandbox_clock": lambda _known: {"days": 1},
        "arrange_meeting": lambda known: {"starts_at": known["later"]},
        "create_form": lambda _known: {"role": "mentor", "fields": [ONE_QUESTION]},
        "create_mapping": lambda _known: {"name": "Columns", "document": mapping()},
        "create_policy": lambda known: {
            "program_id": known["program"],
            "name": "Usual",
            "soft": [{"rule": "path_fit", "weight": 100}],
        },
        "create_program": lambda known: {
            "name": "Winter cohort",
            "code": "winter",
            "kind": "cohort",
            **DAYS,
            "support_contact": {"email": "help@example.org"},
            "coordinator_ids": [known["person"]],
        },
        "pause_mentorship": lambda known: {"to_on": known["later"][:10]},
        "check_policy": lambda _known: {"policy": {"soft": [{"rule": "path_fit", "weight": 100}]}},
        "simulate_policy": lambda known: {
            "track_id": known["track"],
            "policy_id": known["match_policy"],
        },
        "compare_match_runs": lambda known: {
            "base_run_id": known["match_run"],
            "other_run_id": known["other_match_run"],
        },
        "swap_proposals": lambda known: {"with_proposal_id": known["other_proposal"]},
    }
)
QUERIES: Mapping[str, Callable[[Known], Mapping[str, str]]] = MappingProxyType(
    {
        "explain_pair": lambda known: {"pair": f"{known['participant']},{known['partner']}"},
        "list_policies": lambda known: {"program_id": known["program"]},
    }
)
# Which thing takes the place of the usual one of its kind.
STAND_INS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "register_participant": {"program": "open_program", "track": "open_track"},
        "invite_participants": {"program": "open_program", "track": "open_track"},
        "change_policy": {"match_policy": "unused_policy"},
    }
)
# Who asks where the first who may would be refused for another reason.
ASKERS: Mapping[str, str] = MappingProxyType({"register_participant": "coordinator"})
