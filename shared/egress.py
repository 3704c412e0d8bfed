"""Requests to addresses that customers name: public places only, bounded in size and time.

An address somebody typed in may lead anywhere: to this machine, into the network around it, to the
cloud's metadata. `ssrfguard` looks a name up once, judges every address it has, and connects to
the one it judged; this module decides what is allowed and how much of an answer is taken.
"""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from types import MappingProxyType
from typing import Any, Final

import certifi
import httpcore
import httpx
from ssrfguard import BlockedAddressError, Policy, SSRFGuardError
from ssrfguard.httpx import AsyncSafeTransport

from shared.settings import is_loopback

LARGEST_ANSWER: Final = 64 * 1024
SECONDS: Final = 3.0
PORTS: Final = frozenset({443, 8443})
EVERY_PORT: Final = frozenset(range(1, 65536))
CONNECTIONS: Final = 400
# What is slow in one place must not take the places of all others.
AT_ONCE_PER_HOST: Final = 10
LOOK_UPS_AT_ONCE: Final = 32
MOST_HOSTS: Final = 2000
LONGEST_URL: Final = 2048
PRIVATE: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
# Where clouds hand out credentials to whoever asks from inside; no list of an operator opens these.
METADATA: Final = frozenset(
    map(
        ip_address,
        ("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254"),
    )
)
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

type Address = IPv4Address | IPv6Address


class EgressError(Exception):
    """Why an address is not called, or its answer not taken, in words for who configured it."""

    def __init__(self, detail: str) -> None:
        """Say what is wrong."""
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Guard(Policy):
    """What may be reached; metadata addresses never are."""

    def check_address(self, address: str | Address) -> None:
        """Judge one address that a name led to."""
        parsed = ip_address(address) if isinstance(address, str) else address
        if parsed in METADATA:
            raise BlockedAddressError(str(parsed), "it hands out a cloud's credentials")
        super().check_address(parsed)


