"""Keys and tokens against whoever has seen real ones: whatever is changed, nothing but the original is accepted."""

import os
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwell.errors import TokenInvalid
from dwell.server.keys import Keyring, authenticated, created, revoked, rotated
from dwell.server.tokens import SigningKey, mint, verify

NOW = 1_700_000_000.0
N_FORGED = int(os.environ.get("DWELL_TOKENS", "100000"))  # read before a fixture clears the shell's settings
KEYS = (SigningKey(b"n" * 32, NOW), SigningKey(b"o" * 32, NOW - 1.0))
URL_SAFE = string.ascii_letters + string.digits + "-_"
SEEN = [
    mint(
        KEYS[n % 2 :],
        tenant=f"t{n % 3}",
        event_id=f"e-{n % 5}",
        served=[f"d{n % 7}", f"d{n % 4}"],
        subject=f"u-{n % 6}",
        expires_at=NOW + 60.0 * (n % 3 - 1),
    )
    for n in range(64)
]
WANTED = {"tenant": "t1", "event_id": "e-1", "subject": "u-1", "now": NOW}
GOOD = mint(KEYS, tenant="t1", event_id="e-1", served=["d1"], subject="u-1", expires_at=NOW + 60.0)


def forged(rng: random.Random) -> str:  # noqa: PLR0911 - one return per way
    """Change a token that was seen, in one of the ways that have broken others' signatures."""
    token = rng.choice((GOOD, GOOD, rng.choice(SEEN)))
    payload, _, signature = token.partition(".")
    at = rng.randrange(len(token))
    match rng.randrange(10):
        case 0:
            return token[:at] + chr(ord(token[at]) ^ 1 << rng.randrange(7)) + token[at + 1 :]
        case 1:
            return token[:at] + rng.choice(URL_SAFE + ".=+/ \n\0é") + token[at + 1 :]
        case 2:
            return token[:at] + token[at + 1 :]
        case 3:
            return token[:at] + rng.choice(URL_SAFE + "=") + token[at:]
        case 4:  # parts of another token
            other_payload, _, other_signature = rng.choice(SEEN).partition(".")
            return rng.choice((f"{payload}.{other_signature}", f"{other_payload}.{signature}"))
        case 5:  # the bits that a decoder drops
            return token[:-1] + URL_SAFE[rng.randrange(64)]
        case 6:  # what a lenient decoder takes for the same
            return rng.choice(
                (token + "=", token + "==", token + "\n", " " + token, token.replace("-", "+"), token + ".")
            )
        case 7:
            start = rng.randrange(len(token))
            return token[:start] + token[rng.randrange(len(token)) :]
        case 8:
            return "".join(rng.choices(URL_SAFE, k=76)) + "." + "".join(rng.choices(URL_SAFE, k=43))
        case _:
            return "".join(rng.sample(payload, len(payload))) + "." + signature


def test_of_many_forged_tokens_none_is_accepted() -> None:
    rng = random.Random(20_261_127)
    n_tried, accepted = 0, []
    genuine = {GOOD, *SEEN}
    while n_tried < N_FORGED:
        token = forged(rng)
        if token in genuine:
            continue  # changed into itself or another genuine one; those are asked below
        n_tried += 1
        try:
            verify(KEYS, token, **WANTED)  # type: ignore[arg-type]
        except TokenInvalid:
            continue
        accepted.append(token)
    print(f"{n_tried} forged tokens, {len(accepted)} accepted")
    assert accepted == []
    verify(KEYS, GOOD, **WANTED)  # type: ignore[arg-type]


def test_what_was_minted_for_others_is_good_for_nobody_else() -> None:
    n_good = 0
    for n, token in enumerate(SEEN):
        is_ours = (n % 3, n % 5, n % 6) == (1, 1, 1) and 60.0 * (n % 3 - 1) >= 0.0
        try:
            verify(KEYS, token, **WANTED)  # type: ignore[arg-type]
        except TokenInvalid:
            assert not is_ours
        else:
            assert is_ours
            n_good += 1
    assert n_good == len([n for n in range(64) if n % 30 == 1])  # the one residue modulo 3, 5 and 6


@given(st.text(max_size=300))
def test_no_text_at_all_is_a_token_or_a_key(text: str) -> None:
    with pytest.raises(TokenInvalid):
        verify(KEYS, text, **WANTED)  # type: ignore[arg-type]
    assert authenticated(Keyring(), text, NOW) is None


@given(
    subject=st.text(max_size=40), tenant=st.text(max_size=40), event=st.text(max_size=40),
    served=st.lists(st.text(max_size=8), max_size=6), other=st.text(max_size=40),
    others=st.lists(st.text(max_size=8), max_size=6),
)  # fmt: skip
def test_a_token_is_good_for_exactly_what_it_was_minted_for(
    subject: str, tenant: str, event: str, served: list[str], other: str, others: list[str]
) -> None:
    given = {"tenant": tenant, "event_id": event, "subject": subject, "served": served}
    token = mint(KEYS, expires_at=NOW, **given)  # type: ignore[arg-type]
    assert verify(KEYS, token, now=NOW, **given).event_id == event  # type: ignore[arg-type]
    for name, instead in (("tenant", other), ("event_id", other), ("subject", other), ("served", others)):
        if given[name] != instead:
            with pytest.raises(TokenInvalid):
                verify(KEYS, token, now=NOW, **(given | {name: instead}))  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from(["create", "rotate", "revoke", "wait"]), st.integers(0, 3)), max_size=12))
def test_a_key_lets_in_exactly_while_a_naive_model_says_so(steps: list[tuple[str, int]]) -> None:
    ring, now = Keyring(), NOW
    secrets: list[list[tuple[str, float]]] = []  # per key: (text, until when), newest first
    ends: list[float] = []  # per key: when it expires or was revoked
    for n, (step, which) in enumerate(steps):
        raw = random.Random(n).randbytes(40)
        if step == "create":
            expires_at = (None, now + 5.0, now + 50.0, None)[which]
            made = created(ring, kind="secret", name="k", now=now, expires_at=expires_at, entropy=raw)
            ring = made.keyring
            secrets.append([(made.text, float("inf"))])
            ends.append(float("inf") if expires_at is None else expires_at)
        elif step == "wait":
            now += (1.0, 4.0, 10.0, 100.0)[which]
        elif which < len(secrets):
            key = ring.keys[which]
            if step == "revoke":
                ring = revoked(ring, key.id, now=now)
                ends[which] = min(ends[which], now)
            elif key.revoked_at is None:
                made = rotated(ring, key.id, now=now, entropy=raw, overlap_s=10.0)
                ring = made.keyring
                text, until = secrets[which][0]
                dead = [(old, now) for old, _ in secrets[which][1:]]
                secrets[which] = [(made.text, float("inf")), (text, min(until, now + 10.0)), *dead]
        for texts, end, key in zip(secrets, ends, ring.keys, strict=True):
            for text, until in texts:
                assert (authenticated(ring, text, now) == key) == (now < end and now < until)
