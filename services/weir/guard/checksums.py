"""Check digits: the sums that tell a real number from digits in a row. Each is linear and knows no country."""

from collections.abc import Sequence
from operator import mul

_VALUE = bytes((byte - 48) % 256 for byte in range(256))  # of a digit, as bytes: numbers that need no reading
_TWICE = bytes(sum(divmod(2 * (byte - 48), 10)) if 48 <= byte < 58 else 0 for byte in range(256))
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def bare(text: str) -> str:
    """Return the ASCII letters (as capitals) and digits of `text`: separators never count."""
    if not text.isascii():
        text = text.encode("ascii", "ignore").decode()
    return (text if text.isalnum() else "".join(filter(str.isalnum, text))).upper()


def bare_digits(text: str) -> str:
    if not text.isascii():
        text = text.encode("ascii", "ignore").decode()
    return text if text.isdigit() else "".join(filter(str.isdigit, text))


def from_first_digit(text: str) -> str:
    """Return `text` without the words in front of its number."""
    return next((text[index:] for index, character in enumerate(text) if character.isdigit()), "")


def weighted(digits: str, weights: Sequence[int]) -> int:
    """Return the sum of digits times weights; the shorter of the two decides how many."""
    return sum(map(mul, digits[: len(weights)].encode().translate(_VALUE), weights))


def is_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    raw = digits.encode()
    return (sum(raw[-1::-2].translate(_VALUE)) + sum(raw[-2::-2].translate(_TWICE))) % 10 == 0


def is_mod_11_10(digits: str) -> bool:
    """ISO 7064, MOD 11,10."""
    product = 10
    for digit in digits[:-1]:
        product = ((product + int(digit)) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def remainder_97(characters: str) -> int:
    """Return the number that `characters` spell, letters as 10 to 35, modulo 97 (ISO 7064, MOD 97-10)."""
    remainder = 0
    for character in characters:
        value = _ALPHABET.index(character)
        remainder = (remainder * (100 if value > 9 else 10) + value) % 97
    return remainder


def is_ean(digits: str) -> bool:
    """GS1 check digit."""
    return (sum(map(int, digits[-1::-2])) + 3 * sum(map(int, digits[-2::-2]))) % 10 == 0


def is_one_digit_repeated(digits: str) -> bool:
    """Whether it is a filler such as 000-00-0000, which many sums let pass."""
    return len(set(digits)) == 1
