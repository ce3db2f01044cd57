"""Numbers that no single country gives out: payment cards, bank accounts, network addresses, wallets, devices."""

import hashlib
import ipaddress
from collections.abc import Mapping
from operator import mul
from types import MappingProxyType

from weir.guard.checksums import bare, bare_digits, is_luhn, is_one_digit_repeated, remainder_97

# ISO 13616: how long an account number is, with the country's letters and the check digits.
_IBAN_LENGTHS: Mapping[int, str] = MappingProxyType(
    {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL SD FK",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }
)
_IBAN_LENGTH = {country: length for length, countries in _IBAN_LENGTHS.items() for country in countries.split()}
_SMALL_OCTET = 32
_IMEI_BODIES = frozenset(map(str, (*range(33, 36), 44, 45, *range(49, 55), 86, 91, 98, 99))) | {"01"}
_VIN_LETTERS = ("AJ", "BKS", "CLT", "DMU", "ENV", "FW", "GPX", "HY", "RZ")
_VIN_VALUES = {letter: value for value, letters in enumerate(_VIN_LETTERS, 1) for letter in letters}
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_FILE_ENDINGS = (
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".svg",
    ".webp",
    ".js",
    ".css",
    ".html",
    ".py",
    ".json",
    ".yaml",
    ".service",
)
_COUNTRY_CODES = frozenset(
    map(
        str,
        (
            20,
            27,
            *range(30, 35),
            36,
            39,
            *range(40, 42),
            *range(43, 50),
            *range(51, 59),
            *range(60, 67),
            81,
            82,
            84,
            86,
            *range(90, 96),
            98,
        ),
    )
)
_LONG_COUNTRY_CODES = frozenset(
    map(
        str,
        (
            *range(211, 270),
            *range(290, 300),
            *range(350, 360),
            *range(370, 390),
            *range(420, 424),
            *range(500, 510),
            *range(590, 600),
            *range(670, 693),
            850,
            852,
            853,
            855,
            856,
            880,
            886,
            *range(960, 980),
            *range(992, 999),
        ),
    )
)
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUES = bytes(_BASE58.find(chr(byte)) % 256 for byte in range(256))  # 255: no digit
_POWERS_OF_58 = tuple(58**place for place in range(35))  # more make a number of more than 25 bytes
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def is_card(text: str) -> bool:
    """A payment card's number: a network's beginning with that network's length, and Luhn's check digit."""
    number = bare_digits(text)
    return _is_network(number) and is_luhn(number)


def _is_network(number: str) -> bool:
    length, four = len(number), int(number[:4] or 0)
    return (
        (number.startswith("4") and length in (13, 16, 19))  # Visa
        or (length == 16 and (5100 <= four <= 5599 or 2221 <= four <= 2720))  # Mastercard
        or (length == 15 and four // 100 in (34, 37))  # American Express
        or (length in (16, 19) and (four in (6011, *range(6440, 6500)) or four // 100 == 65))  # Discover
        or (length in range(14, 20) and (3000 <= four <= 3059 or four == 3095 or four // 100 in (36, 38, 39)))  # Diners
        or (length in range(16, 20) and (3528 <= four <= 3589 or four // 100 in (62, 81)))  # JCB, UnionPay
        or (length in range(12, 20) and four // 100 in (50, *range(56, 60), *range(63, 68)))  # Maestro, Elo
        or (length == 16 and (2200 <= four <= 2204 or four in (6521, 6522, 9792)))  # Mir, RuPay, Troy
    )


def is_iban(text: str) -> bool:
    """ISO 13616: the country's length, and 1 as the remainder of 97 with the first four characters last."""
    number = bare(text)
    if _IBAN_LENGTH.get(number[:2]) != len(number) or not number[2:4].isdigit():
        return False
    return remainder_97(number[4:] + number[:4]) == 1


def is_public_ipv4(text: str) -> bool:
    """An address that may be somebody's: no private, loopback or group address, no network mask.

    Addresses set aside for documents count: in a text they stand for real ones. Four small numbers do not, nor a
    number that ends in .0.0: those are versions and chapters (1.2.10.4, 120.0.0.0) far more often.
    """
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    octets = address.packed
    if octets[0] in (0, 10, 127) or octets[0] >= 224 or octets[2:] == b"\0\0" or max(octets) < _SMALL_OCTET:
        return False
    return not (octets[:2] in (b"\xc0\xa8", b"\xa9\xfe") or (octets[0] == 172 and octets[1] >> 4 == 1))


def is_ipv6(text: str) -> bool:
    """An address of a network or a host in it. `::1` is nobody's, and `a::b` is a name in a program."""
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_multicast or address.is_unspecified:
        return False
    is_network = address.packed[0] >> 5 == 1 or address.packed[0] in (0xFC, 0xFD, 0xFE)
    return is_network and sum(character.isdigit() for character in text) >= 2 and len(text) >= 7


def is_imei(text: str) -> bool:
    """A mobile device's number: 15 digits, Luhn, and in front a body that gives such numbers out."""
    number = bare_digits(text)
    return len(number) == 15 and number[:2] in _IMEI_BODIES and is_luhn(number)


def is_vin(text: str) -> bool:
    """A vehicle's number by ISO 3779 with the check digit that North America and China ask for."""
    number = bare(text)
    if len(number) != 17 or any(letter in number for letter in "IOQ") or number.isdigit() or number.isalpha():
        return False
    values = [int(c) if c.isdigit() else _VIN_VALUES[c] for c in number]
    remainder = sum(v * w for v, w in zip(values, _VIN_WEIGHTS, strict=True)) % 11
    return "0123456789X"[remainder] == number[8]


def is_base58_wallet(text: str) -> bool:
    """Bitcoin, Litecoin, Dogecoin, Tron: 25 bytes in base 58, the last four a double SHA-256 of the rest."""
    digits = text.lstrip(_BASE58[0])  # which stands for 0
    if len(digits) > len(_POWERS_OF_58) or not digits.isascii():
        return False
    values = digits.encode().translate(_BASE58_VALUES)
    if max(values, default=0) >= len(_BASE58):
        return False
    value: int = sum(map(mul, reversed(values), _POWERS_OF_58))
    if value >= 1 << 200:
        return False
    raw = value.to_bytes(25, "big")
    check: bytes = hashlib.sha256(hashlib.sha256(raw[:21]).digest()).digest()[:4]
    return check == raw[21:]


def is_bech32_wallet(text: str) -> bool:
    """Bitcoin's and Litecoin's newer addresses (BIP 173, BIP 350)."""
    prefix, _, data = text.lower().rpartition("1")
    values = [_BECH32.find(character) for character in data]
    if not prefix or min(values, default=-1) < 0:
        return False
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    checksum = 1
    for value in expanded + values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_BECH32_GENERATORS):
            checksum ^= generator if top >> bit & 1 else 0
    return checksum in (1, 0x2BC830A3)


def is_coordinate(text: str) -> bool:
    """Latitude and longitude with at least four places, which is about ten metres."""
    parts = text.replace(",", " ").split()
    if len(parts) != 2:
        return False
    try:
        latitude, longitude = map(float, parts)
    except ValueError:
        return False
    return abs(latitude) <= 90 and abs(longitude) <= 180 and latitude != longitude


def is_named_ipv4(text: str) -> bool:
    """An address at the end of `text` that is a host's: private ones count, loopback and masks do not."""
    address = text[next((i for i, c in enumerate(text) if c.isdigit() and text[i - 1 : i].lower() != "v"), len(text)) :]
    try:
        octets = ipaddress.IPv4Address(address).packed
    except ValueError:
        return False
    return octets[0] not in (0, 127) and octets[0] < 224


def is_mac(text: str) -> bool:
    """A card's own address: no broadcast, no filler, no date; one letter at least."""
    number = bare(text)
    return len(number) == 12 and any(c.isalpha() for c in number) and not is_one_digit_repeated(number)


def is_email(text: str) -> bool:
    """An address that may be a person's: no file (`logo@2x.png`), and not the user of a version control's host."""
    folded = text.lower().strip()
    return not folded.endswith(_FILE_ENDINGS) and not folded.startswith(("git@", "hg@", "svn@"))


def is_international_phone(text: str) -> bool:
    """E.164: a country code that is in use and 8 to 15 digits in all."""
    number = bare_digits(text)
    if not 8 <= len(number) <= 15 or number[1:] == "0" * (len(number) - 1):
        return False
    return number[0] in "17" or number[:2] in _COUNTRY_CODES or number[:3] in _LONG_COUNTRY_CODES
