"""Validators: right numbers pass however they are written, and one wrong digit is enough to deny."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import identities

from weir.guard.validators import VALIDATORS

Maker = Callable[[Random], str]

# The check digits of these tell every change of a single digit.
CHECKED: dict[str, Maker] = {
    "luhn": identities.card,
    "card": identities.card,
    "cn-bank": identities.bank_card,
    "gb11643": identities.resident_id,
    "gb32100": identities.credit_code,
    "iban": identities.iban,
    "imei": identities.imei,
    "us-aba": identities.routing_number,
    "us-npi": identities.npi,
    "uk-nhs": identities.nhs_number,
    "de-steuer-id": identities.steuer_id,
    "fr-nir": identities.nir,
    "es-dni": identities.dni,
    "it-codice-fiscale": identities.codice_fiscale,
    "nl-bsn": identities.bsn,
    "pl-pesel": identities.pesel,
    "se-personnummer": identities.personnummer,
    "fi-hetu": identities.hetu,
    "ch-ahv": identities.ahv,
    "base58-wallet": identities.bitcoin_address,
}
OTHERS: dict[str, Maker] = {
    "gb11643-15": identities.old_resident_id,
    "us-ssn": identities.ssn,
    "us-itin": identities.itin,
    "us-phone": identities.us_phone,
    "uk-nino": identities.nino,
    "es-dni": identities.nie,
    "be-national": identities.belgian_number,
    "pt-nif": identities.nif,
    "ie-pps": identities.pps,
    "eu-vat": identities.vat_number,
    "vin": identities.vin,
    "ipv4": identities.ipv4,
    "ipv6": identities.ipv6,
}
PUBLISHED = {
    "card": ["4111111111111111", "5555 5555 5555 4444", "3782-822463-10005", "6011111111111117", "3530111333300000"],
    "iban": ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "NO93 8601 1117 947"],
    "gb11643": ["11010519491231002X", "440524188001010014"],
    "gb32100": ["91350100M000100Y43"],
    "uk-nhs": ["943 476 5919"],
    "us-aba": ["021000021", "011401533"],
    "us-npi": ["1234567893"],
    "de-steuer-id": ["86 095 742 719"],
    "it-codice-fiscale": ["RSSMRA85T10A562S"],
    "nl-bsn": ["111222333"],
    "pl-pesel": ["44051401359"],
    "fi-hetu": ["131052-308T"],
    "ch-ahv": ["756.9217.0769.85"],
    "vin": ["1M8GDM9AXKP042788"],
    "base58-wallet": ["1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"],
    "bech32-wallet": [
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
    ],
    "hk-id": ["A123456(3)", "G123456(A)", "AB987654(3)"],
    "tw-id": ["A123456789", "F131104093"],
    "cn-plate": ["京A12345", "粤BD12345", "沪AF0236"],
    "cn-mobile": ["+86 138-1234-5678", "13000000001"],
    "gb11643-spelled": ["一一零一零五一九四九一二三一零零二X"],
    "ip-named": ["IP address is 10.20.30.40", "ipv4: 8.8.8.8"],
    "mac": ["00:1A:2B:3C:4D:5E"],
    "email": ["a.b@example.com"],
    "phone-e164": ["+44 20 7946 0958", "+1-212-555-2368"],
    "url-password": ["postgres://app:Gr8-Secret@"],
    "fr-nir-named": ["NIR 202113201230402"],
    "ie-pps-named": ["PPS 7996911N"],
    "imei-named": ["IMEI2: 355593146666040"],
    "coordinate": ["39.9042, 116.4074"],
}
WRONG = {
    "card": ["4111111111111112", "0000000000000000", "1234567812345670", ""],
    "gb11643": ["110105194913310025", "990105194912310029", "11010519491231002"],
    "gb11643-15": ["110105491331002", "000105491231002"],
    "us-ssn": ["000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000", "078-05-1120"],
    "us-phone": ["123-456-7890", "212-155-0123", "911-555-0123"],
    "uk-nino": ["BG123456A", "DA123456A", "AB123456E"],
    "ipv4": [
        "10.1.2.3",
        "127.0.0.1",
        "192.168.0.1",
        "172.16.5.4",
        "255.255.255.0",
        "1.2.3.4",
        "120.0.0.0",
        "300.1.1.1",
        "1.2.3",
    ],
    "ipv6": ["::1", "::", "a::b", "12:30:45", "ff02::1"],
    "iban": ["GB82WEST12345698765433", "XX82WEST12345698765432", "GB82WEST1234569876543"],
    "random": ["your_api_key_here_1", "aaaaaaaa11111111", "abcdefghijkl", "x1"],
    "secret": [
        "api_key = os.environ['OPENAI_1']",
        "token: YOUR_TOKEN_123456",
        "token: com.apple.xpc.activity/4505",
        "secret = xxxxxxxxxxxxxxxx1",
    ],
    "password": ["password: string", "password = getpass1()", "密码是多少", "password: ********"],
    "hk-id": ["A123456(4)", "(3)", ""],
    "tw-id": ["A123456788", "A3234567890"],
    "cn-plate": ["新RedisX", "云EC2"],
    "cn-mobile": ["15000000000"],
    "ip-named": ["ip 127.0.0.1", "IP address"],
    "mac": ["ff:ff:ff:ff:ff:ff", "20-24-01-15-10-30"],
    "email": ["git@example.com", "logo@2x.png"],
    "phone-e164": ["+210 1234567", "+12"],
    "url-password": ["postgres://user:password@", "https://u:${PASSWORD}@", "mysql://u:<secret>@"],
    "coordinate": ["91.0000, 10.0000", "1.0000 1.0000", "1.5 1.6 1.7"],
}
SAMPLES = [*CHECKED.items(), *OTHERS.items()]


@pytest.mark.parametrize(("name", "maker"), SAMPLES, ids=lambda value: value if isinstance(value, str) else "")
@given(seed=st.integers(0, 2**32))
def test_right_numbers_pass(name: str, maker: Maker, seed: int) -> None:
    number = maker(Random(seed))

    assert VALIDATORS[name](number), number


@pytest.mark.parametrize(("name", "maker"), CHECKED.items(), ids=CHECKED)
@given(seed=st.integers(0, 2**32))
def test_one_changed_digit_is_denied(name: str, maker: Maker, seed: int) -> None:
    rng = Random(seed)
    number = maker(rng)
    place = rng.choice([i for i, character in enumerate(number) if character.isdigit()])
    changed = number[:place] + rng.choice("0123456789".replace(number[place], "")) + number[place + 1 :]

    assert not VALIDATORS[name](changed), (number, changed)


SEPARABLE = sorted(CHECKED.keys() - {"fi-hetu", "base58-wallet"})


@pytest.mark.parametrize("name", SEPARABLE)
@given(seed=st.integers(0, 2**32))
def test_separators_do_not_count(name: str, seed: int) -> None:
    rng = Random(seed)
    number = CHECKED[name](rng)
    spaced = "".join(character + rng.choice(["", "", " ", "-", "."]) for character in number)

    assert VALIDATORS[name](spaced)


@pytest.mark.parametrize(("name", "number"), [(n, number) for n, numbers in PUBLISHED.items() for number in numbers])
def test_published_examples_pass(name: str, number: str) -> None:
    assert VALIDATORS[name](number)


@pytest.mark.parametrize(("name", "number"), [(n, number) for n, numbers in WRONG.items() for number in numbers])
def test_impossible_values_are_denied(name: str, number: str) -> None:
    assert not VALIDATORS[name](number)


@pytest.mark.parametrize("alphabet", [identities.WORD, identities.HEX, identities.BASE64URL])
@given(seed=st.integers(0, 2**32), count=st.integers(32, 64))
def test_what_a_generator_makes_is_random(alphabet: str, seed: int, count: int) -> None:
    value = identities.some(Random(seed), alphabet, count - 2) + "a1"

    assert VALIDATORS["random"](value)
    assert VALIDATORS["secret"](f"api_key = '{value}'")


@pytest.mark.parametrize("name", sorted(VALIDATORS))
@given(text=st.text(max_size=64) | st.text("0123456789ABDEFILNPRSTUXabx.:-= 一", max_size=64))
def test_no_validator_fails_on_any_text(name: str, text: str) -> None:
    assert VALIDATORS[name](text) in (True, False)
