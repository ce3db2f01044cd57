"""Numbers of the People's Republic of China: identity cards, credit codes of organisations, bank cards, telephones."""

import datetime

from weir.guard.checksums import bare, bare_digits, is_luhn, is_one_digit_repeated, weighted

# GB/T 2260: the first two digits of a region; from 81 on, residence permits.
_PROVINCES = frozenset(
    str(code)
    for codes in (
        range(11, 16),
        range(21, 24),
        range(31, 38),
        range(41, 47),
        range(50, 55),
        range(61, 66),
        [71, 81, 82, 83],
    )
    for code in codes
)
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECKS = "10X98765432"
_CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # no I, O, S, V, Z
_CREDIT_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
# Which kinds of organisation each registering department has.
_CREDIT_KINDS = frozenset(
    map(str, (11, 12, 13, 19, 21, 29, 31, 32, 33, 34, 35, 39, 41, 49, 51, 52, 53, 59, 61, 62, 69, 71, 72, 79))
)
_CREDIT_KINDS |= frozenset(("81", "89", "91", "92", "93", "A1", "A9", "N1", "N2", "N3", "N9", "Y1"))
_ORGANISATION_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
# UnionPay's 62, and the older ranges of the large banks, which other networks' rules leave out.
_BANK_BINS = (*("62", "9558", "9559", "940", "9843", "6013", "6014", "4563", "4367", "4213", "4340", "4055", "5899"),)
_BANK_LENGTHS = range(16, 20)
_TAIWAN_PLACES = "ABCDEFGHJKLMNPQRSTUVXYWZIO"  # in the order of their numbers, from 10
_CHINESE_DIGITS = str.maketrans("〇零○一二三四五六七八九幺壹贰叁肆伍陆柒捌玖两", "00012345678911234567892")
_MOBILE_LENGTH = 11
_PLATE_LETTERS = 3  # at most, behind the letter of the place


def is_date(year: int, month: int, day: int) -> bool:
    """Whether the calendar has that day, between 1850 and the year 2100."""
    if not 1850 <= year <= 2100:
        return False
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    return True


def is_resident_id(text: str) -> bool:
    """GB 11643-1999: region, date of birth, order, check character (X for 10)."""
    number = bare(text)
    if len(number) != 18 or not number[:17].isdigit() or number[:2] not in _PROVINCES:
        return False
    if not is_date(int(number[6:10]), int(number[10:12]), int(number[12:14])):
        return False
    return _ID_CHECKS[weighted(number, _ID_WEIGHTS) % 11] == number[17]


def is_old_resident_id(text: str) -> bool:
    """The 15 digits in use before 1999: no check character, and years of two digits."""
    number = bare_digits(text)
    if len(number) != 15 or number[:2] not in _PROVINCES or number[2:6] == "0000":
        return False
    return is_date(1900 + int(number[6:8]), int(number[8:10]), int(number[10:12]))


def is_credit_code(text: str) -> bool:
    """GB 32100-2015. Digits alone must also hold a right organisation code (GB 11714): they may be any number."""
    code = bare(text)
    if len(code) != 18 or code[:2] not in _CREDIT_KINDS or not code[2:8].isdigit() or not _is_region(code[2:4]):
        return False
    if any(character not in _CREDIT_ALPHABET for character in code):
        return False
    total = sum(_CREDIT_ALPHABET.index(c) * w for c, w in zip(code, _CREDIT_WEIGHTS, strict=False))
    is_sum_right = (31 - total % 31) % 31 == _CREDIT_ALPHABET.index(code[17])
    return is_sum_right and (not code.isdigit() or _is_organisation_code(code[8:17]))


def _is_region(code: str) -> bool:
    return code in _PROVINCES or code == "10"  # 10: registered with the state itself


def _is_organisation_code(code: str) -> bool:
    total = sum(_ORGANISATION_ALPHABET.index(c) * w for c, w in zip(code, _ORGANISATION_WEIGHTS, strict=False))
    return "0123456789X0"[11 - total % 11] == code[8]


def is_bank_card(text: str) -> bool:
    """ISO/IEC 7812 check digit and a beginning that China's banks hand out."""
    number = bare_digits(text)
    if len(number) not in _BANK_LENGTHS or not number.startswith(_BANK_BINS):
        return False
    return is_luhn(number) and not is_one_digit_repeated(number)


def is_mobile(text: str) -> bool:
    """A mobile number, with or without 86 in front. Round amounts (15000000000) are none."""
    number = bare_digits(text)[-_MOBILE_LENGTH:]
    return len(number) == _MOBILE_LENGTH and number[2:] != "0" * 9


def is_spelled_resident_id(text: str) -> bool:
    """An identity card number in Chinese numerals, with the check character."""
    return is_resident_id(text.translate(_CHINESE_DIGITS))


def is_plate(text: str) -> bool:
    """A number plate rather than a word in Latin letters behind the short name of a province."""
    number = bare(text)
    digits = sum(character.isdigit() for character in number)
    return digits >= 2 and len(number) - 1 - digits <= _PLATE_LETTERS


def is_hong_kong_id(text: str) -> bool:
    """One or two letters, six digits, check digit modulo 11 (A for 10); a missing first letter counts as 36."""
    number = bare(text)
    body, check = number[:-1], number[-1:]
    if len(body) not in (7, 8) or not body[-6:].isdigit() or not body[:-6].isalpha() or not check:
        return False
    values = [36] * (8 - len(body)) + [int(character, 36) for character in body]
    total = sum(value * weight for value, weight in zip(values, range(9, 1, -1), strict=True))
    return (total + int(check, 36)) % 11 == 0


def is_taiwan_id(text: str) -> bool:
    """A letter for the place, then nine digits (or a letter and eight, residents from abroad), modulo 10."""
    number = bare(text)
    if len(number) != 10 or number[0] not in _TAIWAN_PLACES or number[1] not in "1289ABCD" or not number[2:].isdigit():
        return False
    place = _TAIWAN_PLACES.index(number[0]) + 10
    second = number[1] if number[1].isdigit() else str((_TAIWAN_PLACES.index(number[1]) + 10) % 10)
    total = place // 10 + place % 10 * 9 + weighted(second + number[2:], (8, 7, 6, 5, 4, 3, 2, 1, 1))
    return total % 10 == 0
