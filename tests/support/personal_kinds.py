"""Made-up personal data by kind, as people write it: bare, in groups, or behind the word for it."""

from collections.abc import Callable, Iterable
from random import Random

from tests.support import identities
from tests.support.identities import DIGITS, SMALL, digits, some

Maker = Callable[[Random], str]


def grouped(number: str, groups: Iterable[int], separator: str) -> str:
    parts, start = [], 0
    for size in groups:
        parts.append(number[start : start + size])
        start += size
    return separator.join([*parts, number[start:]] if start < len(number) else parts)


def spaced(maker: Maker, *groups: int, separator: str = " ") -> Maker:
    return lambda rng: grouped(maker(rng), groups, separator)


KINDS: dict[str, Maker] = {
    "mobile": identities.mobile,
    "mobile-grouped": spaced(identities.mobile, 3, 4),
    "mobile-hyphens": spaced(identities.mobile, 3, 4, separator="-"),
    "mobile-86": identities.mobile,
    "mobile-0086": identities.mobile,
    "landline": lambda rng: f"0{rng.choice(['10', '21', '755', '571'])}-{rng.choice('2345678')}{digits(rng, 7)}",
    "resident-id": identities.resident_id,
    "resident-id-small-x": lambda rng: identities.resident_id(rng).lower(),
    "resident-id-grouped": spaced(identities.resident_id, 6, 8),
    "resident-id-mistyped": lambda rng: identities.resident_id(rng)[:-1] + rng.choice("0123456789X"),
    "resident-id-old": identities.old_resident_id,
    "passport": lambda rng: "E" + digits(rng, 8),
    "credit-code": identities.credit_code,
    "bank-card": identities.bank_card,
    "bank-card-grouped": spaced(identities.bank_card, 4, 4, 4, 4),
    "bank-card-mistyped": lambda rng: "6222" + digits(rng, 15),
    "plate": lambda rng: (
        f"{rng.choice('京沪粤苏浙川鲁')}{rng.choice('ABCDE')}{digits(rng, 3)}{rng.choice('ABK')}{digits(rng, 1)}"
    ),
    "plate-new-energy": lambda rng: f"粤B{rng.choice('DF')}{digits(rng, 5)}",
    "qq": lambda rng: rng.choice("123456789") + digits(rng, 8),
    "wechat": lambda rng: "wx_" + some(rng, SMALL + DIGITS, 8),
    "card": identities.card,
    "card-grouped": lambda rng: grouped(identities.with_luhn("4" + digits(rng, 14)), (4, 4, 4), rng.choice(" -")),
    "email": lambda rng: f"{some(rng, SMALL, 6)}.{digits(rng, 2)}@mail.example.{rng.choice(['com', 'cn', 'org'])}",
    "ipv4": identities.ipv4,
    "ipv4-private": lambda rng: f"192.168.{rng.randrange(256)}.{rng.randrange(1, 255)}",
    "ipv6": identities.ipv6,
    "iban": identities.iban,
    "iban-grouped": lambda rng: grouped(number := identities.iban(rng), [4] * (len(number) // 4), " "),
    "international": lambda rng: f"+44 20 {digits(rng, 4)} {digits(rng, 4)}",
    "bitcoin": identities.bitcoin_address,
    "ssn": lambda rng: grouped(identities.ssn(rng), (3, 2), "-"),
    "itin": lambda rng: grouped(identities.itin(rng), (3, 2), "-"),
    "us-phone": lambda rng: grouped(identities.us_phone(rng), (3, 3), rng.choice("-.")),
    "us-phone-brackets": lambda rng: f"({(n := identities.us_phone(rng))[:3]}) {n[3:6]}-{n[6:]}",
    "routing": identities.routing_number,
    "npi": identities.npi,
    "nino": identities.nino,
    "nhs": identities.nhs_number,
    "steuer-id": identities.steuer_id,
    "nir": identities.nir,
    "dni": identities.dni,
    "nie": identities.nie,
    "codice-fiscale": identities.codice_fiscale,
    "bsn": identities.bsn,
    "pesel": identities.pesel,
    "personnummer": lambda rng: grouped(identities.personnummer(rng), (6,), "-"),
    "hetu": identities.hetu,
    "ahv": lambda rng: grouped(identities.ahv(rng), (3, 4, 4), "."),
    "nif": identities.nif,
    "pps": identities.pps,
    "vat": identities.vat_number,
    "imei": identities.imei,
    "vin": identities.vin,
}
WORDS = {  # what stands before those that would else be any number
    "mobile-86": "+86 ",
    "mobile-0086": "0086-",
    "resident-id-mistyped": "身份证号",
    "resident-id-old": "身份证号码：",
    "passport": "护照号",
    "bank-card-mistyped": "银行卡号",
    "qq": "QQ：",
    "wechat": "微信号",
    "ipv4-private": "IP地址",
    "routing": "ABA ",
    "npi": "NPI ",
    "nhs": "NHS ",
    "steuer-id": "Steuer-ID ",
    "nir": "NIR ",
    "bsn": "BSN ",
    "pesel": "PESEL ",
    "nif": "NIF ",
    "pps": "PPS ",
    "imei": "IMEI ",
}
