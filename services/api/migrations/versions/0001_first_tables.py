"""first tables."""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op
from shared.persistence import policies

from services.api.events.tables import TransactionId
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in BEFORE:
        op.execute(statement)
    op.create_table(
        "access_subject",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "person_id", name=op.f("pk_access_subject")),
    )
    op.create_table(
        "api_key",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("label", sa.String(length=120), nullable=False),
        sa.Column("secret_digest", sa.LargeBinary(), nullable=False),
        sa.Column("last_four", sa.String(length=4), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.String(length=32)), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_api_key")),
    )
    op.create_table(
        "idempotency",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("principal", sa.Uuid(), nullable=False),
        sa.Column("operation", sa.String(length=100), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id", "principal", "operation", "key", name=op.f("pk_idempotency")
        ),
    )
    op.create_index(
        "ix_idempotency_age", "idempotency", ["organization_id", "created_at"], unique=False
    )
    op.create_table(
        "oauth_client",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("label", sa.String(length=120), nullable=False),
        sa.Column("secret_digest", sa.LargeBinary(), nullable=False),
        sa.Column("last_four", sa.String(length=4), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.String(length=32)), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_oauth_client")),
    )
    op.create_table(
        "organization",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("slug", sa.String(length=64), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "production",
                "sandbox",
                name="kind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("default_locale", sa.String(length=12), nullable=False),
        sa.Column("default_timezone", sa.String(length=64), nullable=False),
        sa.Column("grade_order", sa.ARRAY(sa.String(length=40)), nullable=False),
        sa.Column("skills", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_organization")),
    )
    op.create_table(
        "organization_clock",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("offset_seconds", sa.Integer(), nullable=False),
        sa.Column("advance_to", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_organization_clock")),
    )
    op.create_table(
        "organization_slug",
        sa.Column("slug", sa.String(length=64), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("is_demo", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("slug", name=op.f("pk_organization_slug")),
    )
    op.create_table(
        "outbox_message",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("aggregate_id", sa.Uuid(), nullable=False),
        sa.Column("aggregate_version", sa.Integer(), nullable=False),
        sa.Column("program_id", sa.Uuid(), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column(
            "epoch", sa.Integer(), server_default=sa.text("current_feed_epoch()"), nullable=False
        ),
        sa.Column(
            "xid", TransactionId(), server_default=sa.text("pg_current_xact_id()"), nullable=False
        ),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_outbox_message")),
    )
    op.create_index(
        "ix_outbox_message_feed",
        "outbox_message",
        ["organization_id", "epoch", "xid", "id"],
        unique=False,
    )
    op.create_index(
        "ix_outbox_message_type", "outbox_message", ["organization_id", "type", "id"], unique=False
    )
    op.create_index(
        "ix_outbox_message_unsent",
        "outbox_message",
        ["organization_id", "bucket", "id"],
        unique=False,
        postgresql_where=sa.text("sent_at IS NULL"),
    )
    op.create_table(
        "person",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("employee_number", sa.String(length=64), nullable=True),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("phone", sa.String(length=40), nullable=True),
        sa.Column("given_name", sa.String(length=120), nullable=False),
        sa.Column("family_name", sa.String(length=120), nullable=False),
        sa.Column("preferred_name", sa.String(length=120), nullable=True),
        sa.Column("pronouns", sa.String(length=40), nullable=True),
        sa.Column("locale", sa.String(length=12), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "pending",
                "active",
                "on_leave",
                "inactive",
                name="personstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("ended_on", sa.Date(), nullable=True),
        sa.Column("ended_reason", sa.String(length=40), nullable=True),
        sa.Column("manager_id", sa.Uuid(), nullable=True),
        sa.Column("title", sa.String(length=200), nullable=True),
        sa.Column("department", sa.String(length=200), nullable=True),
        sa.Column("country", sa.String(length=120), nullable=True),
        sa.Column("city", sa.String(length=120), nullable=True),
        sa.Column("site", sa.String(length=120), nullable=True),
        sa.Column("grade", sa.String(length=40), nullable=True),
        sa.Column("job_family", sa.String(length=120), nullable=True),
        sa.Column("hired_on", sa.Date(), nullable=True),
        sa.Column("in_job_since", sa.Date(), nullable=True),
        sa.Column("is_guest", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "manager_id"],
            ["person.organization_id", "person.id"],
            name=op.f("fk_person_organization_id_manager_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_person")),
    )
    op.create_index("ix_person_manager", "person", ["organization_id", "manager_id"], unique=False)
    op.create_index(
        "ix_person_name",
        "person",
        ["organization_id", "family_name", "given_name", "id"],
        unique=False,
    )
    op.create_index(
        "uq_person_email",
        "person",
        ["organization_id", sa.literal_column("lower(email)")],
        unique=True,
        postgresql_where=sa.text("status <> 'inactive'"),
    )
    op.create_table(
        "relay_lease",
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("bucket", name=op.f("pk_relay_lease")),
    )
    op.create_table(
        "signing_key",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("public_jwk", sa.String(length=1000), nullable=False),
        sa.Column("encrypted_jwk", sa.String(length=2000), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_key")),
    )
    op.create_table(
        "timer",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("occasion", sa.String(length=64), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_timer")),
    )
    op.create_index(
        "ix_timer_due",
        "timer",
        ["organization_id", "due_at"],
        unique=False,
        postgresql_where=sa.text("done_at IS NULL"),
    )
    op.create_index(
        "uq_timer_occasion",
        "timer",
        ["organization_id", "kind", "subject_id", "occasion"],
        unique=True,
    )
    op.create_table(
        "person_external_id",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "person_id"],
            ["person.organization_id", "person.id"],
            name=op.f("fk_person_external_id_organization_id_person_id"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "source", "external_id", name=op.f("pk_person_external_id")
        ),
    )
    op.create_index(
        "ix_person_external_id_person",
        "person_external_id",
        ["organization_id", "person_id"],
        unique=False,
    )
    op.create_table(
        "role_assignment",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "org_admin",
                "coordinator",
                "analyst",
                "safeguarding",
                "person",
                "self",
                "member",
                "people_manager",
                "service",
                name="role",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("program_id", sa.Uuid(), nullable=True),
        sa.Column("granted_by", sa.Uuid(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(role IN ('coordinator', 'analyst')) = (program_id IS NOT NULL)",
            name=op.f("ck_role_assignment_program_where_it_belongs"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "person_id"],
            ["access_subject.organization_id", "access_subject.person_id"],
            name=op.f("fk_role_assignment_organization_id_person_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_role_assignment")),
    )
    op.create_index(
        "uq_role_assignment_grant",
        "role_assignment",
        ["organization_id", "person_id", "role", "program_id"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    for statement in security():
        op.execute(statement)


# Security: who may see which rows, and which columns the claiming role may touch.

RUNTIME = ("app_api", "app_jobs")
TENANT_TABLES = (
    "access_subject",
    "api_key",
    "idempotency",
    "oauth_client",
    "organization",
    "organization_clock",
    "outbox_message",
    "person",
    "person_external_id",
    "role_assignment",
    "timer",
)
INSTALLATION_TABLES = ("feed_epoch", "organization_slug", "relay_lease", "signing_key")
LEASE = ("leased_until", "lease_token", "attempts")

BEFORE = (
    *policies.FUNCTIONS,
    "CREATE TABLE feed_epoch (epoch integer NOT NULL CONSTRAINT pk_feed_epoch PRIMARY KEY)",
    "INSERT INTO feed_epoch VALUES (1)",
    "CREATE FUNCTION current_feed_epoch() RETURNS integer LANGUAGE sql STABLE PARALLEL SAFE"
    " BEGIN ATOMIC SELECT max(epoch) FROM feed_epoch; END",
)


def security() -> Iterator[str]:
    for table in TENANT_TABLES:
        yield from policies.tenant(table, roles=RUNTIME)
        yield from policies.grant(table, roles=RUNTIME)
    yield from policies.grant("feed_epoch", roles=(*RUNTIME, "worker_system"), rights="SELECT")
    yield from policies.grant("organization_slug", roles=["app_api"], rights="SELECT, INSERT")
    yield from policies.grant("signing_key", roles=["app_api"], rights="SELECT, INSERT")
    yield from policies.grant("relay_lease", roles=["worker_system"], rights="SELECT, UPDATE")
    yield "INSERT INTO relay_lease (bucket) SELECT generate_series(0, 15)"
    yield from policies.queue(
        "timer",
        read=("organization_id", "id", "due_at", "done_at", *LEASE),
        write=LEASE,
    )
    yield from policies.queue(
        "outbox_message",
        read=("organization_id", "id", "bucket", "sent_at"),
        write=("sent_at",),
    )
    yield "CREATE POLICY claim ON organization_clock TO worker_system USING (true)"
    yield "GRANT SELECT ON organization_clock TO worker_system"
