"""The text of a key, who is let in with it, and what a request says beside its body."""

import timeit
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from weir.asgi.hosts import is_loopback
from weir.contracts.caller import ANYONE, Caller
from weir.contracts.errors import UsageError, ValidationError, WeirError
from weir.gateway.context import ContextReader, picked, request_id_of
from weir.gateway.denials import KeyRefusedError, KeysAwayError
from weir.gateway.keyring import Keyring
from weir.store.key_text import LENGTH, digest_of, id_in, is_well_formed, new_secret
from weir.store.keys import KeyChanges, StoredKey
from weir.store.spans import seconds_of
from weir.telemetry.metrics import GatewayMetrics

SECRET = new_secret()
KEY = SECRET.text.encode()
CALLER = Caller(SECRET.key_id, "acme", priority=2)
STORED = StoredKey(CALLER, "bot", SECRET.digest, None, None, 0, None, None)


def ring(*keys: StoredKey, revision: int = 1, now: float = 100.0, **given: bool) -> Keyring:
    made = Keyring(GatewayMetrics(CollectorRegistry()), clock=lambda: now, **given)
    made.load(KeyChanges(revision, "db", keys))
    return made


def results(keyring: Keyring) -> dict[str, float]:
    registry = keyring._metrics.registry
    return {
        sample.labels["result"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "weir_gateway_auth_total" and sample.value
    }


def test_keys_are_long_well_formed_and_never_alike() -> None:
    made = [new_secret() for _ in range(200)]
    assert len({secret.text for secret in made}) == len({secret.key_id for secret in made}) == 200
    for secret in made:
        text = secret.text.encode()
        assert len(text) == LENGTH
        assert is_well_formed(text)
        assert id_in(text) == secret.key_id
        assert secret.digest == digest_of(text)


@given(st.integers(0, LENGTH - 1), st.sampled_from("0aZ_x"))
def test_one_wrong_character_is_noticed(at: int, character: str) -> None:
    wrong = KEY[:at] + character.encode() + KEY[at + 1 :]
    assert is_well_formed(wrong) == (wrong == KEY)


@given(st.binary(max_size=100))
def test_nothing_that_a_caller_sends_breaks_the_ring(key: bytes) -> None:
    keyring = ring(STORED)
    if key != KEY:
        with pytest.raises(KeyRefusedError):
            keyring.identify(key)


def test_a_known_key_is_its_callers_and_every_other_is_told_why() -> None:
    keyring = ring(STORED)
    assert keyring.identify(KEY) is CALLER
    other_secret = new_secret(SECRET.key_id).text.encode()
    for key, words in [
        (None, "didn't provide an API key"),
        (KEY[:-1] + b"#", "typing error"),
        (b"sk-something", "not one of Weir's"),
        (new_secret().text.encode(), "does not exist or was revoked"),
        (other_secret, "does not exist or was revoked"),
    ]:
        with pytest.raises(KeyRefusedError, match=words) as caught:
            keyring.identify(key)
        assert caught.value.status == 401
        assert "wk_" not in str(caught.value)
    assert results(keyring) == {"key": 1, "missing": 1, "malformed": 2, "unknown": 2}


def test_an_expired_key_ends_on_its_second() -> None:
    stored = replace(STORED, expires_at=200)
    assert ring(stored, now=199.9).identify(KEY) == CALLER
    keyring = ring(stored, now=150)
    keyring._clock = lambda: 200.0
    with pytest.raises(KeyRefusedError, match="expired"):
        keyring.identify(KEY)


def test_after_a_rotation_the_old_secret_has_its_grace_and_no_more() -> None:
    new = new_secret(SECRET.key_id)
    rotated = replace(STORED, digest=new.digest, old_digest=SECRET.digest, old_until=150)
    assert ring(rotated, now=149).identify(KEY) is CALLER
    assert ring(rotated, now=149).identify(new.text.encode()) is CALLER
    with pytest.raises(KeyRefusedError):
        ring(rotated, now=150).identify(KEY)


def test_a_revoked_key_leaves_the_ring() -> None:
    keyring = ring(STORED)
    keyring.load(KeyChanges(2, "db", (replace(STORED, revoked_at=100),)))
    with pytest.raises(KeyRefusedError):
        keyring.identify(KEY)


def test_without_any_key_anyone_may_ask_until_the_first_is_made_and_never_again() -> None:
    keyring = ring(revision=0)
    assert keyring.identify(None) is ANYONE
    assert keyring.identify(b"whatever the client has") is ANYONE

    keyring.load(KeyChanges(1, "db", (STORED,)))
    with pytest.raises(KeyRefusedError):
        keyring.identify(None)

    keyring.load(KeyChanges(0, "another database", ()))
    for key in (None, KEY):
        with pytest.raises(KeyRefusedError):
            keyring.identify(key)


def test_a_public_gateway_does_not_open_by_itself() -> None:
    with pytest.raises(KeyRefusedError):
        ring(revision=0, opens_when_empty=False).identify(None)


def test_who_lets_anyone_in_still_tells_a_wrong_key() -> None:
    keyring = ring(STORED, lets_anyone_in=True)
    assert keyring.identify(None) is ANYONE
    assert keyring.identify(b"dummy") is ANYONE
    assert keyring.identify(KEY) is CALLER
    with pytest.raises(KeyRefusedError):
        keyring.identify(new_secret().text.encode())


def test_while_the_database_is_away_known_keys_go_on_and_new_ones_do_not() -> None:
    keyring = ring(STORED)
    keyring.found_away("gone")
    assert keyring.identify(KEY) is CALLER
    with pytest.raises(KeysAwayError) as caught:
        keyring.identify(new_secret().text.encode())
    assert caught.value.status == 503
    with pytest.raises(KeyRefusedError):
        keyring.identify(new_secret(SECRET.key_id).text.encode())


def test_fail_open_takes_a_new_key_at_its_word_and_nothing_else() -> None:
    keyring = ring(STORED, fails_open=True)
    stranger = new_secret()
    with pytest.raises(KeyRefusedError):
        keyring.identify(stranger.text.encode())
    keyring.found_away("gone")
    assert keyring.identify(stranger.text.encode()) == Caller(stranger.key_id, stranger.key_id)
    for key in (None, b"sk-x", new_secret(SECRET.key_id).text.encode()):
        with pytest.raises(WeirError):
            keyring.identify(key)


@pytest.mark.timed
def test_asking_who_it_is_takes_microseconds() -> None:
    keyring = ring(STORED)
    seconds = min(timeit.repeat(lambda: keyring.identify(KEY), number=1000, repeat=5)) / 1000
    assert seconds < 100e-6, "a database, or a slow hash, on the hot path"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer " + KEY)],
        [(b"authorization", b"bearer  " + KEY + b" ")],
        [(b"x-api-key", KEY)],
        [(b"api-key", KEY)],
        [(b"authorization", b"Basic abc"), (b"api-key", KEY)],
    ],
)
def test_a_key_may_stand_where_any_client_puts_it(headers: list[tuple[bytes, bytes]]) -> None:
    assert ContextReader(ring(STORED)).context(picked(headers), "r").caller is CALLER