class Egress:
    """The way out for every address that somebody from outside gave."""

    def __init__(
        self,
        allowed: Sequence[str] = (),
        *,
        may_be_plain: bool = False,
        is_shut: bool = False,
        resolver: Any = None,
        authorities: ssl.SSLContext | None = None,
    ) -> None:
        """Take the hosts and networks an operator opens.

        `may_be_plain` lets loopback hosts among them be called without TLS; where the way out
        `is_shut`, nobody is called at all.
        """
        self._is_shut = is_shut
        networks, hosts = _sorted(allowed)
        verify = authorities or _authorities()
        self._hosts = hosts
        self._public = _policy(networks=networks)
        self._private = _policy(networks=(*networks, *PRIVATE), ports=EVERY_PORT)
        self._loopback = _policy(
            networks=(*networks, *LOOPBACK), ports=EVERY_PORT, may_be_plain=may_be_plain
        )
        self._transports = {
            id(policy): AsyncSafeTransport(
                policy=policy,
                resolver=resolver,
                verify=verify,
                trust_env=False,
                resolver_slots=LOOK_UPS_AT_ONCE,
                # Each request connects anew: what was judged is never older than the request.
                limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=0),
            )
            for policy in (self._public, self._private, self._loopback)
        }
        self._abandoned: set[asyncio.Task[Answer]] = set()
        self._lanes: OrderedDict[str, asyncio.Semaphore] = OrderedDict()

    async def close(self) -> None:
        """Close what is open."""
        for transport in self._transports.values():
            await transport.aclose()

    def check(self, url: str) -> None:
        """Refuse an address that is wrong as it stands; where its name leads is seen later."""
        if self._is_shut:
            raise EgressError("A demo that is open to others calls nobody.")
        if len(url) > LONGEST_URL:
            raise EgressError(f"The address is longer than {LONGEST_URL} characters.")
        try:
            self._policy_for(url).check_url(url)
        except (SSRFGuardError, httpx.InvalidURL, ValueError):
            raise EgressError(_refused(url)) from None

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        content: bytes | None = None,
    ) -> Answer:
        """Send one request and return the answer whole; a redirect or too much of it is refused."""
        self.check(url)
        lane = self._lane(url)
        try:
            await asyncio.wait_for(lane.acquire(), SECONDS)
        except TimeoutError:
            raise EgressError("Too many requests wait for this host.") from None
        try:
            return await self._sent(method, url, headers, content)
        finally:
            lane.release()

    async def _sent(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> Answer:
        task = asyncio.create_task(self._send(method, url, headers, content))
        try:
            await asyncio.wait({task}, timeout=SECONDS)
        finally:
            if not task.done():
                # A name server that keeps silent holds its thread, never whoever asked.
                self._abandoned.add(task)
                task.add_done_callback(self._forget)
                task.cancel()
        if not task.done():
            raise EgressError(f"There was no answer within {SECONDS:.0f} seconds.")
        return task.result()

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> Answer:
        transport = self._transports[id(self._policy_for(url))]
        wanted = {"Accept-Encoding": "identity", "User-Agent": "mentoring", **headers}
        request = httpx.Request(
            method,
            url,
            headers=wanted,
            content=content,
            extensions={"timeout": httpx.Timeout(SECONDS).as_dict()},
        )
        try:
            response = await transport.handle_async_request(request)
            try:
                return await _taken(response)
            finally:
                await response.aclose()
        except SSRFGuardError:
            raise EgressError(
                "The address leads into a private or reserved network, or nowhere that is allowed."
            ) from None
        except ssl.SSLError:
            raise EgressError("The certificate is not trusted or not for this host.") from None
        except (httpx.TransportError, httpcore.NetworkError, OSError) as error:
            raise EgressError(_silence(error)) from None

    def _lane(self, url: str) -> asyncio.Semaphore:
        host = httpx.URL(url).host
        lane = self._lanes.setdefault(host, asyncio.Semaphore(AT_ONCE_PER_HOST))
        self._lanes.move_to_end(host)
        if len(self._lanes) > MOST_HOSTS:
            self._lanes.popitem(last=False)
        return lane

    def _policy_for(self, url: str) -> Policy:
        host = httpx.URL(url).host.lower().rstrip(".")
        if host not in self._hosts:
            return self._public
        return self._loopback if is_loopback(host) else self._private

    def _forget(self, task: asyncio.Task[Answer]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            # Asked for, or the loop complains of an error that nobody saw.
            task.exception()


def _sorted(allowed: Iterable[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    networks, hosts = [], set()
    for entry in allowed:
        if "/" in entry:
            networks.append(str(ip_network(entry)))
        else:
            hosts.add(entry.lower().strip("[]"))
    return tuple(networks), frozenset(hosts)


def check_allowed(allowed: Iterable[str]) -> None:
    """Refuse a list of hosts and networks that cannot be meant; it is a `ValueError`."""
    networks, hosts = _sorted(allowed)
    _policy(networks=networks)
    for host in hosts:
        is_address = ":" in host and isinstance(ip_network(host), IPv6Network)
        if not is_address and (not host or httpx.URL(f"https://{host}").host != host):
            raise ValueError(f"{host} is neither a host nor a network")


def _policy(
    *,
    networks: Sequence[str],
    ports: frozenset[int] = PORTS,
    may_be_plain: bool = False,
) -> Policy:
    return Guard(
        allowed_schemes=frozenset({"https", "http"} if may_be_plain else {"https"}),
        allowed_networks=tuple(map(ip_network, networks)),
        allowed_ports=ports,
        max_connection_attempts=2,
        max_url_length=LONGEST_URL,
    )


@cache
def _authorities() -> ssl.SSLContext:
    """Trust the public authorities and those this machine knows, such as a company's own."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context


async def _taken(response: httpx.Response) -> Answer:
    if response.is_redirect:
        raise EgressError("The answer is a redirect, which is not followed.")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise EgressError("The answer is compressed although that was not asked for.")
    taken = bytearray()
    async for chunk in response.aiter_raw():
        taken += chunk
        if len(taken) > LARGEST_ANSWER:
            raise EgressError(f"The answer is larger than {LARGEST_ANSWER // 1024} KiB.")
    return Answer(response.status_code, response.headers, bytes(taken))


def _refused(url: str) -> str:
    ports = " or ".join(map(str, sorted(PORTS)))
    if not url.lower().startswith("https://"):
        return "The address must begin with https://."
    return f"The address must name a public host, without user and password, on port {ports}."


def _silence(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "The certificate is not trusted or not for this host."
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return f"There was no answer within {SECONDS:.0f} seconds."
    return "There is no connection to this address, or it broke off."
