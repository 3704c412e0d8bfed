"""The code on its way: by the relay into a mail, to its reader alone, and nowhere else."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from fastapi import FastAPI

from services.api.feed.jobs import Relay, relay
from services.api.resources import WorkerResources
from services.api.sign_in.email_codes import jobs as email_codes
from services.api.sign_in.email_codes import rules
from services.local import postgres
from services.notifications.deliveries import jobs as deliveries
from shared import ids
from shared.clock import system_clock
from shared.errors import UnavailableError
from tests.support.apps import World, found_world
from tests.support.database import Databases
from tests.support.email_codes import App, add_app, codes_in
from tests.support.notifications import (
    Postbox,
    client_of,
    notifications_settings,
    running_notifications,
    running_postbox,
    unreachable,
)
from tests.support.work import Bench, bench


@dataclass(slots=True)
class Post:
    """An organization whose codes go out by a real mail server."""

    app: App
    at_work: Bench
    notifications: FastAPI
    postbox: Postbox
    databases: Databases

    @property
    def organization_id(self) -> UUID:
        """Return the organization's id as the inside knows it."""
        return self.at_work.organization_id

    async def relay(self) -> None:
        """Hand over to notifications whatever waits."""
        client = client_of(self.notifications)
        resources = self.at_work.resources
        work = Relay(resources.database, client, resources.pepper)
        while await relay(work, organization_id=self.organization_id):
            pass
        await client.close()

    async def send(self, *, later: timedelta = timedelta()) -> None:
        """Relay, then let notifications send what is due."""
        await self.relay()
        await deliveries.run_until(
            self.notifications.state.resources,
            organization_id=self.organization_id,
            until=system_clock() + later,
        )

    async def told(self, statement: str) -> list[Any]:
        """Return what notifications keeps; $1 is the organization."""
        url = self.databases.url(postgres.SUPERUSER, "notifications")
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(statement, self.organization_id))
        finally:
            await connection.close()

    async def mail_to(self, email: str) -> EmailMessage:
        """Return the only mail to an address."""
        (mail,) = self.postbox.to(email)
        return mail


@pytest.fixture
async def postbox() -> AsyncIterator[Postbox]:
    """Run a mail server of this test's own."""
    async with running_postbox() as running:
        yield running


@pytest.fixture
async def notifications(databases: Databases, postbox: Postbox) -> AsyncIterator[FastAPI]:
    """Run notifications with links to a front end."""
    settings = notifications_settings(
        databases, smtp_port=postbox.port, app_url="https://app.example.org"
    )
    async with running_notifications(settings) as app:
        yield app


@pytest.fixture
async def post(
    world: World,
    worker: WorkerResources,
    databases: Databases,
    notifications: FastAPI,
    postbox: Postbox,
) -> Post:
    """Return the way out of a fresh organization."""
    at_work = bench(worker, world)
    return Post(await add_app(world), at_work, notifications, postbox, databases)


@pytest.fixture
async def sandbox(
    api: FastAPI,
    worker: WorkerResources,
    databases: Databases,
    notifications: FastAPI,
    postbox: Postbox,
) -> Post:
    """Return the way out of a fresh sandbox."""
    world = await found_world(api, kind="sandbox")
    return Post(await add_app(world), bench(worker, world), notifications, postbox, databases)


def parts_of(mail: EmailMessage) -> list[str]:
    """Return the texts of a mail."""
    return [one.get_content() for one in mail.walk() if not one.is_multipart()]


async def test_the_code_comes_by_mail_and_signs_in(post: Post) -> None:
    person = await post.app.world.add_person(locale="en")
    challenge_id = await post.app.ask(person["email"])
    await post.send()

    mail = await post.mail_to(person["email"])
    plain, markup = parts_of(mail)
    (code,) = codes_in(plain)
    assert codes_in(markup) == [code]
    assert mail["Subject"] == "Your code to sign in"
    assert mail["Content-Language"] == "en"
    assert "within 10 minutes" in plain
    assert "If this was not you, ignore this message" in plain
    for text in (plain, markup):
        assert "http" not in text
        assert "href" not in text
    answer = await post.app.answer(challenge_id, code)
    assert answer.status_code == 200, answer.text