def test_a_context_holds_what_the_headers_say() -> None:
    headers = [
        (b"host", b"h"),
        (b"authorization", b"Bearer " + KEY),
        (b"x-request-timeout-ms", b"1500"),
        (b"grpc-timeout", b"2S"),
        (b"x-priority", b"-3"),
        (b"idempotency-key", b"order-17"),
        (b"x-request-id", b"abc.1"),
    ]
    said = picked(headers)

    context = ContextReader(ring(STORED), clock=lambda: 10.0).context(said, request_id_of(said))

    assert (context.id, context.deadline, context.priority, context.idempotency_key) == ("abc.1", 11.5, -3, "order-17")
    assert context.effective_priority == -3
    assert replace(context, priority=9).effective_priority == 2
    assert replace(context, priority=None).effective_priority == 2


@pytest.mark.parametrize(
    ("name", "value", "deadline"),
    [
        (b"x-request-timeout-ms", b"1", 0.001),
        (b"x-envoy-expected-rq-timeout-ms", b"15000", 15.0),
        (b"grpc-timeout", b"1H", 3600.0),
        (b"grpc-timeout", b"250m", 0.25),
        (b"x-request-timeout-ms", b"999999999", 86400.0),
    ],
)
def test_deadlines_in_every_form(name: bytes, value: bytes, deadline: float) -> None:
    context = ContextReader(ring(revision=0), clock=lambda: 0.0).context({name: value, b"x-priority": b"0"}, "r")
    assert context.deadline == pytest.approx(deadline)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-request-timeout-ms", b"soon"),
        (b"x-request-timeout-ms", b"0"),
        (b"x-request-timeout-ms", b"9" * 400),
        (b"grpc-timeout", b"5"),
        (b"grpc-timeout", b"soonS"),
        (b"x-priority", b"11"),
        (b"x-priority", b"--1"),
        (b"x-priority", b"high"),
        (b"idempotency-key", b""),
        (b"idempotency-key", b"a b"),
        (b"idempotency-key", b"x" * 256),
    ],
)
def test_a_header_that_cannot_be_understood_is_named_not_quoted(name: bytes, value: bytes) -> None:
    with pytest.raises(ValidationError) as caught:
        ContextReader(ring(revision=0)).context({name: value, b"api-key": b"x"}, "r")
    assert caught.value.field == name.decode()
    assert not value or value.decode() not in str(caught.value)


@pytest.mark.parametrize("value", [b"", b"x" * 129, b"a b", b"\xff"])
def test_a_harmful_request_id_is_replaced(value: bytes) -> None:
    assert request_id_of({b"x-request-id": value}) != value.decode("latin-1")


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("example.com", False), ("", False)],
)  # fmt: skip
def test_only_this_machine_is_loopback(host: str, is_local: bool) -> None:
    assert is_loopback(host) == is_local


def test_spans_of_time() -> None:
    assert [seconds_of(text, "-x") for text in ("0", "45s", "30m", "12h", "90d", "2w")] == [
        0, 45, 1800, 43200, 7776000, 1209600,
    ]  # fmt: skip
    for wrong in ("", "5", "h", "1.5h", "-1d", "1y"):
        with pytest.raises(UsageError, match="-x"):
            seconds_of(wrong, "-x")
