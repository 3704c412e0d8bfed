"""First tables."""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from services.api.events.tables import TransactionId
from shared.persistence import policies

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
        sa.Column("rotated_from", sa.Uuid(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_api_key")),
    )
    op.create_index(
        "ix_api_key_created_by", "api_key", ["organization_id", "created_by"], unique=False
    )
    op.create_index(
        "ix_api_key_rotated_from", "api_key", ["organization_id", "rotated_from"], unique=False
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
        sa.Column(
            "kind",
            sa.Enum(
                "service",
                "app",
                name="clientkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("secret_digest", sa.LargeBinary(), nullable=True),
        sa.Column("last_four", sa.String(length=4), nullable=True),
        sa.Column("is_secret_used", sa.Boolean(), nullable=False),
        sa.Column("previous_secret_digest", sa.LargeBinary(), nullable=True),
        sa.Column("previous_secret_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("jwks", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("redirect_uris", sa.ARRAY(sa.String(length=2000)), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.String(length=32)), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_oauth_client")),
    )
    op.create_index(
        "ix_oauth_client_created_by",
        "oauth_client",
        ["organization_id", "created_by"],
        unique=False,
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
        sa.Column(
            "email_codes",
            sa.Enum(
                "automatic",
                "on",
                name="emailcodes",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
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
        sa.Column("reset_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failure", sa.String(length=120), nullable=True),
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
        sa.Column("mail_to", sa.String(length=254), nullable=True),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column(
            "epoch", sa.Integer(), server_default=sa.text("current_feed_epoch()"), nullable=False
        ),
        sa.Column(
            "xid", TransactionId(), server_default=sa.text("pg_current_xact_id()"), nullable=False
        ),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("consumed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failure", sa.String(length=120), nullable=True),
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
        "ix_outbox_message_unconsumed",
        "outbox_message",
        ["organization_id", "aggregate_id", "id"],
        unique=False,
        postgresql_where=sa.text("consumed_at IS NULL"),
    )
    op.create_index(
        "ix_outbox_message_unsent",
        "outbox_message",
        ["organization_id", "bucket", "id"],
        unique=False,
        postgresql_where=sa.text("sent_at IS NULL"),
    )
    op.create_table(
        "past_pair",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("first_hash", sa.String(length=64), nullable=False),
        sa.Column("second_hash", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id", "first_hash", "second_hash", name=op.f("pk_past_pair")
        ),
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
        "program",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("description", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "cohort",
                "evergreen",
                name="programkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "draft",
                "published",
                "registration_open",
                "registration_closed",
                "matching",
                "running",
                "winding_down",
                "completed",
                "cancelled",
                "archived",
                name="programstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("accepting_participants", sa.Boolean(), nullable=False),
        sa.Column("matching_paused", sa.Boolean(), nullable=False),
        sa.Column("registration_opens_on", sa.Date(), nullable=True),
        sa.Column("registration_closes_on", sa.Date(), nullable=True),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("sensitive", sa.Boolean(), nullable=False),
        sa.Column("support_person_id", sa.Uuid(), nullable=True),
        sa.Column("support_email", sa.String(length=254), nullable=True),
        sa.Column(
            "people_manager_visibility",
            sa.Enum(
                "none",
                "participates",
                "status",
                name="visibility",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "manager_acknowledgement",
            sa.Enum(
                "off",
                "required",
                name="manageracknowledgement",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "manager_silence",
            sa.Enum(
                "escalate",
                "assume_yes",
                name="managersilence",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "coordinator_review",
            sa.Enum(
                "on", "off", name="switch", native_enum=False, create_constraint=True, length=32
            ),
            nullable=False,
        ),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("config_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_program")),
    )
    op.create_index(
        "ix_program_status", "program", ["organization_id", "status", "id"], unique=False
    )
    op.create_index("uq_program_code", "program", ["organization_id", "code"], unique=True)
    op.create_table(
        "relay_lease",
        sa.Column("bucket", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("bucket", name=op.f("pk_relay_lease")),
    )
    op.create_table(
        "signing_key",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "mode",
            sa.Enum(
                "normal",
                "demo",
                name="mode",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("public_jwk", sa.String(length=1000), nullable=False),
        sa.Column("encrypted_jwk", sa.String(length=2000), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("signs_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_key")),
    )
    op.create_index("uq_signing_key_generation", "signing_key", ["mode", "generation"], unique=True)
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
        sa.Column("failure", sa.String(length=120), nullable=True),
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
        "refresh_family",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.String(length=32)), nullable=False),
        sa.Column("auth_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("access_version", sa.Integer(), nullable=False),
        sa.Column("idle_expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "revoked_because",
            sa.Enum(
                "signed_out",
                "access_changed",
                "token_reused",
                "code_reused",
                name="familyend",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "client_id"],
            ["oauth_client.organization_id", "oauth_client.id"],
            name=op.f("fk_refresh_family_organization_id_client_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "person_id"],
            ["access_subject.organization_id", "access_subject.person_id"],
            name=op.f("fk_refresh_family_organization_id_person_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_refresh_family")),
    )
    op.create_index(
        "ix_refresh_family_live",
        "refresh_family",
        ["organization_id", "person_id"],
        unique=False,
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_table(
        "authorization_code",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("redirect_uri", sa.String(length=2000), nullable=True),
        sa.Column("scopes", sa.ARRAY(sa.String(length=32)), nullable=False),
        sa.Column("code_challenge", sa.String(length=43), nullable=False),
        sa.Column("auth_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("access_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("family_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "client_id"],
            ["oauth_client.organization_id", "oauth_client.id"],
            name=op.f("fk_authorization_code_organization_id_client_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "family_id"],
            ["refresh_family.organization_id", "refresh_family.id"],
            name=op.f("fk_authorization_code_organization_id_family_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "person_id"],
            ["access_subject.organization_id", "access_subject.person_id"],
            name=op.f("fk_authorization_code_organization_id_person_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_authorization_code")),
    )
    op.create_index(
        "ix_authorization_code_family",
        "authorization_code",
        ["organization_id", "family_id"],
        unique=False,
    )
    op.create_table(
        "client_assertion",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("jti_digest", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id", "client_id", "jti_digest", name=op.f("pk_client_assertion")
        ),
    )
    op.create_table(
        "refresh_token",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("family_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("predecessor_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dead_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "family_id"],
            ["refresh_family.organization_id", "refresh_family.id"],
            name=op.f("fk_refresh_token_organization_id_family_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_refresh_token")),
    )
    op.create_index(
        "ix_refresh_token_family",
        "refresh_token",
        ["organization_id", "family_id"],
        unique=False,
    )
    op.create_table(
        "agreement_template",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("program_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("sections", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "program_id"],
            ["program.organization_id", "program.id"],
            name=op.f("fk_agreement_template_organization_id_program_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_agreement_template")),
    )
    op.create_table(
        "form",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("program_id", sa.Uuid(), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "mentor",
                "mentee",
                "peer",
                "facilitator",
                "sponsor",
                "protege",
                name="trackrole",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("form_version", sa.Integer(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "draft",
                "published",
                "retired",
                name="formstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "program_id"],
            ["program.organization_id", "program.id"],
            name=op.f("fk_form_organization_id_program_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_form")),
    )
    op.create_index(
        "ix_form_program",
        "form",
        ["organization_id", "program_id", "role", "form_version"],
        unique=False,
    )
    op.create_table(
        "match_policy",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("program_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("policy_version", sa.Integer(), nullable=False),
        sa.Column("hard", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("soft", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("objective", sa.String(length=32), nullable=False),
        sa.Column("floor", sa.Integer(), nullable=False),
        sa.Column("stay_bonus", sa.Integer(), nullable=False),
        sa.Column("text_model", sa.String(length=8), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("limits", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("tests", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("frozen", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "program_id"],
            ["program.organization_id", "program.id"],
            name=op.f("fk_match_policy_organization_id_program_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_match_policy")),
    )
    op.create_table(
        "participant",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("program_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "invited",
                "started",
                "submitted",
                "manager_review",
                "coordinator_review",
                "info_requested",
                "waitlisted",
                "approved",
                "available",
                "at_capacity",
                "paused",
                "suspended",
                "declined",
                "expired",
                "rejected",
                "withdrawn",
                "removed",
                "completed",
                name="participantstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("answers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("hours_per_month", sa.Integer(), nullable=True),
        sa.Column("paused_until", sa.Date(), nullable=True),
        sa.Column("preview_acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "source",
            sa.Enum(
                "self",
                "invitation",
                "eligibility_rule",
                "people_manager",
                "import",
                "pay_forward",
                name="participantsource",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("decision_reason", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "person_id"],
            ["person.organization_id", "person.id"],
            name=op.f("fk_participant_organization_id_person_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "program_id"],
            ["program.organization_id", "program.id"],
            name=op.f("fk_participant_organization_id_program_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_participant")),
    )
    op.create_index(
        "ix_participant_person", "participant", ["organization_id", "person_id", "id"], unique=False
    )
    op.create_index(
        "ix_participant_program",
        "participant",
        ["organization_id", "program_id", "status", "id"],
        unique=False,
    )
    op.create_index(
        "uq_participant_live",
        "participant",
        ["organization_id", "program_id", "person_id"],
        unique=True,
        postgresql_where=sa.text(
            "status NOT IN ('declined', 'expired', 'rejected', 'withdrawn', 'removed', 'completed')"
        ),
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
    op.create_table(
        "match_preference",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("participant_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("values", sa.ARRAY(sa.String(length=80)), nullable=False),
        sa.Column("path_now", sa.String(length=1000), nullable=True),
        sa.Column("path_target", sa.String(length=1000), nullable=True),
        sa.Column("wants", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("offers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("wants_skills", sa.ARRAY(sa.String(length=80)), nullable=False),
        sa.Column("offers_skills", sa.ARRAY(sa.String(length=80)), nullable=False),
        sa.Column("languages", sa.ARRAY(sa.String(length=12)), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "participant_id"],
            ["participant.organization_id", "participant.id"],
            name=op.f("fk_match_preference_organization_id_participant_id"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "participant_id", name=op.f("pk_match_preference")
        ),
    )
    op.create_table(
        "text_vector",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("text_hash", sa.LargeBinary(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id", "model", "text_hash", name=op.f("pk_text_vector")
        ),
    )
    op.create_table(
        "track",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("program_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column(
            "format",
            sa.Enum(
                "one_to_one",
                "peer",
                "reverse",
                "group",
                "circle",
                "flash",
                "office_hours",
                "sponsorship",
                name="format",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("match_modes", sa.ARRAY(sa.String(length=32)), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=True),
        sa.Column("agreement_template_id", sa.Uuid(), nullable=True),
        sa.Column("form_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "cadence",
            sa.Enum(
                "weekly",
                "biweekly",
                "monthly",
                name="cadence",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("meeting_minutes", sa.Integer(), nullable=False),
        sa.Column("length_days", sa.Integer(), nullable=False),
        sa.Column("min_members", sa.Integer(), nullable=False),
        sa.Column("max_members", sa.Integer(), nullable=False),
        sa.Column(
            "seniority",
            sa.Enum(
                "none",
                "mentor_higher",
                "mentor_lower",
                name="seniority",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("grade_gap_min", sa.Integer(), nullable=True),
        sa.Column("grade_gap_max", sa.Integer(), nullable=True),
        sa.Column(
            "consent_sides",
            sa.Enum(
                "none",
                "mentor_side",
                "mentee_side",
                "both",
                name="consentsides",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "request_approval",
            sa.Enum(
                "none",
                "coordinator",
                "people_manager",
                name="requestapproval",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "agreement_template_id"],
            ["agreement_template.organization_id", "agreement_template.id"],
            name=op.f("fk_track_organization_id_agreement_template_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "policy_id"],
            ["match_policy.organization_id", "match_policy.id"],
            name=op.f("fk_track_organization_id_policy_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "program_id"],
            ["program.organization_id", "program.id"],
            name=op.f("fk_track_organization_id_program_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_track")),
    )
    op.create_index(
        "ix_track_program", "track", ["organization_id", "program_id", "id"], unique=False
    )
    op.create_table(
        "match_run",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("program_id", sa.Uuid(), nullable=False),
        sa.Column("track_id", sa.Uuid(), nullable=False),
        sa.Column(
            "mode",
            sa.Enum(
                "real",
                "dry_run",
                name="runmode",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "kind",
            sa.Enum(
                "pool",
                "fill",
                "roulette",
                name="runkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("policy_id", sa.Uuid(), nullable=True),
        sa.Column("policy_version", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("input_hash", sa.String(length=80), nullable=True),
        sa.Column("snapshot", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("previous_run_id", sa.Uuid(), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "queued",
                "running",
                "review",
                "simulated",
                "failed",
                "discarded",
                "published",
                name="runstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("progress", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("stats", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("certificate", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("unmatched", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("failure_code", sa.String(length=64), nullable=True),
        sa.Column("failure_errors", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("started_by", sa.Uuid(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "track_id"],
            ["track.organization_id", "track.id"],
            name=op.f("fk_match_run_organization_id_track_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_match_run")),
    )
    op.create_index(
        "ix_match_run_program", "match_run", ["organization_id", "program_id", "id"], unique=False
    )
    op.create_index(
        "uq_match_run_live",
        "match_run",
        ["organization_id", "track_id"],
        unique=True,
        postgresql_where=sa.text("status IN ('queued', 'running') AND mode = 'real'"),
    )
    op.create_table(
        "mentorship",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("program_id", sa.Uuid(), nullable=False),
        sa.Column("track_id", sa.Uuid(), nullable=False),
        sa.Column(
            "format",
            sa.Enum(
                "one_to_one",
                "peer",
                "reverse",
                "group",
                "circle",
                "flash",
                "office_hours",
                "sponsorship",
                name="format",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "pending_start",
                "active",
                "paused",
                "closing",
                "completed",
                "ended_early",
                "cancelled",
                name="mentorshipstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("name", sa.String(length=120), nullable=True),
        sa.Column("common_ground", sa.String(length=500), nullable=True),
        sa.Column("driver_person_id", sa.Uuid(), nullable=False),
        sa.Column(
            "cadence",
            sa.Enum(
                "weekly",
                "biweekly",
                "monthly",
                name="cadence",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("meeting_minutes", sa.Integer(), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=True),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("ended_on", sa.Date(), nullable=True),
        sa.Column(
            "source",
            sa.Enum(
                "proposal",
                "request",
                "coordinator",
                "booking",
                "rematch",
                "import",
                name="mentorshipsource",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("because", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("paused_from_on", sa.Date(), nullable=True),
        sa.Column("paused_to_on", sa.Date(), nullable=True),
        sa.Column("paused_by_safeguarding", sa.Boolean(), nullable=False),
        sa.Column("closing_reason", sa.String(length=32), nullable=True),
        sa.Column("closing_opened_on", sa.Date(), nullable=True),
        sa.Column("completed_by", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("extension", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "track_id"],
            ["track.organization_id", "track.id"],
            name=op.f("fk_mentorship_organization_id_track_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_mentorship")),
    )
    op.create_index(
        "ix_mentorship_program",
        "mentorship",
        ["organization_id", "program_id", "status", "id"],
        unique=False,
    )
    op.create_index(
        "ix_mentorship_track", "mentorship", ["organization_id", "track_id", "status"], unique=False
    )
    op.create_table(
        "participant_track_role",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("participant_id", sa.Uuid(), nullable=False),
        sa.Column("track_id", sa.Uuid(), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "mentor",
                "mentee",
                "peer",
                "facilitator",
                "sponsor",
                "protege",
                name="trackrole",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("load", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "load >= 0 AND held >= 0 AND load <= capacity",
            name=op.f("ck_participant_track_role_load_within_capacity"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "participant_id"],
            ["participant.organization_id", "participant.id"],
            name=op.f("fk_participant_track_role_organization_id_participant_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "track_id"],
            ["track.organization_id", "track.id"],
            name=op.f("fk_participant_track_role_organization_id_track_id"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id",
            "participant_id",
            "track_id",
            "role",
            name=op.f("pk_participant_track_role"),
        ),
    )
    op.create_index(
        "ix_participant_track_role_track",
        "participant_track_role",
        ["organization_id", "track_id", "role"],
        unique=False,
    )
    op.create_table(
        "meeting",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("program_id", sa.Uuid(), nullable=False),
        sa.Column("mentorship_id", sa.Uuid(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "proposed",
                "scheduled",
                "in_progress",
                "held",
                "declined",
                "cancelled",
                name="meetingstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("proposed_times", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("proposed_by", sa.Uuid(), nullable=True),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column(
            "mode",
            sa.Enum(
                "video",
                "phone",
                "in_person",
                name="meetingmode",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("logged_after", sa.Boolean(), nullable=False),
        sa.Column("ical_uid", sa.String(length=120), nullable=False),
        sa.Column("ical_sequence", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "mentorship_id"],
            ["mentorship.organization_id", "mentorship.id"],
            name=op.f("fk_meeting_organization_id_mentorship_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_meeting")),
    )
    op.create_index(
        "ix_meeting_mentorship",
        "meeting",
        ["organization_id", "mentorship_id", "starts_at"],
        unique=False,
    )
    op.create_table(
        "mentorship_member",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mentorship_id", sa.Uuid(), nullable=False),
        sa.Column("participant_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "mentor",
                "mentee",
                "peer",
                "facilitator",
                "sponsor",
                "protege",
                name="trackrole",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "invited",
                "requested",
                "waitlisted",
                "active",
                "declined",
                "left",
                "removed",
                name="memberstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "mentorship_id"],
            ["mentorship.organization_id", "mentorship.id"],
            name=op.f("fk_mentorship_member_organization_id_mentorship_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "participant_id"],
            ["participant.organization_id", "participant.id"],
            name=op.f("fk_mentorship_member_organization_id_participant_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_mentorship_member")),
    )
    op.create_index(
        "ix_mentorship_member_participant",
        "mentorship_member",
        ["organization_id", "participant_id"],
        unique=False,
    )
    op.create_index(
        "ix_mentorship_member_person",
        "mentorship_member",
        ["organization_id", "person_id", "status"],
        unique=False,
    )
    op.create_index(
        "uq_mentorship_member_live",
        "mentorship_member",
        ["organization_id", "mentorship_id", "person_id", "role"],
        unique=True,
        postgresql_where=sa.text("status IN ('invited', 'requested', 'waitlisted', 'active')"),
    )
    op.create_table(
        "mentorship_private_reason",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mentorship_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "mentorship_id"],
            ["mentorship.organization_id", "mentorship.id"],
            name=op.f("fk_mentorship_private_reason_organization_id_mentorship_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_mentorship_private_reason")),
    )
    op.create_index(
        "ix_mentorship_private_reason_author",
        "mentorship_private_reason",
        ["organization_id", "mentorship_id", "person_id"],
        unique=False,
    )
    op.create_table(
        "proposal",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("program_id", sa.Uuid(), nullable=False),
        sa.Column("track_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("score", sa.SmallInteger(), nullable=True),
        sa.Column("parts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "proposed",
                "approved",
                "rejected",
                "swapped",
                "awaiting_people",
                "accepted",
                "declined",
                "expired",
                name="proposalstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("forced", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("is_locked", sa.Boolean(), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("holds_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("mentorship_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "run_id"],
            ["match_run.organization_id", "match_run.id"],
            name=op.f("fk_proposal_organization_id_run_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "track_id"],
            ["track.organization_id", "track.id"],
            name=op.f("fk_proposal_organization_id_track_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_proposal")),
    )
    op.create_index(
        "ix_proposal_run", "proposal", ["organization_id", "run_id", "id"], unique=False
    )
    op.create_index(
        "ix_proposal_track", "proposal", ["organization_id", "track_id", "status"], unique=False
    )
    op.create_index(
        "ix_proposal_mentorship", "proposal", ["organization_id", "mentorship_id"], unique=False
    )
    op.create_table(
        "meeting_attendee",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("meeting_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "meeting_id"],
            ["meeting.organization_id", "meeting.id"],
            name=op.f("fk_meeting_attendee_organization_id_meeting_id"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "meeting_id", "person_id", name=op.f("pk_meeting_attendee")
        ),
    )
    op.create_table(
        "meeting_place",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("meeting_id", sa.Uuid(), nullable=False),
        sa.Column("mentorship_id", sa.Uuid(), nullable=False),
        sa.Column("location", sa.String(length=500), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "meeting_id"],
            ["meeting.organization_id", "meeting.id"],
            name=op.f("fk_meeting_place_organization_id_meeting_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "meeting_id", name=op.f("pk_meeting_place")),
    )
    op.create_index(
        "ix_meeting_attendee_person",
        "meeting_attendee",
        ["organization_id", "person_id", "meeting_id"],
        unique=False,
    )
    op.create_table(
        "proposal_member",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("proposal_id", sa.Uuid(), nullable=False),
        sa.Column("participant_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "mentor",
                "mentee",
                "peer",
                "facilitator",
                "sponsor",
                "protege",
                name="trackrole",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("is_asked", sa.Boolean(), nullable=False),
        sa.Column("answer", sa.String(length=16), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "participant_id"],
            ["participant.organization_id", "participant.id"],
            name=op.f("fk_proposal_member_organization_id_participant_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "proposal_id"],
            ["proposal.organization_id", "proposal.id"],
            name=op.f("fk_proposal_member_organization_id_proposal_id"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "proposal_id", "participant_id", name=op.f("pk_proposal_member")
        ),
    )
    op.create_index(
        "ix_proposal_member_participant",
        "proposal_member",
        ["organization_id", "participant_id"],
        unique=False,
    )
    op.create_index(
        "ix_proposal_member_person",
        "proposal_member",
        ["organization_id", "person_id"],
        unique=False,
    )
    op.create_table(
        "connection",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("label", sa.String(length=120), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "file",
                "oidc",
                name="connectionkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "active",
                "paused",
                name="connectionstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "on_missing",
            sa.Enum(
                "ignore",
                "deactivate",
                name="onmissing",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("guard_people", sa.Integer(), nullable=False),
        sa.Column("guard_percent", sa.Integer(), nullable=False),
        sa.Column("last_success_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("guard_people >= 5", name=op.f("ck_connection_guard_people_at_least_5")),
        sa.CheckConstraint(
            "guard_percent BETWEEN 10 AND 50", name=op.f("ck_connection_guard_percent_range")
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_connection")),
    )
    op.create_index("uq_connection_label", "connection", ["organization_id", "label"], unique=True)
    op.create_table(
        "oidc_connection",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("client_id", sa.String(length=200), nullable=False),
        sa.Column("sealed_secret", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.String(length=64)), nullable=False),
        sa.Column("external_id_claim", sa.String(length=120), nullable=True),
        sa.Column("people_connection_id", sa.Uuid(), nullable=True),
        sa.Column(
            "provisioning",
            sa.Enum(
                "off",
                "pending",
                name="provisioning",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "connection_id"],
            ["connection.organization_id", "connection.id"],
            name=op.f("fk_oidc_connection_organization_id_connection_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "people_connection_id"],
            ["connection.organization_id", "connection.id"],
            name=op.f("fk_oidc_connection_organization_id_people_connection_id"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "connection_id", name=op.f("pk_oidc_connection")
        ),
    )
    op.create_table(
        "identity_link",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "connection_id"],
            ["connection.organization_id", "connection.id"],
            name=op.f("fk_identity_link_organization_id_connection_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "person_id"],
            ["person.organization_id", "person.id"],
            name=op.f("fk_identity_link_organization_id_person_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_identity_link")),
    )
    op.create_index(
        "uq_identity_link_subject",
        "identity_link",
        ["organization_id", "issuer", "subject"],
        unique=True,
    )
    op.create_index(
        "ix_identity_link_person", "identity_link", ["organization_id", "person_id"], unique=False
    )
    op.create_table(
        "mapping",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("newest", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_mapping")),
    )
    op.create_index("uq_mapping_name", "mapping", ["organization_id", "name"], unique=True)
    op.create_table(
        "mapping_version",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("mapping_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "mapping_id"],
            ["mapping.organization_id", "mapping.id"],
            name=op.f("fk_mapping_version_organization_id_mapping_id"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "mapping_id", "number", name=op.f("pk_mapping_version")
        ),
    )
    op.create_table(
        "import_file",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("bytes_received", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("encoding", sa.String(length=16), nullable=False),
        sa.Column("delimiter", sa.String(length=1), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("header", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("ignored_columns", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("warnings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "connection_id"],
            ["connection.organization_id", "connection.id"],
            name=op.f("fk_import_file_organization_id_connection_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_import_file")),
    )
    op.create_table(
        "sync_run",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("mapping_id", sa.Uuid(), nullable=False),
        sa.Column("mapping_version", sa.Integer(), nullable=False),
        sa.Column("previous_run_id", sa.Uuid(), nullable=True),
        sa.Column("only_failed", sa.Boolean(), nullable=False),
        sa.Column(
            "mode",
            sa.Enum(
                "full",
                "delta",
                name="syncmode",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "on_missing",
            sa.Enum(
                "ignore",
                "deactivate",
                name="onmissing",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("is_dry_run", sa.Boolean(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "queued",
                "validating",
                "planned",
                "awaiting_approval",
                "applying",
                "succeeded",
                "partial",
                "failed",
                "cancelled",
                name="runstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("holds", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("managers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("consequences", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("failure_code", sa.String(length=64), nullable=True),
        sa.Column("started_by", sa.Uuid(), nullable=True),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("is_by_office", sa.Boolean(), nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "connection_id"],
            ["connection.organization_id", "connection.id"],
            name=op.f("fk_sync_run_organization_id_connection_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "import_id"],
            ["import_file.organization_id", "import_file.id"],
            name=op.f("fk_sync_run_organization_id_import_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "mapping_id", "mapping_version"],
            [
                "mapping_version.organization_id",
                "mapping_version.mapping_id",
                "mapping_version.number",
            ],
            name=op.f("fk_sync_run_organization_id_mapping_id_mapping_version"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "previous_run_id"],
            ["sync_run.organization_id", "sync_run.id"],
            name=op.f("fk_sync_run_organization_id_previous_run_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_sync_run")),
    )
    op.create_index(
        "ix_sync_run_connection",
        "sync_run",
        ["organization_id", "connection_id", "id"],
        unique=False,
    )
    op.create_index(
        "uq_sync_run_applying",
        "sync_run",
        ["organization_id", "connection_id"],
        unique=True,
        postgresql_where=sa.text("status = 'applying'"),
    )
    op.create_table(
        "sync_row",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=True),
        sa.Column("external_id", sa.String(length=200), nullable=True),
        sa.Column("person_id", sa.Uuid(), nullable=True),
        sa.Column(
            "action",
            sa.Enum(
                "create",
                "update",
                "unchanged",
                "deactivate",
                "reactivate",
                "skip",
                "refuse",
                name="rowaction",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "outcome",
            sa.Enum(
                "planned",
                "applied",
                "unchanged",
                "skipped",
                "failed",
                name="rowoutcome",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("patch", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("stands", sa.Boolean(), nullable=True),
        sa.Column("ended_on", sa.Date(), nullable=True),
        sa.Column("ended_reason", sa.String(length=40), nullable=True),
        sa.Column("changes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("errors", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("warnings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version_seen", sa.Integer(), nullable=True),
        sa.Column("version_after", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "run_id"],
            ["sync_run.organization_id", "sync_run.id"],
            name=op.f("fk_sync_row_organization_id_run_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "run_id", "number", name=op.f("pk_sync_row")),
    )
    op.create_index(
        "ix_sync_row_outcome",
        "sync_row",
        ["organization_id", "run_id", "outcome", "rank", "number"],
        unique=False,
    )
    op.create_table(
        "email_code",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=True),
        sa.Column("address_digest", sa.LargeBinary(), nullable=False),
        sa.Column("is_counted", sa.Boolean(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.String(length=32)), nullable=False),
        sa.Column("code_challenge", sa.String(length=43), nullable=True),
        sa.Column("sign_in_id", sa.Uuid(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_email_code")),
    )
    op.create_index(
        "ix_email_code_address",
        "email_code",
        ["organization_id", "address_digest", "created_at"],
        unique=False,
    )
    op.create_index(
        "ix_email_code_age", "email_code", ["organization_id", "created_at"], unique=False
    )
    op.create_table(
        "sign_in",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("secret_digest", sa.LargeBinary(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("redirect_uri", sa.String(length=2000), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.String(length=32)), nullable=False),
        sa.Column("state", sa.String(length=500), nullable=True),
        sa.Column("code_challenge", sa.String(length=43), nullable=False),
        sa.Column("locale", sa.String(length=12), nullable=False),
        sa.Column("address", sa.String(length=254), nullable=True),
        sa.Column("email_code_id", sa.Uuid(), nullable=True),
        sa.Column("connection_id", sa.Uuid(), nullable=True),
        sa.Column("upstream_state", sa.String(length=100), nullable=True),
        sa.Column("upstream_nonce", sa.String(length=100), nullable=True),
        sa.Column("upstream_verifier", sa.String(length=128), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "client_id"],
            ["oauth_client.organization_id", "oauth_client.id"],
            name=op.f("fk_sign_in_organization_id_client_id"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_sign_in")),
    )
    op.create_index(
        "ix_sign_in_age", "sign_in", ["organization_id", "created_at"], unique=False
    )
    op.create_table(
        "shortlist_entry",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("participant_id", sa.Uuid(), nullable=False),
        sa.Column("other_id", sa.Uuid(), nullable=False),
        sa.Column("program_id", sa.Uuid(), nullable=False),
        sa.Column(
            "mark",
            sa.Enum(
                "favorite",
                "ignore",
                name="mark",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "other_id"],
            ["participant.organization_id", "participant.id"],
            name=op.f("fk_shortlist_entry_organization_id_other_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "participant_id"],
            ["participant.organization_id", "participant.id"],
            name=op.f("fk_shortlist_entry_organization_id_participant_id"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "participant_id", "other_id", name=op.f("pk_shortlist_entry")
        ),
    )
    op.create_index(
        "ix_shortlist_entry_other", "shortlist_entry", ["organization_id", "other_id"], unique=False
    )
    op.create_index(
        "ix_shortlist_entry_program",
        "shortlist_entry",
        ["organization_id", "program_id"],
        unique=False,
    )
    for statement in security():
        op.execute(statement)


# Security: who may see which rows, and which columns the claiming role may touch.

RUNTIME = ("app_api", "app_jobs")
TENANT_TABLES = (
    "access_subject",
    "agreement_template",
    "api_key",
    "authorization_code",
    "client_assertion",
    "connection",
    "email_code",
    "form",
    "idempotency",
    "identity_link",
    "import_file",
    "mapping",
    "mapping_version",
    "match_policy",
    "match_preference",
    "match_run",
    "meeting",
    "meeting_attendee",
    "mentorship",
    "mentorship_member",
    "oauth_client",
    "oidc_connection",
    "organization",
    "organization_clock",
    "outbox_message",
    "participant",
    "participant_track_role",
    "past_pair",
    "person",
    "person_external_id",
    "program",
    "proposal",
    "proposal_member",
    "refresh_family",
    "refresh_token",
    "role_assignment",
    "shortlist_entry",
    "sign_in",
    "sync_row",
    "sync_run",
    "text_vector",
    "timer",
    "track",
)
# Written for somebody: who may read a row is said here too, and jobs only ever delete it.
SELF_ONLY = "person_id = (SELECT current_person())"
PAIR_ONLY = (
    "EXISTS (SELECT 1 FROM mentorship_member m"
    " WHERE m.organization_id = {table}.organization_id"
    " AND m.mentorship_id = {table}.mentorship_id"
    " AND m.person_id = (SELECT current_person()) AND m.joined_at IS NOT NULL"
    " AND (m.left_at IS NULL OR {table}.created_at <= m.left_at))"
)
CONFINED_TABLES = {
    "mentorship_private_reason": (SELF_ONLY, ("id", "mentorship_id", "person_id")),
    "meeting_place": (PAIR_ONLY.format(table="meeting_place"), ("meeting_id", "mentorship_id")),
}
# Of secrets and stored answers jobs see which there are and how old, to delete them.
UNREAD_BY_JOBS = {
    "oidc_connection": ("organization_id", "connection_id", "people_connection_id"),
    "api_key": ("organization_id", "id", "version", "created_by", "expires_at", "revoked_at"),
    "oauth_client": (
        *("organization_id", "id", "version", "kind"),
        *("created_by", "expires_at", "revoked_at"),
    ),
    "idempotency": ("organization_id", "principal", "operation", "key", "created_at"),
    "authorization_code": ("organization_id", "id", "family_id", "expires_at"),
    "email_code": ("organization_id", "id", "created_at"),
    "refresh_token": ("organization_id", "id", "family_id", "created_at"),
    "sign_in": ("organization_id", "id", "created_at"),
}
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
    for table, columns in UNREAD_BY_JOBS.items():
        yield from policies.unread(table, role="app_jobs", readable=columns)
    for table, (readable, keys) in CONFINED_TABLES.items():
        yield from policies.confined(
            table, reader="app_api", readable=readable, keeper="app_jobs", keys=keys
        )
    yield from policies.grant("feed_epoch", roles=(*RUNTIME, "worker_system"), rights="SELECT")
    yield from policies.grant("organization_slug", roles=["app_api"], rights="SELECT, INSERT")
    yield from policies.grant("signing_key", roles=["app_api"], rights="SELECT, INSERT")
    # Whoever turns the keys makes and removes them; it reads no private half.
    yield from policies.grant(
        "signing_key",
        roles=["app_jobs"],
        rights="SELECT (id, mode, generation, signs_from, ends_at), INSERT, UPDATE (ends_at), DELETE",
    )
    yield from policies.grant("relay_lease", roles=["worker_system"], rights="SELECT, UPDATE")
    yield "INSERT INTO relay_lease (bucket) SELECT generate_series(0, 15)"
    # The table lies below programs in the stack, so only the database knows of this key.
    yield (
        "ALTER TABLE role_assignment ADD CONSTRAINT fk_role_assignment_program_id"
        " FOREIGN KEY (organization_id, program_id) REFERENCES program (organization_id, id)"
    )
    yield from policies.queue(
        "timer",
        read=("organization_id", "id", "due_at", "done_at", *LEASE),
        write=(*LEASE, "failure"),
    )
    yield from policies.queue(
        "match_run",
        read=("organization_id", "id", "status", "due_at", *LEASE),
        write=LEASE,
    )
    yield from policies.queue(
        "sync_run",
        read=("organization_id", "id", "status", "due_at", *LEASE),
        write=LEASE,
    )
    yield from policies.queue(
        "outbox_message",
        read=("organization_id", "id", "bucket", "aggregate_id", "sent_at", "consumed_at", *LEASE),
        write=(*LEASE, "failure"),
    )
    yield from policies.queue(
        "organization_clock",
        read=("organization_id", "offset_seconds", "advance_to", "reset_at", *LEASE),
        write=(*LEASE, "failure"),
    )
