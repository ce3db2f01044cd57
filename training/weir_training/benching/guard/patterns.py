"""A hundred patterns that Python's `re` and RE2 both take: PII, secrets, injections. For timing, not for use."""

from random import Random
from typing import Final

JWT: Final = r"\beyJ[A-Za-z0-9_-]{10,80}\.[A-Za-z0-9_-]{10,300}\.[A-Za-z0-9_-]{10,100}\b"
KEY: Final = r"\bsk-[A-Za-z0-9_-]{20,80}\b"
_KNOWN: Final = (
    r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,200}\.[A-Za-z]{2,24}\b",
    r"\b1[3-9]\d{9}\b",
    r"\b[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])\d{3}[\dXx]\b",
    r"\b(?:\d[ -]?){12,18}\d\b",
    r"\bAKIA[0-9A-Z]{16}\b",
    r"\bghp_[A-Za-z0-9]{36}\b",
    KEY,
    JWT,
    r"\bxox[abprs]-[A-Za-z0-9-]{10,72}\b",
    r"-----BEGIN (?:RSA |EC |OPENSSH )?PRIVATE KEY-----",
    r"\b(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}\b",
    r"https?://[^\s/$.?#]\S{0,256}",
    r"\b\d{3}-\d{2}-\d{4}\b",
    r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}\b",
    r"(?i)ignore (?:all |any )?(?:previous|prior|above) (?:instructions|rules|prompts)",
    r"忽略(?:以上|之前|前面)(?:的)?(?:所有|全部)?(?:指令|规则|提示)",
    r"(?i)(?:reveal|print|show) (?:your|the) system prompt",
    r"(?i)you are now (?:unfiltered|in developer mode)",
    r"身份证号?[:： ]{0,3}\d{15,18}",
    r"(?i)password\s{0,4}[:=]\s{0,4}\S{6,64}",
)


def patterns(count: int = 100) -> tuple[str, ...]:
    """Return the known ones, then variations that differ in prefix, class and length as vendors' keys do."""
    rng = Random(5)  # noqa: S311  reproducible, not secret
    made = [_made(rng, number) for number in range(len(_KNOWN), count)]
    return (*_KNOWN, *made)[:count]


def _made(rng: Random, number: int) -> str:
    first, second = chr(97 + number % 26), chr(97 + number // 26)
    kinds = (
        rf"\b{first}{second}k_[a-f0-9]{{{rng.choice((16, 24, 32, 40))}}}\b",
        rf"(?i)\b(?:secret|token|key){number}\s{{0,3}}[:=]\s{{0,3}}[\w-]{{8,64}}",
        rf"\b[A-Z]{{{2 + number % 3}}}{number}-?\d{{{5 + number % 6}}}\b",
        rf"(?i)act as (?:an? )?(?:evil|unfiltered) ?{first}{second}\w{{0,12}}",
    )
    return rng.choice(kinds)


PLANTS: Final = (
    "alice.liu@example.com",
    "13812345678",
    "sk-" + "a1B2" * 8,
    "AKIA" + "Q7" * 8,
    "192.168.10.254",
    "https://example.com/a?b=c",
)
