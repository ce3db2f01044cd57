"""Made-up numbers with right check digits, drawn from the published rules and not from `weir.guard`'s code."""

import base64
import datetime
import hashlib
from collections.abc import Callable
from random import Random

DIGITS = "0123456789"
CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SMALL = CAPITALS.lower()
HEX = "0123456789abcdef"
WORD = CAPITALS + SMALL + DIGITS
BASE64URL = WORD + "-_"


def some(rng: Random, alphabet: str, count: int) -> str:
    return "".join(rng.choices(alphabet, k=count))


def digits(rng: Random, count: int) -> str:
    return some(rng, DIGITS, count)


def birthday(rng: Random, first: int = 1940, last: int = 2009) -> datetime.date:
    return datetime.date(first, 1, 1) + datetime.timedelta(days=rng.randrange((last - first) * 365))


def with_luhn(body: str) -> str:
    """Doubled digits are looked up: 0246813579 are the digit sums of 0, 2, ... 18."""
    total = sum(int("0246813579"[int(d)]) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(body)))
    return body + str((10 - total % 10) % 10)


def with_first_that_fits(body: str, alphabet: str, fits: Callable[[str], bool]) -> str | None:
    return next((body + last for last in alphabet if fits(body + last)), None)


def resident_id(rng: Random) -> str:
    region = rng.choice(["110101", "310115", "440305", "510104", "330106", "650102", "460105", "230103"])
    body = f"{region}{birthday(rng):%Y%m%d}{digits(rng, 3)}"
    total = sum(int(d) * pow(2, 17 - i, 11) for i, d in enumerate(body))
    return body + "0123456789X"[(1 - total) % 11]


def old_resident_id(rng: Random) -> str:
    return f"{rng.choice(['110101', '320106', '420102'])}{birthday(rng, 1930, 1980):%y%m%d}{digits(rng, 3)}"


def credit_code(rng: Random) -> str:
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    own = some(rng, DIGITS + "ABCDEFGHJKLMN", 8)
    total = sum((int(c, 36)) * w for c, w in zip(own, (3, 7, 9, 10, 5, 8, 4, 2), strict=True))
    check = {10: "X", 11: "0"}.get(11 - total % 11, str(11 - total % 11))
    body = rng.choice(["91110108", "91310000", "92440300", "52330100", "12100000"]) + own + check
    total = sum(alphabet.index(c) * pow(3, i, 31) for i, c in enumerate(body))
    return body + alphabet[-total % 31]


def mobile(rng: Random) -> str:
    return "1" + rng.choice("3456789") + digits(rng, 9)


def bank_card(rng: Random) -> str:
    bin_, length = rng.choice([("622202", 19), ("621700", 19), ("622588", 16), ("955880", 19), ("436742", 19)])
    return with_luhn(bin_ + digits(rng, length - len(bin_) - 1))


def card(rng: Random) -> str:
    prefix, length = rng.choice(
        [("4", 16), ("53", 16), ("2411", 16), ("34", 15), ("37", 15), ("6011", 16), ("3530", 16)]
    )
    return with_luhn(prefix + digits(rng, length - len(prefix) - 1))


def iban(rng: Random) -> str:
    shapes = {
        "DE": "9" * 18,
        "GB": "AAAA" + "9" * 14,
        "FR": "9" * 23,
        "NL": "AAAA" + "9" * 10,
        "CH": "9" * 17,
        "NO": "9" * 11,
    }
    country = rng.choice(sorted(shapes))
    account = "".join(digits(rng, 1) if c == "9" else some(rng, CAPITALS, 1) for c in shapes[country])
    value = int("".join(str(int(c, 36)) for c in account + country + "00"))
    return f"{country}{98 - value % 97:02d}{account}"


def ssn(rng: Random) -> str:
    return (
        f"{rng.choice([*range(1, 666), *range(667, 900)]):03d}{rng.randrange(1, 100):02d}{rng.randrange(1, 10000):04d}"
    )


def itin(rng: Random) -> str:
    return f"9{digits(rng, 2)}{rng.choice([50, 65, 70, 88, 90, 92, 94, 99])}{digits(rng, 4)}"


def routing_number(rng: Random) -> str:
    body = f"{rng.choice([*range(1, 13), *range(21, 33), *range(61, 73), 80]):02d}{digits(rng, 6)}"
    a = [int(d) for d in body]
    total = 3 * (a[0] + a[3] + a[6]) + 7 * (a[1] + a[4] + a[7]) + a[2] + a[5]
    return f"{body}{-total % 10}"


def npi(rng: Random) -> str:
    return with_luhn("80840" + rng.choice("12") + digits(rng, 8))[5:]


def us_phone(rng: Random) -> str:
    area, exchange = rng.choice(["212", "415", "650", "312", "737"]), rng.choice(["234", "555", "867", "948"])
    return area + exchange + digits(rng, 4)


def nhs_number(rng: Random) -> str:
    def fits(number: str) -> bool:
        return sum(int(d) * (10 - i) for i, d in enumerate(number)) % 11 == 0

    return with_first_that_fits(digits(rng, 9), DIGITS, fits) or nhs_number(rng)


def nino(rng: Random) -> str:
    return rng.choice(["AB", "CE", "JG", "PX", "WK"]) + digits(rng, 6) + rng.choice("ABCD")


def mod_11_10(body: str) -> str:
    product = 10
    for digit in body:
        product = (int(digit) + product) % 10
        product = (product if product else 10) * 2 % 11
    return f"{body}{(11 - product) % 10}"


