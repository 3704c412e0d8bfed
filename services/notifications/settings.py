"""What the notifications service and its worker are told by their environment."""

from enum import StrEnum

from pydantic import Field, SecretStr, model_validator

from shared.settings import (
    DatabaseUrl,
    Environment,
    Mode,
    Pooler,
    ServiceSettings,
    is_loopback,
)


class MailSecurity(StrEnum):
    """How the connection to the mail server is protected."""

    AUTO = "auto"
    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


class NotificationsSettings(ServiceSettings):
    """Settings of `services.notifications`; every one is documented in docs/configuration.md."""

    notifications_database_url: DatabaseUrl = Field(
        description="Database of notifications as the role `app_notifications`."
    )
    notifications_worker_database_url: DatabaseUrl = Field(
        description="The same database as `worker_system`, which claims due deliveries."
    )
    notifications_migrator_database_url: DatabaseUrl | None = Field(
        None, description="The same database as `migrator`; migrations need it."
    )
    database_pooler: Pooler = Field(
        Pooler.NONE, description="`none`, or `transaction` behind PgBouncer in transaction mode."
    )
    notifications_connections: int = Field(
        5, ge=1, le=200, description="Connections of each pool, one for reads and one for writes."
    )
    smtp_host: str = Field("127.0.0.1", description="Mail server that takes what is to be sent.")
    smtp_port: int = Field(25, ge=1, le=65535, description="Port of the mail server.")
    smtp_security: MailSecurity = Field(
        MailSecurity.AUTO,
        description="`auto` (STARTTLS where offered), `starttls` (insist on it), `tls` or `none`.",
    )
    smtp_username: str | None = Field(None, description="Name to sign in with at the mail server.")
    smtp_password: SecretStr | None = Field(
        None, description="Password to sign in with at the mail server."
    )
    smtp_connections: int = Field(
        4, ge=1, le=100, description="Connections to the mail server kept at once."
    )
    mail_from: str = Field(
        "mentoring@localhost",
        description="Address mails come from; also the organizer of calendar invitations.",
    )
    mail_from_name: str = Field("Mentoring", description="Name beside that address.")
    app_url: str = Field(
        "", description="Address of the front end that links in mails lead to; empty: no links."
    )
    sandbox_smtp: bool = Field(
        False,
        description="Send mail of sandbox organizations too, besides capturing it: only where the "
        "mail server is itself a sink, as on a local stack. Production refuses to start with it.",
    )

    @model_validator(mode="after")
    def _refuse_aids_in_production(self) -> "NotificationsSettings":
        if self.env is Environment.PRODUCTION and self.sandbox_smtp:
            raise ValueError(
                "MENTORING_SANDBOX_SMTP: sending mail of sandbox organizations is refused in"
                " production"
            )
        return self

    @model_validator(mode="after")
    def _keep_a_demo_from_writing_to_anybody(self) -> "NotificationsSettings":
        has_account = self.smtp_username is not None or self.smtp_password is not None
        if self.mode is Mode.DEMO and (has_account or not is_loopback(self.smtp_host)):
            raise ValueError(
                "MENTORING_MODE, MENTORING_SMTP_HOST: a demo sends mail to a sink on this machine"
                " only"
            )
        return self
