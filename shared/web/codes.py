"""Every code an answer may carry: its status, its words in English and German, what to do.

This table is the only place that knows them; `docs/errors.md` is written from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LANGUAGES = ("en", "de")
TYPE = "urn:mentoring:problem:"


@dataclass(frozen=True, slots=True)
class Code:
    """One code: the status it answers with, its title in each language, and advice."""

    status: int
    en: str
    de: str
    advice: str


@dataclass(frozen=True, slots=True)
class Family:
    """What holds for every code of a status: in German for people, and what each of three does."""

    hint_de: str
    user: str
    operator: str


FAMILIES: Mapping[int, Family] = MappingProxyType(
    {
        400: Family("Bitte korrigieren Sie die Anfrage.", "Correct the marked input.", "Nothing."),
        401: Family(
            "Bitte melden Sie sich an.", "Sign in again.", "Check the clock if it spreads."
        ),
        403: Family(
            "Ihre Berechtigung reicht dafür nicht aus.",
            "Ask an administrator for the role.",
            "Check roles and scopes with the organization.",
        ),
        404: Family("Hier ist nichts zu finden.", "Go back and look again.", "Nothing."),
        405: Family("Diese Adresse kennt die Methode nicht.", "Nothing.", "Nothing."),
        409: Family(
            "Der aktuelle Stand lässt das nicht zu.", "Look at the current state.", "Nothing."
        ),
        410: Family("Das gibt es nicht mehr.", "Ask for a fresh link.", "Nothing."),
        412: Family("Bitte laden Sie den neuen Stand.", "Reload, then change again.", "Nothing."),
        413: Family(
            "Bitte senden Sie weniger Daten.", "Send less.", "Raise the limit if it is due."
        ),
        415: Family("Bitte senden Sie ein anderes Format.", "Nothing.", "Nothing."),
        428: Family("Bitte nennen Sie die Version.", "Reload, then change again.", "Nothing."),
        429: Family("Bitte warten Sie etwas.", "Wait a moment.", "Raise the quota if it is due."),
        500: Family(
            "Bitte versuchen Sie es später noch einmal.",
            "Try later and name the request id when asking for help.",
            "Find the request id in the log.",
        ),
        503: Family(
            "Bitte versuchen Sie es gleich noch einmal.",
            "Try again in a moment.",
            "Look at the health of the part that the code names.",
        ),
    }
)

# Where what holds for the status would mislead.
EXCEPTIONS: Mapping[str, Family] = MappingProxyType(
    {
        "origin_not_allowed": Family(
            "Bitte wenden Sie sich an den Betrieb.",
            "Nothing.",
            "Add the origin to `MENTORING_CORS_ORIGINS` if its pages are trusted.",
        ),
        "email_codes_off": Family(
            "Bitte melden Sie sich mit dem Konto Ihrer Organisation an.",
            "Sign in with the account of your organization.",
            "If no org_admin gets in any more, open codes with `/operator/email-codes`.",
        ),
    }
)

_ROWS = (
    # 400: the request is wrong and stays wrong
    (400, "invalid_request", "The request is not valid", "Die Anfrage ist ungültig",
     "Mend each entry of `errors`; `pointer` says where it lies."),
    (400, "invalid_json", "The body is not JSON", "Der Inhalt ist kein JSON",
     "Send JSON in UTF-8, without NaN, at most 32 levels deep."),
    (400, "invalid_id", "An id is malformed", "Eine Kennung ist fehlerhaft",
     "Send ids as they were returned; each kind has its prefix."),
    (400, "invalid_cursor", "The cursor does not belong here", "Der Cursor passt nicht hierher",
     "Use `next_cursor` with the same filters, or start without a cursor."),
    (400, "unknown_parameter", "A query parameter is unknown", "Ein Parameter ist unbekannt",
     "Remove the parameter; an ignored filter would show the wrong people."),
    (400, "unknown_reference", "A reference leads nowhere", "Ein Verweis führt ins Leere",
     "Refer to something this credential can read."),
    (400, "code_invalid", "The code does not fit", "Der Code passt nicht",
     "Ask for the code again; after a few wrong ones, or ten minutes, start anew."),
    # 401: who are you
    (401, "unauthenticated", "A credential is needed", "Eine Anmeldung ist nötig",
     "Send `Authorization: Bearer` with a token or an API key."),
    (401, "token_invalid", "The credential is not valid", "Die Anmeldung ist ungültig",
     "Fetch a new token; this one is malformed, forged or withdrawn."),
    (401, "token_expired", "The token has expired", "Die Anmeldung ist abgelaufen",
     "Fetch a new token; tokens live for minutes."),
    (401, "key_revoked", "The key was revoked", "Der Schlüssel wurde zurückgezogen",
     "Use another key; this one has expired or was revoked."),
    (401, "invalid_client", "The client is not known", "Der Client ist unbekannt",
     "Check the client's id and secret."),
    # 403: known, but not allowed
    (403, "forbidden", "This is not allowed", "Das ist nicht erlaubt",
     "Offer this only to the roles that the operation names in `x-access`."),
    (403, "insufficient_scope", "A scope is missing", "Ein Berechtigungsumfang fehlt",
     "Use a credential that carries the scope named in `x-access`."),
    (403, "origin_not_allowed", "Pages of this origin may not ask that",
     "Seiten dieser Herkunft dürfen das nicht fragen",
     "Call from an origin that the operator lists, with the methods and headers documented."),
    (403, "email_codes_off", "Codes by mail are not in use here",
     "Codes per E-Mail sind hier nicht in Gebrauch",
     "Send the person to `/oauth/authorize`; the organization has its own identity provider."),
    # 404 to 415: protocol
    (404, "not_found", "There is nothing here", "Hier ist nichts",
     "Treat absent and hidden alike; the API does not tell them apart."),
    (405, "method_not_allowed", "The method is not allowed here", "Die Methode ist nicht erlaubt",
     "Use one of the methods listed in `Allow`."),
    (413, "content_too_large", "The body is too large", "Der Inhalt ist zu groß",
     "Keep bodies below 1 MiB; larger files go through imports."),
    (415, "unsupported_media_type", "The body has the wrong media type",
     "Der Inhalt hat das falsche Format",
     "Send `application/json`, or `application/merge-patch+json` with PATCH, uncoded."),
    # 409: a rule says no, now
    (409, "conflict", "The current state does not allow that", "Der Stand lässt das nicht zu",
     "Read the resource again and decide anew."),
    (409, "invalid_transition", "This step is not possible now", "Dieser Schritt geht jetzt nicht",
     "Offer only the steps listed in `allowed`."),
    (409, "already_ended", "It has ended already", "Es ist bereits beendet",
     "Stop offering changes; what has ended stays as it is."),
    (409, "already_exists", "It exists already", "Das gibt es bereits",
     "Read the existing one instead of creating another."),
    (409, "already_enrolled", "The person takes part already", "Die Person nimmt bereits teil",
     "Use the existing participation."),
    (409, "capacity_reached", "No place is free", "Es ist kein Platz frei",
     "Choose somebody else, or wait until a place is free."),
    (409, "capacity_below_load", "More places are taken than that", "Es sind mehr Plätze belegt",
     "Choose a capacity not below what is already taken."),
    (409, "limit_reached", "A limit was reached", "Eine Grenze ist erreicht",
     "End something before starting another."),
    (409, "seat_taken", "The place has been taken", "Der Platz ist vergeben",
     "Reload the proposals; somebody was faster."),
    (409, "duplicate_email", "The address is in use", "Die Adresse wird bereits verwendet",
     "Find the person with this address instead of adding another."),
    (409, "duplicate_external_id", "The external id is in use",
     "Die externe Kennung wird bereits verwendet",
     "Find the person with this external id instead of adding another."),
    (409, "manager_cycle", "A reporting line would form a circle",
     "Die Berichtslinie würde einen Kreis bilden", "Choose another manager."),
    (409, "last_org_admin", "The last administrator must stay",
     "Der letzte Administrator muss bleiben", "Grant the role to somebody else first."),
    (409, "holds_a_role", "The person holds a role", "Die Person hat eine Rolle",
     "Let an org_admin do it in person, at an app with the scope admin."),
    (409, "config_frozen", "This is settled since the program was published",
     "Das steht seit der Veröffentlichung fest", "Make a new program for another format."),
    (409, "policy_frozen", "The policy is in use and stays as it is",
     "Die Richtlinie ist in Gebrauch und bleibt", "Make a new version of the policy."),
    (409, "format_rule_broken", "The format does not allow that",
     "Das Format lässt das nicht zu", "Each broken rule is an entry of `errors`."),
    (409, "flash_too_long", "The meeting is too long for this format",
     "Das Treffen ist für dieses Format zu lang", "Choose a shorter meeting."),
    (409, "program_closed", "The program is over", "Das Programm ist beendet",
     "Stop offering changes; what is over stays as it is."),
    (409, "format_in_use", "The format is in use", "Das Format wird verwendet",
     "Make a new track for another format."),
    (409, "not_matchable", "The form cannot be used for matching",
     "Das Formular eignet sich nicht zum Vergleichen", "Mend the questions named in `errors`."),
    (409, "not_ready", "Something is missing first", "Es fehlt noch etwas",
     "Each missing thing is an entry of `errors`."),
    (409, "confirm_count", "Confirm how many are affected", "Bestätigen Sie die Zahl",
     "Repeat the number of live mentorships in the body."),
    (409, "registration_closed", "Registration is closed", "Die Anmeldung ist geschlossen",
     "Show when registration opens, and offer nothing until then."),
    (409, "not_eligible", "The person does not qualify", "Die Person erfüllt die Bedingungen nicht",
     "Show the conditions of the program."),
    (409, "form_incomplete", "Answers are missing", "Es fehlen Antworten",
     "Each missing answer is an entry of `errors`."),
    (409, "form_version_retired", "The form has a newer version", "Das Formular ist veraltet",
     "Load the current form and answer that."),
    (409, "preview_required", "The preview comes first", "Zuerst kommt die Vorschau",
     "Show the preview, then submit."),
    (409, "reason_required", "A reason is needed", "Eine Begründung ist nötig",
     "Ask for a reason and send it along."),
    (409, "second_person_required", "A second person has to agree",
     "Eine zweite Person muss zustimmen", "Let somebody else decide."),
    (409, "reporting_line", "One reports to the other", "Eine Person berichtet an die andere",
     "Choose somebody outside the reporting line."),
    (409, "excluded_pair", "These two are kept apart", "Diese beiden bleiben getrennt",
     "Choose somebody else."),
    (409, "hard_rule_failed", "A hard rule of the policy forbids it",
     "Eine feste Regel verbietet das", "Each broken rule is an entry of `errors`."),
    (409, "connection_paused", "The connection is paused", "Die Verbindung ruht",
     "Make the connection active again, or use another."),
    (409, "matching_paused", "Matching is paused", "Das Matching ruht",
     "Wait until the coordinator resumes it."),
    (409, "not_explainable", "No pair of this is explained",
     "Hiervon wird kein einzelnes Paar erklärt",
     "Show the parts of the proposal, and the reasons of those who were left."),
    (409, "proposal_locked", "The proposal is locked", "Der Vorschlag ist gesperrt",
     "Unlock it first."),
    (409, "stale_run", "The run is out of date", "Der Lauf ist veraltet",
     "Run again, then decide on the new proposals."),
    (409, "beyond_program", "It would outlast the program", "Es ginge über das Programm hinaus",
     "Choose an earlier end."),
    (409, "pause_too_long", "The pause is too long", "Die Pause ist zu lang",
     "Choose an earlier return."),
    (409, "other_side_needed", "The other side has to agree", "Die andere Seite muss zustimmen",
     "Wait until the other side has asked for the same."),
    (409, "not_a_member", "Not a member", "Kein Mitglied", "Choose one of the members."),
    (409, "full", "The group is full", "Die Gruppe ist voll", "Choose another group."),
    (409, "last_facilitator", "The last facilitator must stay", "Die letzte Leitung muss bleiben",
     "Hand over first."),
    (409, "last_mentor", "The last mentor must stay", "Der letzte Mentor muss bleiben",
     "End the mentorship instead."),
    (409, "agreement_required", "The agreement comes first", "Zuerst kommt die Vereinbarung",
     "Propose and sign the agreement."),
    (409, "in_the_past", "The time has passed", "Der Zeitpunkt ist vorbei",
     "Choose a later time, or log the meeting afterwards."),
    (409, "one_meeting_only", "This format has one meeting", "Dieses Format hat ein Treffen",
     "Reschedule the existing meeting."),
    (409, "flash_too_long", "A flash meeting is shorter", "Ein Kurztreffen ist kürzer",
     "Offer 15 to 30 minutes."),
    (409, "outside_mentorship", "The time lies outside the mentorship",
     "Der Zeitpunkt liegt außerhalb des Mentorings", "Choose a time within it."),
    (409, "clash", "It clashes with another meeting", "Es überschneidet sich",
     "Choose another time."),
    (409, "too_early", "It is too early for that", "Dafür ist es zu früh",
     "Wait until the meeting has begun."),
    (409, "window_closed", "It is too late for that", "Dafür ist es zu spät",
     "Ask the coordinator."),
    (409, "not_available", "The person is not available", "Die Person ist nicht verfügbar",
     "Choose somebody else."),
    (409, "plan_stale", "The plan is out of date", "Der Plan ist veraltet",
     "Plan again and review the new plan."),
    (409, "threshold", "More would change than is allowed unseen",
     "Es würde mehr geändert als ungesehen erlaubt", "Review the plan and approve it."),
    (409, "not_a_sandbox", "Only a sandbox can do that", "Das kann nur eine Sandbox",
     "Use an organization of the kind `sandbox`."),
    (409, "idempotency_key_reused", "The Idempotency-Key was used before",
     "Der Idempotency-Key wurde bereits verwendet", "Send a fresh key for every intent."),
    (409, "idempotency_key_in_progress", "The first request is still running",
     "Die erste Anfrage läuft noch", "Repeat after `Retry-After`."),
    # 410 to 429
    (410, "cursor_expired", "The cursor is too old", "Der Cursor ist zu alt",
     "Drop the copy and start again without a cursor."),
    (410, "link_expired", "The link has expired", "Der Link ist abgelaufen",
     "Offer to send a fresh link."),
    (412, "precondition_failed", "It has changed since", "Es wurde inzwischen geändert",
     "Read again, merge, and repeat with the new `ETag`."),
    (413, "file_too_large", "The file is too large", "Die Datei ist zu groß",
     "Split the file."),
    (428, "precondition_required", "Say which version you change",
     "Nennen Sie die Version, die Sie ändern",
     "Send the `ETag` you read as `If-Match`; a first PUT takes `If-None-Match: *`."),
    (429, "rate_limited", "Too many requests", "Zu viele Anfragen",
     "Wait as long as `Retry-After` says; watch `RateLimit`."),
    (429, "quota_exceeded", "The quota is used up", "Das Kontingent ist erschöpft",
     "Wait as long as `Retry-After` says."),
    # 500 and 503
    (500, "internal_error", "Something went wrong on our side", "Bei uns ist etwas schiefgegangen",
     "Repeat once with the same `Idempotency-Key`, then report the `request_id`."),
    (503, "notifications_unavailable", "Notifications do not answer",
     "Benachrichtigungen antworten nicht", "Repeat after `Retry-After`; all else works."),
    (503, "matching_unavailable", "Matching does not answer", "Das Matching antwortet nicht",
     "Repeat after `Retry-After`; started runs go on by themselves."),
    (503, "database_unavailable", "The database does not answer", "Die Datenbank antwortet nicht",
     "Repeat after `Retry-After` with the same `Idempotency-Key`."),
    (503, "overloaded", "Too much at once", "Zu viel auf einmal",
     "Repeat after `Retry-After`, with growing pauses."),
    (503, "deadline_exceeded", "It took too long", "Es hat zu lange gedauert",
     "Repeat with the same `Idempotency-Key`; it is unknown whether it took effect."),
)  # fmt: skip

CODES: Mapping[str, Code] = MappingProxyType(
    {code: Code(status, en, de, advice) for status, code, en, de, advice in _ROWS}
)

# Codes inside `errors[]`: what is wrong at one place of the request.
VIOLATIONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "missing": ("This is required.", "Diese Angabe fehlt."),
        "unknown_field": ("This is not known here.", "Diese Angabe ist hier unbekannt."),
        "too_long": ("This is too long.", "Das ist zu lang."),
        "too_short": ("This is too short.", "Das ist zu kurz."),
        "too_deep": ("This is nested too deeply.", "Das ist zu tief verschachtelt."),
        "out_of_range": ("This is outside the allowed range.", "Das liegt außerhalb der Grenzen."),
        "minimum_above_maximum": (
            "The smallest value is above the largest.",
            "Der kleinste Wert liegt über dem größten.",
        ),
        "not_whole": ("This should be a whole number.", "Das muss eine ganze Zahl sein."),
        "not_allowed": ("This is none of the allowed values.", "Dieser Wert ist nicht erlaubt."),
        "malformed": ("This does not have the expected form.", "Das hat nicht die rechte Form."),
        "invalid_id": ("This is not an id of the expected kind.", "Das ist keine solche Kennung."),
        "forbidden_character": (
            "This holds a character that is not allowed.",
            "Das enthält ein unerlaubtes Zeichen.",
        ),
        "address_refused": (
            "This address may not be called from here.",
            "Diese Adresse darf von hier aus nicht aufgerufen werden.",
        ),
        "unexpected": ("This has no place here.", "Das hat hier keinen Platz."),
        "not_repeatable": ("This takes one value.", "Das nimmt nur einen Wert an."),
        "not_unique": ("This names the same thing twice.", "Das nennt etwas doppelt."),
        "unknown_time_zone": ("This should be an IANA time zone.", "Das ist keine Zeitzone."),
        "unknown_reference": (
            "This refers to nothing you can use.",
            "Das verweist auf nichts, was Sie verwenden können.",
        ),
        "members_1_1": ("It takes one of each side.", "Es braucht von jeder Seite eine Person."),
        "two_peers": ("It takes two peers.", "Es braucht zwei Gleichgestellte."),
        "one_mentor": ("It takes exactly one mentor.", "Es braucht genau einen Mentor."),
        "facilitators": (
            "It takes another number of facilitators.",
            "Die Zahl der Moderierenden passt nicht.",
        ),
        "size": ("It takes another number of members.", "Die Zahl der Mitglieder passt nicht."),
        "seniority": ("The grades do not fit.", "Die Stufen passen nicht."),
        "grade_gap": ("The grades lie too far apart.", "Die Stufen liegen zu weit auseinander."),
        "common_ground_missing": (
            "A circle says what its members have in common.",
            "Ein Kreis nennt, was alle verbindet.",
        ),
        "already_met": ("These two have met in this track.", "Die beiden kennen sich hier schon."),
        "mentee_quota": (
            "The mentee has met as many people as this track allows.",
            "Der Mentee hatte hier schon alle Treffen.",
        ),
        "invalid_cursor": ("Start again without a cursor.", "Beginnen Sie ohne Cursor."),
        "invalid_email": ("This is no e-mail address.", "Das ist keine E-Mail-Adresse."),
        "inconsistent": ("This does not fit the rest.", "Das passt nicht zum Übrigen."),
        "wrong_type": ("This does not have the expected type.", "Das hat nicht den rechten Typ."),
        "unknown_rule": ("This is no rule of a policy.", "Das ist keine Regel."),
        "unknown_parameter": ("The rule does not take this.", "Die Regel nimmt das nicht an."),
    }
)
OTHER_VIOLATION_DE = "Das passt hier nicht."


def language_of(accept_language: str | None) -> str:
    """Return the language to answer in: the first one named that we speak, otherwise English."""
    wanted = [part.partition(";") for part in (accept_language or "").split(",")[:10]]
    weighed = sorted(wanted, key=_weight, reverse=True)
    for tag, _, parameters in weighed:
        primary = tag.strip().lower().partition("-")[0]
        if primary in LANGUAGES and _weight((tag, ";", parameters)) > 0:
            return primary
    return "en"


def _weight(part: tuple[str, str, str]) -> float:
    name, _, value = part[2].strip().partition("=")
    if name != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def family_of(code: str, status: int) -> Family | None:
    """Return what each of three does about a code; None where nobody wrote it down."""
    return EXCEPTIONS.get(code) or FAMILIES.get(status)


def page() -> str:
    """Return the documentation of every code as Markdown."""
    lines = [_HEAD]
    for status in sorted({one.status for one in CODES.values()}):
        lines.append(f"## {status}\n")
        for code, one in CODES.items():
            if one.status == status:
                lines.append(entry(code))
    lines.append("## Codes inside `errors`\n\n| Code | Means |\n| --- | --- |")
    lines.extend(f"| `{code}` | {en} |" for code, (en, _de) in VIOLATIONS.items())
    return "\n".join(lines) + "\n"


def entry(code: str) -> str:
    """Return the documentation of one code as Markdown."""
    one = CODES[code]
    family = EXCEPTIONS.get(code) or FAMILIES[one.status]
    return (
        f"### {code}\n\n{one.en}.\n\n"
        f"- A person: {family.user}\n- An integrator: {one.advice}\n"
        f"- An operator: {family.operator}\n"
    )


_HEAD = """# Errors

Every refusal is `application/problem+json` (RFC 9457). `code` is stable; `title` and `detail` are
for people and follow `Accept-Language` (English and German). `errors` lists what is wrong where,
`allowed` what can be done instead. What was sent is never repeated. 422 is not used.

This page is written by `./dev docs` from `shared/web/codes.py`.
"""
