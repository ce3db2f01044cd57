"""Personal numbers and tax numbers of European countries, each by its own published rule."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from weir.guard.checksums import (
    bare,
    bare_digits,
    is_ean,
    is_luhn,
    is_mod_11_10,
    is_one_digit_repeated,
    remainder_97,
    weighted,
)
from weir.guard.cn_numbers import is_date

_NINO_NEVER = frozenset({"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"})
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_CF_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_CF_EVEN_OF = {c: v for v, c in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")} | {str(d): d for d in range(10)}
_CF_ODD_OF = {c: _CF_ODD[v] for c, v in _CF_EVEN_OF.items()}
_CF_MONTHS = "ABCDEHLMPRST"
_CF_OMOCODIA = str.maketrans("LMNPQRSTUV", "0123456789")
_HETU_CHECKS = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_PPS_SECOND = "ABCDEFGHITW"
_PPS_CHECKS = "WABCDEFGHIJKLMNOPQRSTUV"


def is_nhs_number(text: str) -> bool:
    """National Health Service number of England: modulus 11."""
    number = bare_digits(text)
    if len(number) != 10 or is_one_digit_repeated(number):
        return False
    return (11 - weighted(number, range(10, 1, -1)) % 11) % 11 == int(number[9])


def is_nino(text: str) -> bool:
    """National insurance number: prefixes and suffixes that are in use."""
    number = bare(text)
    if len(number) != 9 or not (number[:2].isalpha() and number[2:8].isdigit() and number[8] in "ABCD"):
        return False
    return number[0] not in "DFIQUV" and number[1] not in "DFIOQUV" and number[:2] not in _NINO_NEVER


def is_steuer_id(text: str) -> bool:
    """Germany's tax number for life: in the first ten digits one occurs two or three times, most others once."""
    number = bare_digits(text)
    if len(number) != 11 or number[0] == "0":
        return False
    counts = sorted(number[:10].count(digit) for digit in set(number[:10]))
    return counts[-1] in (2, 3) and counts.count(1) == len(counts) - 1 and is_mod_11_10(number)


def is_nir(text: str) -> bool:
    """France's social security number: sex, year, month, department (2A and 2B are Corsica), key."""
    number = bare(text)
    if len(number) != 15 or number[0] not in "12378":
        return False
    number = number.replace("2A", "19", 1) if number[5:7] == "2A" else number
    number = number.replace("2B", "18", 1) if number[5:7] == "2B" else number
    if not number.isdigit():
        return False
    month = int(number[3:5])
    return (1 <= month <= 12 or 20 <= month <= 42 or month >= 50) and 97 - int(number[:13]) % 97 == int(number[13:])


def is_dni(text: str) -> bool:
    """Spain's DNI, and the NIE of foreigners (X, Y, Z stand for 0, 1, 2)."""
    number = bare(text)
    if len(number) != 9:
        return False
    digits = number[:8].translate(str.maketrans("XYZ", "012"))
    is_form = number[1:8].isdigit() and digits.isdigit()
    return is_form and not is_one_digit_repeated(digits) and _DNI_LETTERS[int(digits) % 23] == number[8]


def is_codice_fiscale(text: str) -> bool:
    """Italy's code of persons; digits may have become letters where two persons shared a code."""
    code = bare(text)
    if len(code) != 16 or not code[:6].isalpha() or code[8] not in _CF_MONTHS or not code[15].isalpha():
        return False
    numbers = (code[6:8] + code[9:11] + code[12:15]).translate(_CF_OMOCODIA)
    if not numbers.isdigit() or not (1 <= int(numbers[2:4]) <= 31 or 41 <= int(numbers[2:4]) <= 71):
        return False
    odd = sum(map(_CF_ODD_OF.__getitem__, code[0:15:2]))
    return (odd + sum(map(_CF_EVEN_OF.__getitem__, code[1:15:2]))) % 26 == ord(code[15]) - ord("A")