def steuer_id(rng: Random) -> str:
    chosen = rng.sample(DIGITS, 9)
    body = [*chosen, rng.choice(chosen)]
    rng.shuffle(body)
    return mod_11_10("".join(body)) if body[0] != "0" else steuer_id(rng)


def nir(rng: Random) -> str:
    body = f"{rng.choice('12')}{birthday(rng):%y%m}{rng.randrange(1, 96):02d}{digits(rng, 6)}"
    return f"{body}{97 - int(body) % 97:02d}"


def dni(rng: Random) -> str:
    number = rng.randrange(1_000_000, 99_999_999)
    return f"{number:08d}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def nie(rng: Random) -> str:
    first, number = rng.randrange(3), rng.randrange(10**7)
    return f"{'XYZ'[first]}{number:07d}{'TRWAGMYFPDXBNJZSQVHLCKE'[(first * 10**7 + number) % 23]}"


def codice_fiscale(rng: Random) -> str:
    odd = dict(
        zip(
            DIGITS + CAPITALS,
            [1, 0, 5, 7, 9, 13, 15, 17, 19, 21] * 2 + [2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23],
            strict=True,
        )
    )
    day = birthday(rng)
    body = (
        f"{some(rng, CAPITALS, 6)}{day:%y}{'ABCDEHLMPRST'[day.month - 1]}{day:%d}{rng.choice('ABCFHL')}{digits(rng, 3)}"
    )
    total = sum(odd[c] if i % 2 == 0 else int(c) if c.isdigit() else CAPITALS.index(c) for i, c in enumerate(body))
    return body + CAPITALS[total % 26]


def bsn(rng: Random) -> str:
    def fits(number: str) -> bool:
        return (sum(int(d) * (9 - i) for i, d in enumerate(number[:8])) - int(number[8])) % 11 == 0

    return with_first_that_fits(digits(rng, 8), DIGITS, fits) or bsn(rng)


def pesel(rng: Random) -> str:
    day = birthday(rng)
    body = f"{day:%y}{day.month + (20 if day.year >= 2000 else 0):02d}{day:%d}{digits(rng, 4)}"
    return f"{body}{-sum(int(d) * int(w) for d, w in zip(body, '1379137913', strict=True)) % 10}"


def belgian_number(rng: Random) -> str:
    day = birthday(rng)
    body = f"{day:%y%m%d}{rng.randrange(1, 998):03d}"
    return f"{body}{97 - int(('2' if day.year >= 2000 else '') + body) % 97:02d}"


def personnummer(rng: Random) -> str:
    return with_luhn(f"{birthday(rng):%y%m%d}{digits(rng, 3)}")


def hetu(rng: Random) -> str:
    day = birthday(rng)
    order = f"{rng.randrange(2, 900):03d}"
    check = "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(f"{day:%d%m%y}{order}") % 31]
    return f"{day:%d%m%y}{'A' if day.year >= 2000 else '-'}{order}{check}"


def ahv(rng: Random) -> str:
    body = "756" + digits(rng, 9)
    return f"{body}{-sum(int(d) * (1, 3)[i % 2] for i, d in enumerate(body)) % 10}"


def nif(rng: Random) -> str:
    body = rng.choice("12356") + digits(rng, 7)
    check = 11 - sum(int(d) * (9 - i) for i, d in enumerate(body)) % 11
    return f"{body}{check if check < 10 else 0}"


def pps(rng: Random) -> str:
    body = digits(rng, 7)
    second = rng.choice(["", "A", "H"])
    total = sum(int(d) * (8 - i) for i, d in enumerate(body)) + 9 * (0 if not second else CAPITALS.index(second) + 1)
    return f"{body}{'WABCDEFGHIJKLMNOPQRSTUV'[total % 23]}{second}"


def vat_number(rng: Random) -> str:
    siren = with_luhn(digits(rng, 8))
    return rng.choice(
        [
            "DE" + mod_11_10(rng.choice("12345678") + digits(rng, 7)),
            f"FR{(12 + 3 * (int(siren) % 97)) % 97:02d}{siren}",
            "IT" + with_luhn(digits(rng, 10)),
            "ES" + dni(rng),
            "SE" + with_luhn(digits(rng, 9)) + "01",
            "NL" + bsn(rng) + "B01",
        ]
    )


def imei(rng: Random) -> str:
    return with_luhn(rng.choice(["35", "86", "01"]) + digits(rng, 12))


def vin(rng: Random) -> str:
    values = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", map(int, "12345678123457923456789"), strict=True))
    body = list("LSV1HGCM"[:3] + some(rng, "ABCDEFGHJKLMNPRSTUVWXYZ0123456789", 8) + digits(rng, 6))
    body[8] = "0"
    weights = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2]
    body[8] = "0123456789X"[
        sum((int(c) if c.isdigit() else values[c]) * w for c, w in zip(body, weights, strict=True)) % 11
    ]
    return "".join(body)


def bitcoin_address(rng: Random) -> str:
    raw = b"\0" + rng.randbytes(20)
    raw += hashlib.sha256(hashlib.sha256(raw).digest()).digest()[:4]
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number, out = int.from_bytes(raw, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        out = alphabet[rest] + out
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + out


def ipv4(rng: Random) -> str:
    first = rng.choice([47, 58, 101, 113, 185, 203, 218])
    return f"{first}.{rng.randrange(256)}.{rng.randrange(1, 256)}.{rng.randrange(1, 255)}"


def ipv6(rng: Random) -> str:
    return "2001:db8:" + ":".join(some(rng, HEX, 4) for _ in range(6))


def base64_text(rng: Random, count: int) -> str:
    return base64.b64encode(rng.randbytes(count)).decode()