async def test_the_mail_is_in_the_reader_s_language(post: Post) -> None:
    person = await post.app.world.add_person(locale="de-AT")
    challenge_id = await post.app.ask(person["email"])
    await post.send()

    mail = await post.mail_to(person["email"])
    assert mail["Subject"] == "Ihr Code zum Anmelden"
    assert post.app.code(challenge_id) in parts_of(mail)[0]
    assert "innerhalb von 10 Minuten" in parts_of(mail)[0]


async def test_nobody_is_told_of_an_address_that_is_nobody_s(post: Post) -> None:
    await post.app.ask("nobody@example.org")
    await post.send()

    assert post.postbox.mails == []
    assert await post.told("SELECT 1 FROM message WHERE organization_id = $1") == []
    came = await post.told("SELECT type FROM inbox WHERE organization_id = $1")
    assert "sign_in.code_requested" in {row["type"] for row in came}


async def test_a_sixth_code_in_an_hour_is_not_sent(post: Post) -> None:
    person = await post.app.world.add_person()
    for _ in range(rules.PER_ADDRESS + 1):
        await post.app.ask(person["email"])
    await post.send()

    assert len(post.postbox.to(person["email"])) == rules.PER_ADDRESS


async def test_no_inbox_holds_a_code(post: Post) -> None:
    person = await post.app.world.add_person()
    await post.app.ask(person["email"])
    await post.send()

    items = await post.told(
        "SELECT kind FROM inbox_item WHERE organization_id = $1 AND kind LIKE 'sign_in%'"
    )
    assert items == []
    (message,) = await post.told("SELECT message_class FROM message WHERE organization_id = $1")
    assert message["message_class"] == "mandatory"


async def test_a_sent_code_is_not_kept(post: Post) -> None:
    person = await post.app.world.add_person()
    await post.app.ask(person["email"])
    await post.relay()
    before = await post.told("SELECT 1 FROM delivery_content WHERE organization_id = $1")
    await post.send()

    assert len(before) == 1
    assert await post.told("SELECT 1 FROM delivery_content WHERE organization_id = $1") == []
    (row,) = await post.told("SELECT state FROM delivery WHERE organization_id = $1")
    assert row["state"] == "sent"


async def test_a_code_that_is_too_old_is_neither_sent_nor_kept(post: Post) -> None:
    person = await post.app.world.add_person()
    post.postbox.refuse = lambda _address: "451 come back later"
    await post.app.ask(person["email"])
    await post.send(later=timedelta(minutes=22))

    assert post.postbox.mails == []
    (row,) = await post.told("SELECT state, reason FROM delivery WHERE organization_id = $1")
    assert (row["state"], row["reason"]) == ("expired", "too_late")
    assert await post.told("SELECT 1 FROM delivery_content WHERE organization_id = $1") == []


async def test_a_code_nobody_could_send_is_not_kept(post: Post) -> None:
    person = await post.app.world.add_person()
    await post.app.ask(person["email"])
    await post.relay()
    await post.told(
        "UPDATE delivery SET attempts = 99, leased_until = now() - interval '1 minute'"
        " WHERE organization_id = $1"
    )
    await deliveries.bury(post.notifications.state.resources)

    (row,) = await post.told("SELECT state FROM delivery WHERE organization_id = $1")
    assert row["state"] == "dead"
    assert await post.told("SELECT 1 FROM delivery_content WHERE organization_id = $1") == []


async def test_a_relay_that_starts_anew_says_the_same_code(post: Post) -> None:
    person = await post.app.world.add_person()
    challenge_id = await post.app.ask(person["email"])
    far = unreachable(post.app.world.app)
    resources = post.at_work.resources
    cut_off = Relay(resources.database, far, resources.pepper)
    with pytest.raises(UnavailableError):
        await relay(cut_off, organization_id=post.organization_id)
    await far.close()
    await post.send()
    await post.at_work.rows("UPDATE outbox_message SET sent_at = NULL RETURNING 1")
    await post.send()

    mail = await post.mail_to(person["email"])
    assert codes_in(parts_of(mail)[0]) == [post.app.code(challenge_id)]


