"""What a secret may be sent in, sent: nothing of it comes out, whatever the answer.

Half of the test stands here. The other half is `tests/canary.py`, which hears each answer, the log and the output of
the service, and fails the test that was under way.
"""

import time
from pathlib import Path
from typing import Any

from dwell.server.keys import Keyring, created
from dwell.server.tokens import SigningKey

from ..canary import CANARY, Canary  # noqa: TID252 - tests are no installed package
from .serving import made_key, service

FEATURES = ("--features", "good")
BODY = {"query": "q", "candidates": [{"id": "a", "good": 1.0}], "event_id": "e", "wait": True}


def test_secrets_that_are_sent_come_out_nowhere(tmp_path: Path) -> None:
    store = tmp_path / "s.dwell"
    with service(store, *FEATURES, environment={"DWELL_PEPPER": CANARY}) as found:
        admin = made_key(store, "admin")
        wrong: list[dict[str, str]] = [
            {"authorization": f"Bearer {CANARY}"},
            {"authorization": f"Basic {CANARY}"},
            {"x_api_key": CANARY},
            {"cookie": f"session={CANARY}"},
            {"authorization": CANARY, "idempotency_key": CANARY},
        ]
        for headers in wrong:
            for path in ("/v1/params", "/v1/rank", "/v1/erase", "/metrics"):
                body: Any = {"/v1/rank": BODY, "/v1/erase": {"user": "u"}}.get(path)
                method = "GET" if body is None else "POST"
                assert found.call(method, path, body, **headers)[0] == 401
        assert found.call("POST", f"/ubi/queries?key={CANARY}", [])[0] == 401
        item = {"event_id": "e", "signal": "click", "doc": "a", "token": CANARY}
        for sent in ({"items": [item], "key": CANARY, "user": "u"}, {"items": [item], "key": CANARY, "k": CANARY}):
            assert found.call("POST", "/v1/feedback", sent, content_type="text/plain")[0] in {400, 401}
        # with a key that is good, which it is within a second, and as what no secret belongs into
        until = time.monotonic() + 10.0
        while found.call("GET", "/v1/params", key=admin)[0] != 200 and time.monotonic() < until:
            time.sleep(0.05)
        assert found.call("POST", "/v1/rank", BODY, key=admin, idempotency_key=CANARY)[0] == 200
        assert found.call("POST", "/v1/rank", {**BODY, "query": "p"}, key=admin, idempotency_key=CANARY)[0] == 409
        public = made_key(store, "public")
        until = time.monotonic() + 10.0
        while found.call("GET", "/v1/params", key=public)[0] != 403 and time.monotonic() < until:
            time.sleep(0.05)  # 401 until the service has seen it
        for path in (
            "/v1/health",
            "/v1/doctor",
            "/v1/history",
            "/v1/params",
            "/v1/experiences",
            "/metrics",
            "/openapi.json",
        ):
            status, _, _ = found.call("GET", path, key=admin)
            assert status == 200
        assert found.call("GET", "/v1/params", key=public)[0] == 403
        assert found.call("POST", "/v1/train", {"steps": 1}, key=admin)[0] == 200
    with service(store, *FEATURES, environment={"DWELL_PEPPER": CANARY}) as found:
        assert found.call("GET", "/livez")[0] == 200


def test_what_holds_a_secret_does_not_show_it() -> None:
    heard = Canary()
    issued = created(Keyring(), kind="secret", name="n", now=0.0, entropy=bytes(range(40)))
    signing = SigningKey(bytes(range(100, 132)), 0.0)
    heard.keep("a key", issued.text)
    heard.keep("a digest", issued.key.secrets[0].digest)
    heard.keep("a signing key", signing.secret)
    for one in (issued, issued.key, issued.keyring, issued.key.secrets, signing):
        for text in (repr(one), str(one), f"{one!a}"):
            heard.hear("a repr", text)
    assert heard.leaks() == []
