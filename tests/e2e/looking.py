"""A browser that looks at pages and writes down what is wrong with them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_playwright_python

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
# Best practices are not the standard's word, but a heading that jumps troubles who listens to a page
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
_FROM_TEXT = """() => {
  const isElsewhere = address => new URL(address ?? '', location.href).origin !== location.origin
  const isEvil = a => /^on|^hx-on/.test(a.name) ||
    (/^hx-(get|post)$/.test(a.name) && new URL(a.value, location.href).pathname === '/evil')
  const strange = 'iframe, base, style, object, embed, img, [href^="javascript:" i], [http-equiv=refresh]'
  return {
    hit: window.__hit ?? null,
    handlers: [...document.querySelectorAll('*')].flatMap(
      e => [...e.attributes].filter(isEvil).map(a => `${e.tagName} ${a.name}=${a.value}`)),
    strangers: [...document.querySelectorAll(strange)].map(e => e.outerHTML.slice(0, 100)),
    scripts: [...document.scripts].filter(s => !s.src).length,
    forms: [...document.forms].filter(f => isElsewhere(f.getAttribute('action'))).length
  }
}"""


class Look:
    """One page of a browser, and what it complained of.

    Attributes:
        page: The page.
        faults: Console messages, errors, dialogs, and requests that went elsewhere.
        statuses: Statuses of the parts that were fetched anew.
    """

    def __init__(self, page: Any, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.faults: list[str] = []
        self.statuses: list[int] = []
        page.on(
            "console", lambda m: self.faults.append(f"console: {m.text}") if m.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)
        page.on("response", self._response)

    def _dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        is_ours = request.url.startswith((self.origin + "/", "data:", "blob:", "about:"))
        if not is_ours or urlsplit(request.url).path == "/evil":
            self.faults.append(f"request: {request.url}")

    def _response(self, response: Any) -> None:
        if response.request.headers.get("hx-request"):
            self.statuses.append(response.status)

    def go(self, path: str) -> None:
        """Open a page and wait for its charts."""
        self.page.goto(self.origin + path, wait_until="load")

    def violations(self, *rules: str) -> list[str]:
        """Return what axe finds, by all rules of `AXE_TAGS` or by these alone."""
        if not self.page.evaluate("typeof window.axe === 'object'"):
            self.page.evaluate(AXE)
        only = {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": AXE_TAGS}
        found = self.page.evaluate("only => axe.run(document, {runOnly: only, resultTypes: ['violations']})", only)
        return [
            f"{v['id']}: {node['html'][:140]} {json.dumps([c.get('data') for c in node['any']])[:200]}"
            for v in found["violations"]
            for node in v["nodes"][:3]
        ]

    def shorten(self) -> None:
        """Take away all rows but the first three of each table and list: axe would read hundreds that are alike."""
        self.page.evaluate(
            "document.querySelectorAll('tbody tr:nth-child(n+4), .ledger > li:nth-child(n+4)').forEach(e => e.remove())"
        )

    def overflow(self) -> list[str]:
        """Return what makes the page wider than the window."""
        return list(
            self.page.evaluate("""() => document.documentElement.scrollWidth <= innerWidth ? [] :
            [`${document.documentElement.scrollWidth} px`, ...[...document.querySelectorAll('main *')]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.wide')).slice(0, 5)
            .map(e => e.outerHTML.slice(0, 120))]""")
        )

    def hits(self) -> list[str]:
        """Return what somebody else's text has done to the page: nothing, where it is inert."""
        found = self.page.evaluate(_FROM_TEXT)
        did = [f"ran: {found['hit']}"] if found["hit"] is not None else []
        did += [f"attribute: {one}" for one in found["handlers"]]
        did += [f"element: {one}" for one in found["strangers"]]
        did += [f"{found['scripts']} inline scripts"] if found["scripts"] else []
        did += [f"{found['forms']} forms that lead elsewhere"] if found["forms"] else []
        return did


@contextmanager
def looking(browser: Any, origin: str, *, scheme: str = "light", is_bare: bool = False) -> Iterator[Look]:
    """Give a page of its own; `is_bare` is without the content security policy, so that only escaping is left."""
    context = browser.new_context(viewport=WIDE, color_scheme=scheme, bypass_csp=is_bare, reduced_motion="reduce")
    try:
        yield Look(context.new_page(), origin)
    finally:
        context.close()
