"""What customers' addresses may lead to: a corpus of hostile ones, and too large answers."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.egress import (
    AT_ONCE_PER_HOST,
    LARGEST_ANSWER,
    Answer,
    Egress,
    EgressError,
    check_allowed,
)

type Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

WRONG_AS_THEY_STAND = (
    *("", "login.example.org", "//login.example.org", "http://login.example.org/"),
    *("file:///etc/passwd", "ftp://example.org/", "gopher://example.org:70/_", "data:text/plain,x"),
    *(
        "javascript:alert(1)",
        "https:///nowhere",
        "https://",
        "https://:443/",
        "HTTP://example.org/",
    ),
    *(
        "https://somebody@example.org/",
        "https://a:b@example.org/",
        "https://example.org@127.0.0.1/",
    ),
    *("https://example.org:22/", "https://example.org:80/", "https://example.org:25/"),
    *("https://example.org:0/", "https://example.org:65536/", "https://example.org:-1/"),
    *("https://example.org:6379/", "https://exa mple.org/", "https://example.org\\@127.0.0.1/"),
    *("https://example.org\r\nX-Injected: yes/", "https://example.org\x00.evil.org/"),
    *("https://127.0.0.1/", "https://127.1.2.3/", "https://0.0.0.0/", "https://10.1.2.3/"),
    *("https://172.16.0.1/", "https://172.31.255.255/", "https://192.168.1.1/"),
    *("https://169.254.169.254/latest/meta-data/", "https://100.64.0.1/", "https://198.18.0.1/"),
    *("https://100.100.100.200/", "https://192.0.0.192/", "https://168.63.129.16/"),
    *("https://192.0.2.1/", "https://198.51.100.1/", "https://203.0.113.1/", "https://224.0.0.1/"),
    *("https://240.0.0.1/", "https://255.255.255.255/", "https://[::1]/", "https://[::]/"),
    *("https://[::ffff:127.0.0.1]/", "https://[::ffff:10.0.0.1]/", "https://[::ffff:a9fe:a9fe]/"),
    *("https://[::127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://[64:ff9b::a9fe:a9fe]/"),
    *("https://[64:ff9b:1::1]/", "https://[2002:7f00:1::]/", "https://[2002:a9fe:a9fe::1]/"),
    *("https://[2002:a00:1::]/", "https://[2001:0:7f00:1::]/", "https://[fe80::1]/"),
    *("https://[fec0::1]/", "https://[fc00::1]/", "https://[fd00:ec2::254]/", "https://[ff02::1]/"),
    *("https://[2001:db8::1]/", "https://[fe80::1%25eth0]/", "https://[::1", "https://[::g]/"),
    "https://" + "a" * 64 + ".example.org:99/",
    "https://example.org/" + "a" * 2100,
)
# Spellings that a resolver takes for an address, though they look like names.
WRONG_ONCE_RESOLVED = (
    *("https://localhost/", "https://localhost./", "https://2130706433/", "https://0x7f000001/"),
    *("https://0177.0.0.1/", "https://127.1/", "https://0x7f.1/", "https://017700000001/"),
    *("https://①②⑦.0.0.1/", "https://127。0。0。1/", "https://3232235777/"),
)
HIDDEN_ADDRESSES = (
    *("127.0.0.1", "10.0.0.5", "172.20.0.1", "192.168.0.10", "169.254.169.254", "100.64.1.1"),
    *("198.18.0.1", "0.0.0.0", "::1", "fe80::1", "fd12::1", "::ffff:127.0.0.1"),  # noqa: S104
    *("64:ff9b::7f00:1", "2002:c0a8:1::", "fd00:ec2::254"),
)


def resolving(*answers: str | tuple[str, ...]) -> Any:
    """Return a name server that gives each answer in turn and then the last one again."""
    waiting = list(answers)

    def resolve(_host: str, port: int, *_rest: object) -> list[Any]:
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        addresses = (answer,) if isinstance(answer, str) else answer
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (one, port, 0, 0))
            if ":" in one
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]

    return resolve


@asynccontextmanager
async def going_out(*allowed: str, **options: Any) -> AsyncIterator[Egress]:
    egress = Egress(allowed, **options)
    try:
        yield egress
    finally:
        await egress.close()


@asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a loopback port and return it."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


def answering(content: bytes, *, head: str = "HTTP/1.1 200 OK") -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"{head}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()
        writer.close()

    return serve


@pytest.mark.parametrize("url", WRONG_AS_THEY_STAND)
async def test_a_hostile_address_is_refused_as_it_stands(url: str) -> None:
    async with going_out(resolver=resolving("93.184.215.14")) as egress:
        with pytest.raises(EgressError):
            egress.check(url)
        with pytest.raises(EgressError):
            await egress.send("GET", url)


@pytest.mark.parametrize("url", WRONG_ONCE_RESOLVED)
async def test_a_disguised_address_is_refused_once_resolved(url: str) -> None:
    async with going_out() as egress:
        with pytest.raises(EgressError):
            await egress.send("GET", url)


@pytest.mark.parametrize("address", HIDDEN_ADDRESSES)
async def test_a_public_name_that_leads_inside_is_refused(address: str) -> None:
    async with going_out(resolver=resolving(address)) as egress:
        with pytest.raises(EgressError, match="private or reserved"):
            await egress.send("GET", "https://login.example.org/")


async def test_a_name_with_one_bad_address_is_refused_whole() -> None:
    async with going_out(resolver=resolving(("93.184.215.14", "10.0.0.1"))) as egress:
        with pytest.raises(EgressError, match="private or reserved"):
            await egress.send("GET", "https://login.example.org/")


async def test_an_address_is_judged_anew_with_every_request() -> None:
    async with serving(answering(b"secret")) as port:
        resolver = resolving("127.0.0.1", "169.254.169.254")
        async with going_out("localhost", may_be_plain=True, resolver=resolver) as egress:
            first = await egress.send("GET", f"http://localhost:{port}/")
            with pytest.raises(EgressError, match="private or reserved"):
                await egress.send("GET", f"http://localhost:{port}/")

    assert first.content == b"secret"


async def test_the_name_is_looked_up_once_so_nobody_swaps_it_in_between() -> None:
    looked_up = []

    def resolve(host: str, port: int, *_rest: object) -> list[Any]:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with (
        serving(answering(b"ok")) as port,
        going_out("localhost", may_be_plain=True, resolver=resolve) as egress,
    ):
        await egress.send("GET", f"http://localhost:{port}/")

    assert looked_up == ["localhost"]


@pytest.mark.parametrize("url", ["https://idp.corp/", "https://keycloak.corp:8080/"])
async def test_a_listed_host_may_be_private_but_is_never_a_metadata_address(url: str) -> None:
    allowed = ("idp.corp", "keycloak.corp", "100.64.0.0/10", "169.254.0.0/16")
    async with going_out(*allowed, resolver=resolving("100.100.100.200")) as egress:
        with pytest.raises(EgressError, match="private or reserved"):
            await egress.send("GET", url)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.1.1", "0.0.0.0"])  # noqa: S104
async def test_a_listed_host_opens_private_networks_only(address: str) -> None:
    async with going_out("idp.corp", resolver=resolving(address)) as egress:
        with pytest.raises(EgressError, match="private or reserved"):
            await egress.send("GET", "https://idp.corp/")


async def test_a_listed_host_is_called_without_tls_only_on_this_machine() -> None:
    async with going_out("idp.corp", "localhost", may_be_plain=True) as lenient:
        lenient.check("http://localhost:8080/realms/one")
        with pytest.raises(EgressError, match="https"):
            lenient.check("http://idp.corp/")
    async with going_out("localhost") as strict:
        with pytest.raises(EgressError, match="https"):
            strict.check("http://localhost:8080/realms/one")


async def test_the_certificate_is_for_the_name_though_the_address_was_judged(
    tmp_path: Path,
) -> None:
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    server, trusted = certificate(tmp_path, "login.example.org")
    named: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: named.append(name)
    async with serving(serve, server) as port:
        options: dict[str, Any] = {"resolver": resolving("127.0.0.1"), "authorities": trusted}
        networks = ("127.0.0.0/8",)
        async with going_out(*networks, **options) as egress, opened(egress, port):
            answer = await egress.send("GET", f"https://login.example.org:{port}/")
            with pytest.raises(EgressError, match="certificate"):
                await egress.send("GET", f"https://other.example.org:{port}/")

    assert answer == Answer(200, answer.headers, b"ok")
    assert named[0] == "login.example.org"
    assert f"host: login.example.org:{port}".encode() in bytes(heard).lower()


@asynccontextmanager
async def opened(egress: Egress, port: int) -> AsyncIterator[None]:
    """Let one more port through: a test cannot bind 443."""
    for policy in (egress._public,):
        object.__setattr__(policy, "allowed_ports", frozenset({port}))
    yield


def certificate(place: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context with a fresh certificate, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = place / "certificate.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    trusted = ssl.create_default_context()
    trusted.load_verify_locations(file)
    return server, trusted


@pytest.mark.parametrize("target", ["http://169.254.169.254/", "https://elsewhere.example.org/"])
async def test_a_redirect_is_an_error_and_never_followed(target: str) -> None:
    head = f"HTTP/1.1 302 Found\r\nLocation: {target}"
    with pytest.raises(EgressError, match="redirect"):
        await from_here(answering(b"", head=head))


async def test_an_answer_of_the_largest_size_is_taken_and_no_more() -> None:
    assert len((await from_here(answering(b"x" * LARGEST_ANSWER))).content) == LARGEST_ANSWER
    with pytest.raises(EgressError, match="64 KiB"):
        await from_here(answering(b"x" * (LARGEST_ANSWER + 1)))


async def test_an_answer_without_an_end_is_cut_off() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()

    with pytest.raises(EgressError, match="64 KiB"):
        await from_here(serve)


async def test_an_answer_that_unpacks_to_more_is_not_unpacked() -> None:
    head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip"
    with pytest.raises(EgressError, match="compressed"):
        await from_here(answering(b"\x1f\x8b", head=head))


async def test_silence_costs_three_seconds_and_a_trickle_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.egress.SECONDS", 0.3)

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.wait({asyncio.ensure_future(reader.read(1))}, timeout=0.05)

    begun = time.monotonic()
    with pytest.raises(EgressError, match="no answer within"):
        await from_here(trickle)
    assert time.monotonic() - begun < 5


async def test_a_name_server_that_keeps_silent_holds_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.egress.SECONDS", 0.2)
    released = threading.Event()

    def resolve(*_given: object) -> list[Any]:
        released.wait(5)
        raise socket.gaierror

    async with going_out(resolver=resolve) as egress:
        begun = time.monotonic()
        with pytest.raises(EgressError, match="no answer within"):
            await egress.send("GET", "https://login.example.org/")
        waited = time.monotonic() - begun
        released.set()
    assert waited < 4


async def test_nobody_listening_is_said_in_plain_words() -> None:
    async with serving(answering(b"")) as port:
        pass
    async with going_out("localhost", may_be_plain=True) as egress:
        with pytest.raises(EgressError, match="no connection"):
            await egress.send("GET", f"http://localhost:{port}/")


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert (await from_here(answering(b"direct"))).content == b"direct"


async def test_a_slow_host_takes_ten_places_and_nobody_elses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.egress.SECONDS", 0.5)
    inside: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside.append(writer)
        await reader.read()

    async with (
        serving(silent) as slow,
        serving(answering(b"ok")) as port,
        going_out("localhost", "127.0.0.1", may_be_plain=True) as egress,
    ):
        url = f"http://localhost:{slow}/"
        waiting = [asyncio.create_task(egress.send("GET", url)) for _ in range(30)]
        while len(inside) < AT_ONCE_PER_HOST:
            await asyncio.wait(waiting, timeout=0.01)
        answer = await egress.send("GET", f"http://127.0.0.1:{port}/")
        is_bounded = len(inside) == AT_ONCE_PER_HOST
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        for writer in inside:
            writer.close()

    assert answer.content == b"ok"
    assert is_bounded
    assert all(isinstance(one, EgressError) for one in outcomes)


async def test_where_the_way_out_is_shut_nobody_is_called() -> None:
    async with serving(answering(b"")) as port, going_out("localhost", is_shut=True) as egress:
        with pytest.raises(EgressError, match="demo"):
            await egress.send("GET", f"http://localhost:{port}/")


@pytest.mark.parametrize("entry", ["a b", "10.0.0.0/33", "https://idp.corp", "64:ff9b::/96", ""])
def test_a_list_that_cannot_be_meant_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_allowed([entry])


def test_hosts_addresses_and_networks_are_listed() -> None:
    check_allowed(["idp.corp", "localhost", "10.0.0.0/8", "10.1.2.3", "::1", "fd00::/8"])


async def from_here(serve: Serve) -> Answer:
    """Fetch what a server on this machine answers."""
    async with (
        serving(serve) as port,
        going_out("localhost", "127.0.0.1", may_be_plain=True) as egress,
    ):
        return await egress.send("GET", f"http://127.0.0.1:{port}/")
