"""A class is let in by a word, as many as there is room for; whose page is gone makes room."""

from __future__ import annotations

import asyncio
import gzip
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar

import pytest

from labkit.errors import LabError
from labkit.host import kernels, launch
from labkit.host.lesson import TEACHER, Class

WORD = "moon"


class Browser:
    """Keeps its cookies, follows redirects, returns the status and the text."""

    def __init__(self, url: str):
        self.url = url
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(CookieJar()), urllib.request.ProxyHandler({})
        )

    def get(self, path: str, form: dict[str, str] | None = None) -> tuple[int, str, str]:
        data = urllib.parse.urlencode(form).encode() if form else None
        try:
            with self.opener.open(urllib.parse.urljoin(self.url, path), data, timeout=60) as answer:
                return answer.status, answer.read().decode(), answer.url
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode(), refused.url


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    """Dashboards behind a word and a path, without warm kernels: room for nobody but the teacher."""
    served = tmp_path_factory.mktemp("served")
    for name in ("00_welcome.ipynb", TEACHER):
        (served / name).write_text((launch.NOTEBOOKS / name).read_text())
    port = launch.free_port()
    command = launch.dashboards_command(served, port, 0, base_url="/lab/", most=1, most_each=1)
    with launch.Family() as family:
        child = family.start(command, {**launch.environment("127.0.0.1:9"), "LABKIT_WORD": WORD})
        launch.wait(lambda: launch.answers(f"http://127.0.0.1:{port}/lab/"), child, "Voila")
        yield f"http://127.0.0.1:{port}/lab/"


def test_the_word_opens_the_door_and_no_other(door):
    browser = Browser(door)
    status, text, url = browser.get(f"voila/render/{TEACHER}")
    assert status == 200 and "The word your teacher gave you" in text and urllib.parse.urlsplit(url).path == "/lab/login"
    secret = re.search(r'name="_xsrf" value="([^"]+)"', text)[1]
    status, text, _ = browser.get(url, {"_xsrf": secret, "password": "sun"})
    assert status == 401 and "That is not the word" in text
    status, text, _ = browser.get(url, {"_xsrf": secret, "password": WORD})
    assert status == 200 and "Teacher" in text and browser.get(f"voila/render/{TEACHER}")[0] == 200
    assert "teacher gave" in Browser(door).get("?token=sun")[1]


def test_the_chart_library_comes_once(door):
    """Packed, and not again to a browser that has it; its part, which lies here, is of the installed whole's version."""
    versions = []
    for name in ("plotly-whole.js", "plotly.js"):
        with urllib.request.urlopen(f"{door}voila/{name}") as came:
            assert came.headers["Content-Encoding"] == "gzip"
            versions.append(re.search(rb"\* plotly\.js .*v([\d.]+)", gzip.decompress(came.read())[:300])[1])
            tag = came.headers["Etag"]
    assert versions[0] == versions[1]
    again = urllib.request.Request(f"{door}voila/plotly.js", headers={"If-None-Match": tag})
    with pytest.raises(urllib.error.HTTPError, match="304"):
        urllib.request.urlopen(again)


def test_the_next_address_is_no_way_out(door):
    browser = Browser(door)
    for evil in ("https://example.org/", "//example.org", "/lab/\"><script>alert(1)</script>"):
        status, text, _ = browser.get(f"login?next={urllib.parse.quote(evil)}")
        assert status == 200 and "<script>" not in text
        action = re.search(r'action="([^"]+)"', text)[1]
        assert action.startswith("/lab/login?next=") and '"' not in action
    secret = re.search(r'name="_xsrf" value="([^"]+)"', text)[1]
    _, _, url = browser.get("login?next=https%3A%2F%2Fexample.org%2F", {"_xsrf": secret, "password": WORD})
    assert urllib.parse.urlsplit(url).netloc == urllib.parse.urlsplit(door).netloc


@pytest.fixture
def manager(monkeypatch):
    """Our manager without kernels, with room for three pages, two of one visitor; `ended` are those it shut down."""
    made = kernels.PatientKernelManager(most=3, most_each=2, always=TEACHER)
    made.kernel_pools_config = {"first.ipynb": {"pool_size": 3}}  # Voila's part
    made.ended = []

    async def shut_down(kernel):
        made.ended.append(kernel)
        made.remove_kernel(kernel)

    monkeypatch.setattr(made, "shutdown_kernel", shut_down)
    return made


def come(manager, kernel: str, visitor: str) -> None:
    manager.owners[kernel] = visitor
    manager._kernel_connections[kernel] = 0
    manager.notify_connect(kernel)


def test_each_visitor_has_so_many_pages(manager):
    come(manager, "a", "anna")
    assert manager.refusal("anna", "x.ipynb") == ""
    come(manager, "b", "anna")
    assert "as many pages" in manager.refusal("anna", "x.ipynb") and manager.refusal("ben", "x.ipynb") == ""
    manager.notify_disconnect("a")  # its page is gone
    assert manager.refusal("anna", "x.ipynb") == ""


def test_the_lab_has_so_many_pages_but_always_one_for_the_teacher(manager):
    for kernel, visitor in (("a", "anna"), ("b", "ben"), ("c", "carl")):
        assert manager.refusal(visitor, "x.ipynb") == ""
        come(manager, kernel, visitor)
    assert "full (3 pages" in manager.refusal("dora", "x.ipynb") and manager.refusal("dora", TEACHER) == ""


def test_whose_page_is_long_gone_makes_room(manager):
    for kernel in "abc":
        come(manager, kernel, kernel)
    for kernel in "ba":
        manager.notify_disconnect(kernel)
    manager._left = {"b": time.monotonic() - 90, "a": time.monotonic() - 30}
    asyncio.run(manager.make_room())
    assert manager.ended == ["b"] and manager.refusal("dora", "x.ipynb") == ""
    come(manager, "d", "dora")
    asyncio.run(manager.make_room())
    assert manager.ended == ["b"], "half a minute may be a bad network"


def test_a_pool_is_not_filled_again_while_others_come(manager):
    sizes = []
    for _ in range(5):
        manager.hand_out("first.ipynb")
        sizes.append(manager.kernel_pools_config["first.ipynb"]["pool_size"])
    assert sizes == [2, 1, 0, 0, 0]
    manager.hand_out("unknown.ipynb")


def test_words_are_made_up_and_no_unknown_page_comes_first():
    one, other = Class(), Class(base_url="lab", first="01_entropy")
    assert len({one.word, one.key, other.word, other.key}) == 4 and min(len(one.word), len(one.key)) >= 8
    assert (other.base_url, other.first, one.base_url) == ("/lab/", "01_entropy.ipynb", "/")
    with pytest.raises(LabError, match="no dashboard 'nothing' to begin with"):
        Class(first="nothing")


def test_neither_word_nor_key_is_in_a_list_of_processes(monkeypatch):
    """Commands are seen by everybody on the machine; environments are not, and each process gets only what it needs."""
    from labkit.host import lesson

    started = {}
    monkeypatch.setattr(lesson, "serve", lambda name, command, url, engine_port, **more: started.update(more, command=command))
    lesson.serve_class(launch.free_port(), 1, Class(host="127.0.0.1", word="moonword", key="starkey"))
    assert not [part for part in started["command"] if "moonword" in part or "starkey" in part]
    assert started["host_only"]["LABKIT_WORD"] == "moonword" and "starkey" not in str(started["host_only"])
    assert started["engine_only"]["LABKIT_TEACHER"] == "starkey" and "moonword" not in str(started["engine_only"])
    assert "moonword" in started["news"] and "#key=starkey" in started["news"]
