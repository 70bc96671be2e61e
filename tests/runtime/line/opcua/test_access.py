"""Who may come in, and who may not."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

asyncua = pytest.importorskip("asyncua", reason="needs the extra [line]: asyncua")
from asyncua import Client, ua  # noqa: E402
from asyncua.client.ua_client import UaClient  # noqa: E402


async def refused(work: Any) -> None:
    """The client does not get in; how it is told differs with how far it came."""
    with pytest.raises((ua.UaError, ConnectionError, asyncio.TimeoutError)):
        async with work:
            pytest.fail("came in")


async def code_of(work: Any) -> int:
    with pytest.raises(ua.UaStatusCodeError) as told:
        async with work:
            pytest.fail("came in")
    return int(told.value.code)


def test_a_stranger_is_refused_and_let_in_once_trusted(
    line: Any, stranger_folder: Path, run: Any, connected: Any, own: Any
) -> None:
    now_known = line.folder / "trusted" / "now-known.der"
    faults = line.adapter.status().faults
    try:
        run(refused(connected(line, stranger_folder)))
        rejected = list((line.folder / "rejected").iterdir())
        assert [path.suffix for path in rejected] == [".der"]
        assert rejected[0].read_bytes() == (stranger_folder / "own.der").read_bytes()
        assert line.adapter.status().peers == 0
        rejected[0].rename(now_known)

        async def work() -> None:
            async with connected(line, stranger_folder) as client:
                assert await own(client, "Line.Ready").read_value() is True
                assert line.adapter.status().peers == 1

        run(work())
        assert line.adapter.status().faults == faults
    finally:
        now_known.unlink(missing_ok=True)


def test_without_a_user_nobody_comes_in(line: Any, client_folder: Path, run: Any, connected: Any) -> None:
    code = run(code_of(connected(line, client_folder, as_user=False)))
    assert code == ua.StatusCodes.BadIdentityTokenRejected


def test_without_encryption_nobody_comes_in(line: Any, run: Any) -> None:
    async def work() -> None:
        client = Client(line.url, timeout=5)
        endpoints = await client.connect_and_get_server_endpoints()  # everybody may ask for these
        assert {(one.SecurityPolicyUri.rpartition("#")[2], one.SecurityMode.name) for one in endpoints} == {
            ("Basic256Sha256", "SignAndEncrypt")
        }
        assert {token.TokenType.name for one in endpoints for token in one.UserIdentityTokens} == {"Certificate"}
        assert await code_of(Client(line.url, timeout=5)) == ua.StatusCodes.BadSecurityPolicyRejected

    run(work())


def test_nor_where_anonymous_users_are_welcome(
    guarded: Any, client_folder: Path, stranger_folder: Path, run: Any, connected: Any, own: Any
) -> None:
    """`anonymous` opens the door for programs whose certificate is trusted, no further."""
    assert run(code_of(Client(guarded.url, timeout=5))) == ua.StatusCodes.BadSecurityPolicyRejected
    run(refused(connected(guarded, stranger_folder, as_user=False)))

    async def work() -> None:
        async with connected(guarded, client_folder, as_user=False) as client:
            assert await own(client, "Line.Ready").read_value() is True

    run(work())
    assert "without users" in guarded.adapter.status().last_error


def test_a_message_without_a_channel_is_not_answered_with_one(line: Any, run: Any) -> None:
    """CreateSession as the very first message, without OpenSecureChannel: asyncua takes it for a channel without
    security."""

    async def work() -> None:
        wire = UaClient(timeout=3)
        await wire.connect_socket("127.0.0.1", line.adapter.port)
        try:
            await wire.send_hello(line.url)
            with pytest.raises(ua.UaStatusCodeError) as told:
                await wire.create_session(ua.CreateSessionParameters())
            assert told.value.code == ua.StatusCodes.BadSecurityPolicyRejected
        finally:
            wire.disconnect_socket()

    run(work())


@pytest.mark.parametrize("mode", [ua.MessageSecurityMode.Sign])
def test_signing_alone_is_not_enough(line: Any, client_folder: Path, run: Any, mode: ua.MessageSecurityMode) -> None:
    from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

    async def work() -> None:
        client = Client(line.url, timeout=3)
        await client.set_security(
            SecurityPolicyBasic256Sha256,
            certificate=str(client_folder / "own.der"),
            private_key=str(client_folder / "own.key.pem"),
            server_certificate=str(line.folder / "own.der"),
            mode=mode,
        )
        await refused(client)

    run(work())


def test_nobody_registers_servers(line: Any, run: Any) -> None:
    async def work() -> None:
        client = Client(line.url, timeout=5)
        await client.connect_sessionless()
        try:
            with pytest.raises(ua.UaStatusCodeError) as told:
                await client.uaclient.register_server(
                    ua.RegisteredServer(ServerUri="urn:x", ServerNames=[ua.LocalizedText("x")])
                )
            assert told.value.code == ua.StatusCodes.BadServiceUnsupported
            assert [one.ApplicationUri for one in await client.find_servers()] == ["urn:diffad-edge:site:line:station"]
        finally:
            await client.disconnect_sessionless()

    run(work())


@pytest.fixture(scope="module")
def guarded(start: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server with users, that takes programs without one too."""
    from diffad_runtime.line.opcua.users import write_user

    users = tmp_path_factory.mktemp("users") / "users"
    write_user(users, "press-3", "correct horse")
    line = start(users=users, anonymous=True)
    yield line
    line.adapter.close()


