"""Numbers of the United States: social security, taxpayers, bank routing, health-care providers."""

from weir.guard.checksums import bare_digits, is_luhn, is_one_digit_repeated, weighted

_ADVERTISED_SSNS = frozenset({"078051120", "219099999", "457555462"})  # printed in advertisements, used by thousands
_ROUTING_WEIGHTS = (3, 7, 1) * 3
_NPI_PREFIX = "80840"  # issuer identifier of health applications in the United States


def is_ssn(text: str) -> bool:
    """A social security number that may be in use: areas 000, 666 and from 900 on, group 00, serial 0000 never are."""
    number = bare_digits(text)
    if len(number) != 9 or number in _ADVERTISED_SSNS or is_one_digit_repeated(number):
        return False
    area, group, serial = number[:3], number[3:5], number[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def is_itin(text: str) -> bool:
    """An individual taxpayer identification number: 9xx, and groups 50 to 65, 70 to 88, 90 to 92, 94 to 99."""
    number = bare_digits(text)
    if len(number) != 9 or number[0] != "9" or is_one_digit_repeated(number):
        return False
    group = int(number[3:5])
    return 50 <= group <= 65 or 70 <= group <= 88 or (90 <= group <= 99 and group != 93)


def is_routing_number(text: str) -> bool:
    """An ABA routing transit number: Federal Reserve district, check digit."""
    number = bare_digits(text)
    if len(number) != 9 or is_one_digit_repeated(number):
        return False
    district = int(number[:2])
    is_district = 1 <= district <= 12 or 21 <= district <= 32 or 61 <= district <= 72 or district == 80
    return is_district and weighted(number, _ROUTING_WEIGHTS) % 10 == 0


def is_npi(text: str) -> bool:
    """A national provider identifier: ten digits from 1 or 2, Luhn with the prefix 80840."""
    number = bare_digits(text)
    return len(number) == 10 and number[0] in "12" and is_luhn(_NPI_PREFIX + number)


def is_phone(text: str) -> bool:
    """A number of the North American plan, with or without +1: neither area nor exchange starts with 0 or 1.

    Exchange 555 with line 0100 to 0199 is kept for fiction; N11 names services, never areas or exchanges.
    """
    number = bare_digits(text)
    number = number[1:] if len(number) == 11 and number[0] == "1" else number
    if len(number) != 10 or number[0] in "01" or number[3] in "01":
        return False
    return number[1:3] != "11" and number[4:6] != "11" and not is_one_digit_repeated(number)
