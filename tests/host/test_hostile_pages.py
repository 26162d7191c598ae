"""Hostile visitors of the dashboards: no file but the lab's own, no notebook from elsewhere, no code, no kernel of others."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import uuid
from types import SimpleNamespace

import nbformat
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from labkit.host import launch

SECRET = "the teacher's own file"


@pytest.fixture(scope="module")
def voila(tmp_path_factory):
    """Voila over one small notebook; beside and above it lie things that are nobody's business."""
    outside = tmp_path_factory.mktemp("home")
    folder = outside / "notebooks"
    folder.mkdir()
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('wel' + 'come')")])
    nbformat.write(page, folder / "00_welcome.ipynb")
    marker = f"open({str(outside / 'ran')!r}, 'w').close()"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(marker)]), outside / "outside.ipynb")
    for place in (outside, folder):
        (place / "secret.txt").write_text(SECRET)
    (outside / ".env").write_text(SECRET)
    port = launch.free_port()
    messages = outside / "messages"
    with launch.Family() as family, open(messages, "wb") as output:
        child = family.start(launch.dashboards_command(folder, port, 0), launch.environment("here"), output)
        launch.wait(lambda: launch.answers(f"http://127.0.0.1:{port}/"), child, "Voila")
        yield SimpleNamespace(port=port, outside=outside, messages=messages, child=child)


def ask(voila, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    """Status, body and where it leads; the path goes out as it is written."""
    line = http.client.HTTPConnection("127.0.0.1", voila.port, timeout=60)
    line.putrequest(method, path, skip_host="Host" in headers)
    for name, value in {"Content-Length": "0", **headers}.items():
        line.putheader(name, value)
    line.endheaders()
    answer = line.getresponse()
    found = answer.status, answer.read().decode(errors="replace"), answer.getheader("Location", "")
    line.close()
    return found


@pytest.fixture(scope="module")
def kernel(voila) -> str:
    """The id of the kernel behind a page that is open."""
    status, body, _ = ask(voila, "/voila/render/00_welcome.ipynb")
    assert status == 200 and "welcome" in body
    return re.search(r'"kernelId": "([0-9a-f-]{36})"', body)[1]


def climbing(path: str) -> list[str]:
    """Ways to write "up from here" in an address."""
    ups = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "%252e%252e%252f", "....//", "..\\", "..%5c", "..%c0%af", "./../", "%00../"]
    return [up * times + path for up in ups for times in (1, 2, 8)]


ROOTS = ["render", "files", "static", "templates", "tree", "labextensions", "api/contents", "api/themes"]


@pytest.mark.parametrize("root", ROOTS)
def test_no_path_leads_outside(voila, root):
    places = [*climbing("secret.txt"), *climbing(".env"), *climbing("outside.ipynb"), *climbing("etc/passwd")]
    places += ["secret.txt", "/etc/passwd", "//etc/passwd", str(voila.outside / "secret.txt"), "~/secret.txt", "file:///etc/passwd"]
    places += [str(voila.outside / "outside.ipynb"), "%00", "x" * 10_000, "a/" * 500, "%ff%fe", "no such.ipynb"]
    for place in places:
        path = f"/voila/{root}/{place}".replace(" ", "%20")
        status, body, leads = ask(voila, path)
        assert 300 <= status < 500 or (status == 200 and root == "tree"), path
        assert SECRET not in body and "root:" not in body and "Traceback" not in body, path
        assert not leads or leads.startswith("/"), (path, leads)
        assert not leads.startswith("//"), (path, leads)
    assert not (voila.outside / "ran").exists()


@pytest.mark.parametrize(
    "path", ["/api/contents", "/api/kernels", "/api/sessions", "/api/terminals", "/api/kernelspecs", "/lab", "/files/secret.txt"]
)
def test_what_a_dashboard_does_not_need_is_not_there(voila, path):
    assert ask(voila, path)[0] == 404
    assert ask(voila, path, "POST")[0] in (403, 404, 405)


@pytest.mark.parametrize("id", ["e3fed3f7-ae45-435e-bfe7-b3900c9a6775", "../../x", "%00", "x" * 5000, "", "*", "1 or 1"])
def test_only_who_knows_a_kernel_ends_it(voila, kernel, id):
    status, body, _ = ask(voila, f"/voila/api/shutdown/{id}".replace(" ", "%20"), "POST")
    assert status in (400, 403, 404) and "Traceback" not in body
    assert ask(voila, f"/api/kernels/{kernel}")[0] == 200


def test_a_page_of_another_site_ends_no_kernel(voila, kernel):
    assert ask(voila, f"/api/kernels/{kernel}", "DELETE", Origin="http://evil.example")[0] in (403, 404)
    assert ask(voila, f"/api/kernels/{kernel}")[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80"])
def test_a_name_that_was_turned_to_this_machine_stays_outside(voila, host):
    """DNS rebinding: the page of another site comes back under its own name with this machine's address."""
    assert ask(voila, "/voila/render/00_welcome.ipynb", Host=host)[0] == 403


def test_a_page_of_another_site_hears_no_kernel(voila, kernel):
    async def play():
        for origin in ("http://evil.example", "null"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://127.0.0.1:{voila.port}/api/kernels/{kernel}/channels", origin=origin, proxy=None)
            assert refused.value.response.status_code == 403

    asyncio.run(play())


def test_a_page_runs_no_code_of_its_visitor(voila, kernel):
    def message(kind: str, **content) -> str:
        header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "username": "", "session": "x", "version": "5.3"}
        whole = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "buffers": [], "channel": "shell"}
        return json.dumps(whole)

    async def play():
        origin = f"http://127.0.0.1:{voila.port}"
        url = f"ws://127.0.0.1:{voila.port}/api/kernels/{kernel}/channels?session_id=x"
        async with connect(url, origin=origin, proxy=None, max_size=None) as line:
            code = f"open({str(voila.outside / 'ran')!r}, 'w').close()"
            for kind in ("execute_request", "inspect_request", "complete_request", "history_request", "debug_request"):
                await line.send(message(kind, code=code, silent=False, cursor_pos=1, detail_level=0))
            with contextlib.suppress(ConnectionClosed):  # it may hang up on rubbish
                for rubbish in ("", "{", "[]", "null", "x" * 100_000, json.dumps({"channel": "shell"}), b"\xff" * 100):
                    await line.send(rubbish)
        async with connect(url, origin=origin, proxy=None, max_size=None) as line:
            asked = message("kernel_info_request")
            await line.send(asked)
            async with asyncio.timeout(60):
                while True:
                    heard = json.loads(await line.recv())
                    if heard["parent_header"].get("msg_id") == json.loads(asked)["header"]["msg_id"]:
                        break
                    assert heard["msg_type"] not in ("execute_reply", "execute_input", "inspect_reply", "complete_reply")

    asyncio.run(play())
    assert not (voila.outside / "ran").exists()


def test_the_welcome_leads_nowhere_else(voila):
    for path in ("/", "/?next=http://evil.example", "/?template=../../x&theme=../../x", "//evil.example/", "///evil.example"):
        status, _, leads = ask(voila, path)
        assert status in (302, 404) and leads.split("?")[0] in ("", "/voila/render/00_welcome.ipynb"), (path, leads)


def test_the_dashboards_are_well_after_all_that(voila):
    status, body, _ = ask(voila, "/voila/render/00_welcome.ipynb")
    assert status == 200 and "welcome" in body
    assert voila.child.poll() is None