@pytest.mark.parametrize(
    ("name", "password", "welcome"),
    [("press-3", "correct horse", True), ("press-3", "wrong horse", False), ("admin", "correct horse", False)],
)
def test_passwords(
    guarded: Any, client_folder: Path, run: Any, connected: Any, own: Any, name: str, password: str, welcome: bool
) -> None:
    if not welcome:
        code = run(code_of(connected(guarded, client_folder, name=name, password=password)))
        assert code == ua.StatusCodes.BadUserAccessDenied
        return

    async def work() -> None:
        async with connected(guarded, client_folder, name=name, password=password) as client:
            assert await own(client, "Line.Ready").read_value() is True
            with pytest.raises(ua.UaStatusCodeError):  # "admin" rights there are none
                await client.delete_nodes([own(client, "Line.Ready")])

    run(work())


def test_a_user_certificate_must_be_trusted_too(
    line: Any, client_folder: Path, stranger_folder: Path, run: Any
) -> None:
    from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

    async def work() -> None:
        client = Client(line.url, timeout=5)
        await client.set_security(
            SecurityPolicyBasic256Sha256,
            certificate=str(client_folder / "own.der"),
            private_key=str(client_folder / "own.key.pem"),
            server_certificate=str(line.folder / "own.der"),
        )
        await client.load_client_certificate(str(stranger_folder / "own.der"))
        await client.load_private_key(str(stranger_folder / "own.key.pem"))
        assert await code_of(client) == ua.StatusCodes.BadUserAccessDenied

    run(work())


def test_anybody_where_that_is_wanted(start: Callable[..., Any], run: Any, own: Any) -> None:
    line = start(unencrypted=True)
    try:

        async def work() -> None:
            async with Client(line.url, timeout=5) as client:
                assert await own(client, "Line.Ready").read_value() is True

        run(work())
        assert "without encryption" in line.adapter.status().last_error
    finally:
        line.adapter.close()


def test_a_trusted_key_is_needed_not_the_certificate_alone(
    line: Any, client_folder: Path, stranger_folder: Path, tmp_path: Path, run: Any, connected: Any
) -> None:
    """Certificates are public: whoever shows another's must have its key."""
    shutil.copy(client_folder / "own.der", tmp_path)
    shutil.copy(stranger_folder / "own.key.pem", tmp_path)
    run(refused(connected(line, tmp_path)))
