"""What api asks of an organization's own identity provider: its metadata, its keys, an ID token.

Metadata and keys are kept for ten minutes. A key that is not among them is looked for once a
minute at most, and while a provider is away what it said last goes on counting for a day.
"""

import asyncio
import base64
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

import structlog
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwk
from joserfc.errors import JoseError
from pydantic_core import from_json

from shared.egress import Answer, Egress, EgressError
from shared.errors import LimitedError
from shared.web.limits import Buckets

WELL_KNOWN: Final = "/.well-known/openid-configuration"
FRESH_SECONDS: Final = 600.0
# Between two looks for a key that is not there, and between two tries of what did not answer.
UNKNOWN_KEY_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 5.0
OUTAGE_SECONDS: Final = 24 * 3600.0
INSPECTIONS_A_MINUTE: Final = 10
MOST_ISSUERS: Final = 1000
MOST_KEYS: Final = 100
LEAST_RSA_BITS: Final = 2048
LONGEST_TOKEN: Final = 16 * 1024
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_OK: Final = 200

type Json = Mapping[str, Any]

logger = structlog.get_logger()


class ProviderError(Exception):
    """What is wrong with a provider or its answer: a code, and words for an administrator."""

    def __init__(self, code: str, detail: str) -> None:
        """Name the fault."""
        super().__init__(code)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Provider:
    """What a provider says of itself (OpenID Connect Discovery 1.0, RFC 9207)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    names_itself: bool
    takes_basic: bool


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """One public key and the only algorithm it verifies."""

    kid: str | None
    algorithm: str
    key: Any


@dataclass(frozen=True, slots=True)
class Login:
    """What ties the provider's answer to one sign-in in one browser."""

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What a code was worth; neither is believed yet."""

    id_token: str = field(repr=False)
    access_token: str | None = field(repr=False)


@dataclass(slots=True)
class _Kept[T]:
    """The last good answer to one question, and when it was asked."""

    value: T | None = None
    fault: ProviderError | None = None
    fetched_at: float = float("-inf")
    tried_at: float = float("-inf")
    searched_at: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class IdentityProviders:
    """Asks providers through the guarded way out, and remembers what they said."""

    def __init__(self, egress: Egress, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Ask through `egress`."""
        self._egress = egress
        self._monotonic = monotonic
        self._inspections = Buckets(INSPECTIONS_A_MINUTE, monotonic)
        self._providers: OrderedDict[str, _Kept[Provider]] = OrderedDict()
        self._keys: OrderedDict[str, _Kept[tuple[ProviderKey, ...]]] = OrderedDict()

    async def close(self) -> None:
        """Close the way out."""
        await self._egress.close()

    def check(self, issuer: str) -> None:
        """Refuse an issuer whose address may not be called; it is an `EgressError`."""
        if "?" in issuer or "#" in issuer:
            raise EgressError("An issuer has neither a query nor a fragment.")
        self._egress.check(issuer)

    async def discover(self, issuer: str) -> Provider:
        """Return what a provider says of itself."""

        async def fetch() -> Provider:
            return await self._discovered(issuer)

        return await self._current(_entry(self._providers, issuer), fetch)

    async def key(self, provider: Provider, *, kid: str | None) -> ProviderKey:
        """Return the key that a token names, or the only one there is."""
        kept = _entry(self._keys, provider.jwks_uri)

        async def fetch() -> tuple[ProviderKey, ...]:
            return await self._published(provider)

        found = _named(await self._current(kept, fetch), kid)
        if found is None:
            found = _named(await self._searched(kept, fetch, kid), kid)
        if found is None:
            raise ProviderError("unknown_key", "The ID token is signed with an unpublished key.")
        return found

    async def inspect(self, issuer: str, *, asker: str) -> int:
        """Ask for metadata and keys right now; return how many keys are of use.

        One asker does so ten times a minute at most: somebody else has to answer.
        """
        left = self._inspections.spend(asker)
        if left < 0:
            seconds = self._inspections.seconds_until(left, 0)
            raise LimitedError(headers={"Retry-After": str(seconds)})
        provider = await self._discovered(issuer)
        keys = await self._published(provider)
        _note(_entry(self._providers, issuer), provider, self._monotonic())
        _note(_entry(self._keys, provider.jwks_uri), keys, self._monotonic())
        return len(keys)

    async def redeem(self, provider: Provider, login: Login, *, code: str, secret: str) -> Redeemed:
        """Trade a code for an ID token (RFC 6749, section 4.1.3, with RFC 7636)."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": login.redirect_uri,
            "code_verifier": login.verifier,
        }
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        if provider.takes_basic:
            headers["Authorization"] = _basic(login.client_id, secret)
        else:
            form |= {"client_id": login.client_id, "client_secret": secret}
        answer = await self._asked(
            "POST", provider.token_endpoint, headers=headers, content=urlencode(form).encode()
        )
        return _redeemed(answer)

    async def _discovered(self, issuer: str) -> Provider:
        answer = await self._asked("GET", issuer.rstrip("/") + WELL_KNOWN)
        if answer.status != _OK:
            raise ProviderError(
                "discovery_failed",
                f"{issuer.rstrip('/')}{WELL_KNOWN} answers with status {answer.status}.",
            )
        provider = read_metadata(_object(answer), issuer)
        for endpoint in _ENDPOINTS:
            self._refuse_endpoint(endpoint, getattr(provider, endpoint))
        return provider

    def _refuse_endpoint(self, name: str, url: str) -> None:
        try:
            self._egress.check(url)
        except EgressError as error:
            raise ProviderError("endpoint_refused", f"{name}: {error.detail}") from None

    async def _published(self, provider: Provider) -> tuple[ProviderKey, ...]:
        answer = await self._asked("GET", provider.jwks_uri)
        if answer.status != _OK:
            raise ProviderError("keys_failed", f"jwks_uri answers with status {answer.status}.")
        keys = read_keys(_object(answer))
        if not keys:
            raise ProviderError(
                "no_usable_key",
                f"The key set holds no signing key for {', '.join(ALGORITHMS)}.",
            )
        return keys

    async def _asked(self, method: str, url: str, **sent: Any) -> Answer:
        try:
            return await self._egress.send(method, url, **sent)
        except EgressError as error:
            raise ProviderError("provider_unreachable", error.detail) from None

    async def _current[T](self, kept: _Kept[T], fetch: Callable[[], Awaitable[T]]) -> T:
        """Return what is fresh, or fetch it; in an outage what was good last."""
        if kept.value is not None and self._age(kept.fetched_at) < FRESH_SECONDS:
            return kept.value
        async with kept.lock:
            is_due = self._age(kept.tried_at) >= RETRY_SECONDS
            if self._age(kept.fetched_at) >= FRESH_SECONDS and is_due:
                await self._refresh(kept, fetch)
            if kept.value is None or self._age(kept.fetched_at) >= OUTAGE_SECONDS:
                raise kept.fault or ProviderError("provider_unreachable", "There is no answer.")
            return kept.value

    async def _searched(
        self,
        kept: _Kept[tuple[ProviderKey, ...]],
        fetch: Callable[[], Awaitable[tuple[ProviderKey, ...]]],
        kid: str | None,
    ) -> tuple[ProviderKey, ...]:
        """Look once more for a key that was not there, at most once a minute for all askers."""
        async with kept.lock:
            known = kept.value or ()
            is_due = self._age(kept.searched_at) >= UNKNOWN_KEY_SECONDS
            if _named(known, kid) is None and is_due:
                kept.searched_at = self._monotonic()
                await self._refresh(kept, fetch)
            return kept.value or ()

    async def _refresh[T](self, kept: _Kept[T], fetch: Callable[[], Awaitable[T]]) -> None:
        kept.tried_at = self._monotonic()
        try:
            value = await fetch()
        except ProviderError as error:
            logger.warning("identity_provider_away", code=error.code)
            kept.fault = error
        else:
            _note(kept, value, self._monotonic())

    def _age(self, instant: float) -> float:
        return self._monotonic() - instant


def authorization_url(provider: Provider, login: Login) -> str:
    """Return where the browser signs in (OpenID Connect Core, section 3.1.2.1)."""
    url: str = prepare_grant_uri(
        provider.authorization_endpoint,
        client_id=login.client_id,
        response_type="code",
        redirect_uri=login.redirect_uri,
        scope=" ".join(login.scopes),
        state=login.state,
        nonce=login.nonce,
        code_challenge=create_s256_code_challenge(login.verifier),
        code_challenge_method="S256",
    )
    return url


def read_metadata(document: Json, issuer: str) -> Provider:
    """Read a discovery document, which must be the configured issuer's own."""
    if document.get("issuer") != issuer:
        raise ProviderError(
            "issuer_differs",
            f"The provider calls itself {str(document.get('issuer'))[:500]!r}; the connection's"
            " issuer must be exactly that.",
        )
    for name in _ENDPOINTS:
        if not isinstance(document.get(name), str):
            raise ProviderError("endpoint_missing", f"The provider names no {name}.")
        if not document[name].isascii():
            # RFC 3986 knows no other; a browser could not be sent there.
            raise ProviderError("endpoint_refused", f"{name}: an address is written in ASCII.")
    signed = document.get("id_token_signing_alg_values_supported", ["RS256"])
    if not isinstance(signed, list) or not any(one in ALGORITHMS for one in signed):
        raise ProviderError(
            "no_usable_key", f"The provider signs with none of {', '.join(ALGORITHMS)}."
        )
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Provider(
        issuer=issuer,
        authorization_endpoint=document["authorization_endpoint"],
        token_endpoint=document["token_endpoint"],
        jwks_uri=document["jwks_uri"],
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        takes_basic=isinstance(methods, list) and "client_secret_basic" in methods,
    )


