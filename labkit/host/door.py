"""Who may come in when a class is served: the word at the door, and how many pages the machine and each visitor may have open."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from jupyter_server.auth.identity import PasswordIdentityProvider
from jupyter_server.auth.login import LoginFormHandler
from tornado.web import authenticated
from traitlets import Type
from voila.tornado.handler import TornadoVoilaHandler

RETRY_AFTER = 20  # seconds until a page that was refused asks again by itself

PLAIN = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>Token Lab</title>{head}
<style>
body {{ font: 17px/1.5 system-ui, sans-serif; display: grid; place-content: center; min-height: 90vh; margin: 0 20px; }}
main {{ max-width: 34rem; }}
input, button {{ font: inherit; padding: .4em .7em; }}
</style>
<main><h1>Token Lab</h1>{body}</main></html>"""
FORM = """<form method="post" action="{action}">{secret}
<p><label for="word">The word your teacher gave you</label></p>
<p><input id="word" name="password" type="password" autocomplete="current-password" autofocus required>
<button>Come in</button></p>
<p role="alert">{trouble}</p></form>"""


class AskForWord(LoginFormHandler):
    """The form at the door; it loads nothing from anywhere."""

    def _render(self, message=None):
        address = f"{self.base_url}login?next={quote(self.get_argument('next', self.base_url), safe='')}"
        trouble = "That is not the word: ask your teacher, or use the whole address." if message else ""
        form = FORM.format(action=address, secret=self.xsrf_form_html(), trouble=trouble)
        self.finish(PLAIN.format(head="", body=form))


class Door(PasswordIdentityProvider):
    """Lets in who has the token, by address, form or cookie."""

    login_handler_class = Type(AskForWord, klass=LoginFormHandler, config=True)


class Page(TornadoVoilaHandler):
    """A dashboard, as long as there is room for one more."""

    @authenticated
    async def get(self, path=None):
        """The page, or one sentence that says why not and asks again by itself."""
        name = (self.notebook_path or path or "").strip("/")
        await self.kernel_manager.make_room()
        if refusal := self.kernel_manager.refusal(self.current_user.username, name):
            self.set_status(503)
            self.set_header("Retry-After", str(RETRY_AFTER))
            again = f'<meta http-equiv="refresh" content="{RETRY_AFTER}">'
            self.finish(PLAIN.format(head=again, body=f"<p>{escape(refusal)}</p>"))
            return
        self.kernel_manager.hand_out(name)
        await super().get(path)
