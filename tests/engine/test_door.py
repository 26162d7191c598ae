"""Who may come in: with a token only those who show it; without one nobody listens beyond this machine by accident."""

import asyncio

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from labkit.engine import door, frames
from labkit.engine.client import choose
from labkit.engine.remote import RemoteEngine
from labkit.engine.server import main
from labkit.errors import EngineError


async def health(address: str, head: str = "") -> dict:
    """What `GET /health` says to somebody who sends the header lines `head`."""
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(f"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n".encode())
    _, body = (await reader.read()).split(b"\r\n\r\n")
    writer.close()
    return msgspec.json.decode(body)


def test_who_knows_the_token_comes_in(serving, ask, collect, monkeypatch):
    async def play():
        async with serving(token="open-sesame") as (engine, house):
            assert len(await collect(engine.run(ask(3)))) == 5
            monkeypatch.setenv(door.TOKEN, "open-sesame")
            named = choose(engine.address)
            assert (await named.status()).visitors == 2
            await named.close()

    asyncio.run(play())


@pytest.mark.parametrize("wrong", ["", "open-sesam", "open-sesame1", "OPEN-SESAME"])
def test_who_does_not_is_told_the_mend(serving, monkeypatch, wrong):
    monkeypatch.setenv(door.TOKEN, wrong)

    async def play():
        async with serving(token="open-sesame") as (engine, house):
            for stranger in (RemoteEngine(engine.address), choose(engine.address)):
                with pytest.raises(EngineError, match="wants its token: set LABKIT_ENGINE_TOKEN") as refused:
                    await stranger.status()
                assert "sesam" not in str(refused.value).lower() and not house.visitors

    asyncio.run(play())


@pytest.mark.parametrize("shown", ["Basic open-sesame", "open-sesame", "Bearer", "Bearer open-sesame, x", "Bearer é"])
def test_only_the_whole_header_opens(serving, shown):
    async def play():
        async with serving(token="open-sesame") as (engine, house):
            url = f"ws://{engine.address}{frames.PATH}"
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, additional_headers={"Authorization": shown}, compression=None, proxy=None)
            assert refused.value.response.status_code == 403 and not house.visitors

    asyncio.run(play())


def test_a_token_is_no_pass_for_pages_of_other_sites(serving):
    async def play():
        async with serving(token="open-sesame") as (engine, _):
            url, head = f"ws://{engine.address}{frames.PATH}", door.header("open-sesame")
            with pytest.raises(InvalidStatus):
                await connect(url, additional_headers=head, origin="http://evil.example", compression=None, proxy=None)

    asyncio.run(play())


def test_health_tells_strangers_only_that_it_is_well(serving):
    async def play():
        async with serving(token="open-sesame") as (engine, _):
            assert await health(engine.address) == {"ok": True}
            assert await health(engine.address, "Authorization: Bearer no\r\n") == {"ok": True}
            known = await health(engine.address, "Authorization: Bearer open-sesame\r\n")
            assert known == {"ok": True, "models": [], "visitors": 0}

    asyncio.run(play())


@pytest.mark.parametrize("token", ["two words", "line\r\nbreak", "schlüssel", "\0"])
def test_what_can_be_no_token(token):
    with pytest.raises(EngineError, match="letters, digits") as refused:
        RemoteEngine("127.0.0.1:1", token)
    assert token not in str(refused.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_nobody_listens_beyond_this_machine_by_accident(host):
    with pytest.raises(EngineError, match="--token or LABKIT_ENGINE_TOKEN.*--open-to-all"):
        main(host, 0, token="")
    door.check_guarded(host, "open-sesame", open_to_all=False)
    door.check_guarded(host, "", open_to_all=True)
    for own in door.LOOPBACK:
        door.check_guarded(own, "", open_to_all=False)