def read_keys(document: Json) -> tuple[ProviderKey, ...]:
    """Read the keys that may sign; what is of no use here is passed over."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        return ()
    return tuple(key for one in listed[:MOST_KEYS] if (key := _key(one)) is not None)


def _key(document: Any) -> ProviderKey | None:
    if not isinstance(document, dict) or document.get("use", "sig") != "sig":
        return None
    algorithm = _algorithm(document)
    kid = document.get("kid")
    if algorithm is None or not (kid is None or isinstance(kid, str)):
        return None
    # Only what makes the public key: neither certificates nor links to some.
    named = {
        name: document[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in document
    }
    try:
        # Measured before it is made: what is too small for the library is none of ours.
        if named["kty"] == "RSA" and len(named["n"]) * 6 < LEAST_RSA_BITS:
            return None
        key = jwk.import_key(named)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return ProviderKey(kid, algorithm, key)


def _algorithm(document: Json) -> str | None:
    """Return the one algorithm of a key: what it declares, or what its kind is commonly used for.

    A shared secret (`oct`) is no public key, so nothing signed with HMAC is ever believed.
    """
    by_kind: Mapping[Any, tuple[str, ...]] = {
        ("RSA", None): ("RS256", "PS256"),
        ("EC", "P-256"): ("ES256",),
        ("OKP", "Ed25519"): ("EdDSA",),
    }
    curve = document.get("crv") if document.get("kty") != "RSA" else None
    try:
        possible = by_kind.get((document.get("kty"), curve), ())
    except TypeError:
        return None
    declared = document.get("alg", possible[0] if possible else None)
    if declared == "Ed25519":
        declared = "EdDSA"
    return declared if declared in possible else None


def _named(keys: tuple[ProviderKey, ...], kid: str | None) -> ProviderKey | None:
    if kid is None:
        return keys[0] if len(keys) == 1 else None
    return next((key for key in keys if key.kid == kid), None)


def _entry[T](kept: OrderedDict[str, _Kept[T]], name: str) -> _Kept[T]:
    if name not in kept:
        kept[name] = _Kept()
        if len(kept) > MOST_ISSUERS:
            kept.popitem(last=False)
    kept.move_to_end(name)
    return kept[name]


def _note[T](kept: _Kept[T], value: T, now: float) -> None:
    kept.value, kept.fault = value, None
    kept.fetched_at = kept.tried_at = now


def _object(answer: Answer) -> dict[str, Any]:
    try:
        document = from_json(answer.content, allow_inf_nan=False)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ProviderError("no_json", "The provider's answer is no JSON object.")
    return document


def _redeemed(answer: Answer) -> Redeemed:
    document = _object(answer)
    if answer.status != _OK:
        refused = str(document.get("error"))[:80]
        if refused in {"invalid_client", "unauthorized_client"}:
            raise ProviderError("client_refused", "The provider refuses client id or secret.")
        raise ProviderError("code_refused", "The provider does not take the code.")
    id_token, access_token = document.get("id_token"), document.get("access_token")
    if not isinstance(id_token, str) or len(id_token) > LONGEST_TOKEN:
        raise ProviderError("no_id_token", "The provider gives no ID token; is `openid` a scope?")
    return Redeemed(id_token, access_token if isinstance(access_token, str) else None)


def _basic(client_id: str, secret: str) -> str:
    # RFC 6749, section 2.3.1: both halves are encoded as in a form before they are joined.
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
