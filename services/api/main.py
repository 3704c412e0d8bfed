"""The api as a program: every router in one visible list."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from types import MappingProxyType

from fastapi import FastAPI

from services.api.compositions import routes as compositions
from services.api.credentials import routes as credentials
from services.api.decisions import routes as decisions
from services.api.feed import routes as feed
from services.api.forecasts import routes as forecasts
from services.api.home import routes as home
from services.api.integrations.connections import routes as connections
from services.api.integrations.imports import routes as imports
from services.api.integrations.mappings import routes as mappings
from services.api.issuer import routes as issuer
from services.api.match_runs import routes as match_runs
from services.api.meetings import routes as meetings
from services.api.members import routes as members
from services.api.mentorships import routes as mentorships
from services.api.notifications_proxy import routes as inbox
from services.api.operator import routes as operator
from services.api.organizations import routes as organizations
from services.api.participants import routes as participants
from services.api.people import routes as people
from services.api.programs import routes as programs
from services.api.resources import Resources, open_resources
from services.api.run_diffs import routes as run_diffs
from services.api.sandbox import routes as sandbox
from services.api.settings import ApiSettings
from services.api.shortlists import routes as shortlists
from services.api.sign_in.email_codes import routes as email_codes
from services.api.sign_in.pages import routes as sign_in_pages
from services.api.sign_in.upstream import routes as upstream
from services.api.simulations import routes as simulations
from services.api.suggestions import routes as suggestions
from shared import logs
from shared.clock import system_clock
from shared.settings import Mode
from shared.web.application import Frame, equip
from shared.web.health import Health, health_router
from shared.web.openapi import Json, Product, publish
from shared.web.problems import Taken
from shared.web.reference import install_reference
from shared.web.signpost import Signpost

ROUTERS = (
    organizations.router,
    people.router,
    upstream.links_router,
    credentials.router,
    email_codes.router,
    programs.router,
    participants.router,
    shortlists.router,
    match_runs.router,
    match_runs.calling_router,
    decisions.router,
    decisions.calling_router,
    suggestions.calling_router,
    simulations.calling_router,
    run_diffs.calling_router,
    forecasts.calling_router,
    compositions.router,
    mentorships.router,
    members.router,
    meetings.router,
    home.router,
    inbox.router,
    feed.router,
    connections.router,
    connections.calling_router,
    mappings.router,
    imports.router,
    sandbox.router,
    sandbox.messages_router,
)


TAKEN: Taken = MappingProxyType(
    {
        "uq_person_email": ("duplicate_email", "This address belongs to somebody else."),
        "pk_person_external_id": (
            "duplicate_external_id",
            "This external id belongs to somebody else.",
        ),
        "uq_participant_live": ("already_enrolled", "This person takes part already."),
        "uq_program_code": ("already_exists", "Another program has this code."),
        "uq_role_assignment_grant": ("already_exists", "The person holds this role already."),
        "uq_match_run_live": ("already_exists", "A run of this track is under way."),
        "uq_connection_label": ("already_exists", "Another connection bears this label."),
        "uq_mapping_name": ("already_exists", "Another mapping bears this name."),
    }
)
"""What two requests at once break: each index answers as the rule that is checked before it."""

PRODUCT = Product(
    api_id="6f1f6f0e-5b0c-4b39-9f2c-3c1d5f0a7f11",
    summary="Everything a workplace mentoring program needs, as an API.",
    description=(
        "Front ends and integrations build on this API: people, programs, matching with reasons,"
        " mentorships, meetings and events. `PATCH`, `PUT` and `DELETE` name the version they saw"
        " (`If-Match`), and a `POST` that takes a step may; repeated requests have one effect"
        " (`Idempotency-Key`), refusals are problem documents with stable codes. Idempotency-Key"
        " and RateLimit follow drafts of the IETF."
    ),
    contact={
        "name": "Mentoring maintainers",
        "url": "https://mentoring.example.org/support",
        "email": "support@mentoring.example.org",
    },
    tags={
        "organization": "The organization a credential belongs to.",
        "people": "The directory, with whose account is whose, and who the present credential is.",
        "connections": "Sources of people data, and the organization's own sign-in.",
        "mappings": "Which column of a file means which field of a person.",
        "sign-in": "Signing in without a password, for front ends with forms of their own.",
        "credentials": "Role grants, API keys and OAuth clients.",
        "programs": "Programs with their tracks, forms, policies and templates.",
        "participants": "Taking part: from registration to an approved place.",
        "match-runs": "Runs of the matching, and the proposals they make.",
        "mentorships": "Mentorships and their members.",
        "meetings": "Meetings of a mentorship.",
        "events": "What happened, in order and without gaps.",
        "home": "What the acting person should do next.",
        "inbox": "Messages to the acting person.",
        "imports": "People files, planned and then applied.",
        "sandbox": "A clock to play with, and what was sent; sandbox organizations only.",
    },
)
PREFIX = "/v1"
DEMO_BANNER = ((b"mentoring-mode", b"demo"),)
OWN_PAGES = ("/oauth/authorize", "/oauth/sign-in", "/oauth/upstream", "/oauth/callback")


def _frame(settings: ApiSettings) -> Frame:
    return Frame(
        # One pool for reads, and one for writes.
        connections=2 * settings.api_connections,
        cors_origins=tuple(settings.cors_origins),
        rate_limit=settings.rate_limit,
        organization_rate_limit=settings.organization_rate_limit,
        network_rate_limit=settings.network_rate_limit,
        larger={f"{PREFIX}/imports": settings.import_max_bytes},
        taken=TAKEN,
        banner=DEMO_BANNER if settings.mode is Mode.DEMO else (),
        own_pages=OWN_PAGES,
    )


def _shipped() -> Json:
    """Return the document that `./dev docs` made: making it takes what starting takes again."""
    document: Json = json.loads((files("services.api") / "openapi.json").read_bytes())
    return document


def create_public() -> FastAPI:
    """Return the public API by itself; making its document needs nothing else."""
    # Taken as they are: a router that is included is asked route by route for each request.
    routes = [route for router in ROUTERS for route in router.routes]
    public = FastAPI(
        title="Mentoring API",
        version="0.1.0",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        root_path_in_servers=False,
        telemetry=logs.NO_TELEMETRY,
        routes=[Signpost(routes), *routes],
    )
    publish(public, _shipped)
    install_reference(public)
    return public


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    """Return the application: the public API under /v1, everything else beside it."""
    settings = settings or ApiSettings()
    logs.configure(service="api", level=settings.log_level)
    public = create_public()

    @asynccontextmanager
    async def lifespan(root: FastAPI) -> AsyncIterator[None]:
        # Read while nobody waits for it; without it nothing starts.
        public.openapi()
        async with open_resources(settings) as resources:
            root.state.resources = resources
            yield

    root = FastAPI(
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # It would name the host that the caller says is ours.
        redirect_slashes=False,
        telemetry=logs.NO_TELEMETRY,
    )
    equip(root, public, prefix=PREFIX, frame=_frame(settings))
    root.state.public = public
    # Only its routes: the layers around a second application would do everything twice. And first,
    # because most requests are theirs.
    root.mount(PREFIX, public.router)
    root.include_router(health_router(_health(root)))
    root.include_router(issuer.router)
    root.include_router(upstream.router)
    root.include_router(sign_in_pages.router)
    root.include_router(operator.router)
    return root


def _health(root: FastAPI) -> Health:
    async def database() -> None:
        resources: Resources = root.state.resources
        async with resources.reads.acquire(timeout=1) as connection:
            await connection.fetchval("SELECT 1")
        # Unset until role and schema were checked.
        _ = resources.issuer

    return Health(checks={"database": database}, clock=system_clock)