def is_bsn(text: str) -> bool:
    """The citizen service number of the Netherlands: the eleven test, last weight -1."""
    number = bare_digits(text)
    if len(number) != 9 or is_one_digit_repeated(number):
        return False
    return weighted(number, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def is_pesel(text: str) -> bool:
    """Poland: date of birth with the century in the month, check digit."""
    number = bare_digits(text)
    if len(number) != 11:
        return False
    century, month = divmod(int(number[2:4]), 20)
    year = (1900, 2000, 2100, 2200, 1800)[century] + int(number[:2])
    return is_date(year, month, int(number[4:6])) and weighted(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def is_belgian_number(text: str) -> bool:
    """Belgium's national register number: date of birth, order, 97 less the remainder."""
    number = bare_digits(text)
    if len(number) != 11 or int(number[2:4]) > 12 or int(number[4:6]) > 31 or is_one_digit_repeated(number):
        return False
    return any(97 - int(century + number[:9]) % 97 == int(number[9:]) for century in ("", "2"))


def is_personnummer(text: str) -> bool:
    """Sweden: date of birth (60 more on the day of a coordination number), Luhn on ten digits."""
    number = bare_digits(text)
    if len(number) not in (10, 12):
        return False
    century, number = number[:-10], number[-10:]
    day = int(number[4:6])
    day -= 60 if day > 60 else 0
    return is_date(int((century or "20") + number[:2]), int(number[2:4]), day) and is_luhn(number)


def is_hetu(text: str) -> bool:
    """Finland: date of birth, sign of the century, order, check character."""
    number = text.strip().upper()
    digits = number[:6] + number[7:10]
    if len(number) != 11 or not (digits.isascii() and digits.isdigit()):
        return False
    year = {"+": 1800, "A": 2000, "B": 2000, "C": 2000, "D": 2000, "E": 2000, "F": 2000}.get(number[6], 1900)
    is_birthday = is_date(year + int(number[4:6]), int(number[2:4]), int(number[:2]))
    return is_birthday and _HETU_CHECKS[int(digits) % 31] == number[10]


def is_ahv(text: str) -> bool:
    """Switzerland's social security number: an EAN-13 from 756 on."""
    number = bare_digits(text)
    return len(number) == 13 and number.startswith("756") and is_ean(number)


def is_nif(text: str) -> bool:
    """Portugal's tax number: modulus 11."""
    number = bare_digits(text)
    if len(number) != 9 or number[0] not in "1235689" or is_one_digit_repeated(number):
        return False
    return (11 - weighted(number, range(9, 1, -1)) % 11) % 11 % 10 == int(number[8])


def is_pps(text: str) -> bool:
    """Ireland: seven digits, a check letter, and since 2013 a second letter that counts."""
    number = bare(text)
    if len(number) not in (8, 9) or not number[:7].isdigit() or not number[7:].isalpha():
        return False
    second = number[8:].replace("W", "")
    if second not in _PPS_SECOND:
        return False
    extra = 9 * (ord(second) - ord("A") + 1) if second else 0
    return _PPS_CHECKS[(weighted(number, range(8, 1, -1)) + extra) % 23] == number[7]


def _vat_at(number: str) -> bool:
    if len(number) != 9 or number[0] != "U" or not number[1:].isdigit():
        return False
    total = sum(sum(divmod(int(d) * (1 + i % 2), 10)) for i, d in enumerate(number[1:8]))
    return (96 - total) % 10 == int(number[8])


def _vat_be(number: str) -> bool:
    return len(number) == 10 and number.isdigit() and number[0] in "01" and 97 - int(number[:8]) % 97 == int(number[8:])


def _vat_dk(number: str) -> bool:
    return len(number) == 8 and number.isdigit() and weighted(number, (2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def _vat_es(number: str) -> bool:
    """Persons have their DNI; companies a letter, seven digits and a digit or letter to check them."""
    if len(number) != 9 or number[0] not in "ABCDEFGHJNPQRSUVW" or not number[1:8].isdigit():
        return is_dni(number)
    total = sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(number[1:8]))
    return number[8] in (str(-total % 10), "JABCDEFGHI"[-total % 10])


def _vat_fi(number: str) -> bool:
    return len(number) == 8 and number.isdigit() and weighted(number, (7, 9, 10, 5, 8, 4, 2, 1)) % 11 == 0


def _vat_fr(number: str) -> bool:
    is_form = len(number) == 11 and number.isdigit()
    return is_form and is_luhn(number[2:]) and (12 + 3 * int(number[2:]) % 97) % 97 == int(number[:2])


def _vat_nl(number: str) -> bool:
    if len(number) != 12 or number[9] != "B" or not (number[:9] + number[10:]).isdigit():
        return False
    return is_bsn(number[:9]) or remainder_97("NL" + number) == 1


def _vat_pl(number: str) -> bool:
    return (
        len(number) == 10 and number.isdigit() and weighted(number, (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11 == int(number[9])
    )


def _vat_lu(number: str) -> bool:
    return len(number) == 8 and number.isdigit() and int(number[:6]) % 89 == int(number[6:])


def _vat_gb(number: str) -> bool:
    if len(number) != 9 or not number.isdigit():
        return False
    total = weighted(number, range(8, 1, -1)) + int(number[7:])
    return total % 97 == 0 or (total + 55) % 97 == 0


_VAT: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        "AT": _vat_at,
        "BE": _vat_be,
        "DE": lambda number: len(number) == 9 and number.isdigit() and number[0] != "0" and is_mod_11_10(number),
        "DK": _vat_dk,
        "ES": _vat_es,
        "FI": _vat_fi,
        "FR": _vat_fr,
        "GB": _vat_gb,
        "IT": lambda number: len(number) == 11 and number.isdigit() and is_luhn(number),
        "LU": _vat_lu,
        "NL": _vat_nl,
        "PL": _vat_pl,
        "PT": lambda number: number.isdigit() and is_nif(number),
        "SE": lambda number: len(number) == 12 and number.isdigit() and number[10:] == "01" and is_luhn(number[:10]),
    }
)


def is_vat_number(text: str) -> bool:
    """A value-added tax number with its country's letters in front; the countries are the keys of `_VAT`."""
    number = bare(text)
    is_right = _VAT.get(number[:2])
    return is_right is not None and is_right(number[2:])