async def test_a_sandbox_shows_the_mail_instead_of_sending_it(sandbox: Post) -> None:
    person = await sandbox.app.world.add_person()
    challenge_id = await sandbox.app.ask(person["email"])
    await sandbox.send()

    assert sandbox.postbox.mails == []
    answer = await sandbox.app.world.org_admin.get("/v1/sandbox/messages")
    assert answer.status_code == 200, answer.text
    (shown,) = answer.json()["items"]
    assert shown["kind"] == "sign_in.code_requested"
    assert sandbox.app.code(challenge_id) in shown["parts"][0]["text"]


async def test_who_left_before_the_mail_went_out_gets_none(post: Post) -> None:
    person = await post.app.world.add_person()
    await post.app.ask(person["email"])
    await post.app.world.org_admin.post(f"/v1/people/{person['id']}/deactivate", json={})
    await post.send()

    assert post.postbox.to(person["email"]) == []


async def test_what_cannot_be_read_is_set_aside_without_its_code(post: Post) -> None:
    client = client_of(post.notifications)
    fact = {
        "id": str(ids.new_id()),
        "type": "sign_in.code_requested",
        "organization_id": str(post.organization_id),
        "render": {"sign_in_code": {"code": "27182818", "expires_at": "soon"}},
    }
    answer = await client.call(
        "POST",
        "/internal/events",
        organization_id=post.organization_id,
        subject="system:relay",
        body={"events": [fact]},
    )
    await client.close()

    assert answer.status_code == 200, answer.text
    (row,) = await post.told("SELECT body FROM inbox_rejected WHERE organization_id = $1")
    assert fact["id"] in row["body"]
    assert "27182818" not in row["body"]


async def test_challenges_are_forgotten_after_a_day(post: Post) -> None:
    await post.app.ask("nobody@example.org")
    post.at_work.clock.pass_time(rules.KEPT_FOR.total_seconds() - 60)
    await email_codes.forget_old(post.at_work.resources.database)
    assert len(await post.at_work.rows("SELECT id FROM email_code")) == 1

    post.at_work.clock.pass_time(61)
    await email_codes.forget_old(post.at_work.resources.database)
    assert await post.at_work.rows("SELECT id FROM email_code") == []


async def test_the_address_that_somebody_had_is_told_of_the_change(post: Post) -> None:
    """Though the new one is known by the time the mail is written, and before it is sent."""
    world, new = post.app.world, "new@example.org"
    person = await world.add_person(locale="en")
    await changed(world, person["id"], email=new)
    challenge_id = await post.app.ask(new)
    await post.send()

    (notice,) = [
        mail
        for mail in post.postbox.to(person["email"])
        if mail["Subject"] == "Your address was changed"
    ]
    plain, markup = parts_of(notice)
    assert "by another address from now on" in plain
    assert new not in plain + markup
    (code,) = post.postbox.to(new)
    assert codes_in(parts_of(code)[0]) == [post.app.code(challenge_id)]
    # Once it is sent nothing says any more which address it was.
    assert await post.told("SELECT 1 FROM delivery_content WHERE organization_id = $1") == []
    (kept,) = await post.at_work.rows(
        "SELECT mail_to FROM outbox_message WHERE type = 'person.address_changed'"
    )
    assert kept[0] is None
    feed = await world.org_admin.get("/v1/events?limit=200")
    assert "person.address_changed" not in feed.text
    assert person["email"] not in feed.text


async def test_who_changes_their_own_address_is_told_too_and_in_their_language(post: Post) -> None:
    world = post.app.world
    path = f"/v1/people/{world.org_admin_id}"
    old = (await world.org_admin.get(path)).json()["email"]
    await changed(world, world.org_admin_id, locale="de")
    await changed(world, world.org_admin_id, email=f"new-{old}")
    await post.send()

    (notice,) = [mail for mail in post.postbox.mails if str(mail["To"]).endswith(f"<{old}>")]
    assert notice["Subject"] == "Ihre Adresse wurde geändert"


async def test_nobody_is_told_of_an_address_that_is_spelt_anew(post: Post) -> None:
    person = await post.app.world.add_person()
    await changed(post.app.world, person["id"], email=person["email"].capitalize())
    await post.send()

    assert post.postbox.mails == []


async def changed(world: World, person_id: str, **changes: str) -> None:
    """Change a person as an org admin."""
    headers = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}
    answer = await world.org_admin.patch(f"/v1/people/{person_id}", json=changes, headers=headers)
    assert answer.status_code == 200, answer.text
