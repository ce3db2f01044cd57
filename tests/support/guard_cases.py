"""Random policies, texts and cuts for the output guard: what it should find, disguised, cut short and run together."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from tests.support.guard_reference import Form, Known
from weir.guard.rules import Action, Rule, RuleSet


def luhn(text: str) -> bool:
    digits = [int(c) for c in reversed(text) if c.isdigit()]
    return sum(d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(digits)) % 10 == 0


def starts_low(text: str) -> bool:
    return text[-1:] in "abc012 .@"


VALIDATORS = {"luhn": luhn, "starts-low": starts_low}
ACTIONS = [Action.FLAG, *[Action.REDACT] * 5, *[Action.REWRITE] * 2, Action.FALLBACK, Action.BLOCK]


def _terms(*terms: str, **more: object) -> Known:
    return Known(Rule("r", Action.REDACT, terms=terms, **more), samples=terms)


def _regex(regex: str, samples: str, *forms: Form, validator: str | None = None, **more: object) -> Known:
    rule = Rule("r", Action.REDACT, regexes=(regex,), validator=validator, **more)
    return Known(rule, forms, VALIDATORS[validator] if validator else None, tuple(samples.split("|")))


def _bounded(regex: str, samples: str, **more: object) -> Known:
    return _regex(regex, samples, Form(regex), **more)


POOL = [
    _terms("敏感词", "感词汇", "敏感"),
    _terms("感 词", "词"),
    _terms("敏感词", is_squeezed=False),
    _terms("枪支", "支弹药", "GPT助手"),
    _terms("secret", "top secret", "secrets"),
    _terms("secret", "ass", boundary="substring"),
    _terms("secret", "敏感", boundary="word"),
    _terms("a.b", "bca", "abcab", "ab"),
    _terms("abcab", "bca", boundary="substring", is_squeezed=False),
    _terms("lilo", "ello", "o1l"),
    _terms("bot", "ear"),
    _terms("вот", "еда"),
    _terms("email", "mail list", "l1st"),
    _terms("-x-", "a b", "。"),
    _bounded(r"\b[a-c0-9._]{1,6}@[a-c0-9.]{1,6}\.[a-c]{2,4}\b", "a@b.cc|abc.a@cc.ab|abcabcabc@ab.abcabc"),
    _bounded(r"[a-c.]{1,5}@[a-c]{1,5}", "a@b|abc@abc.a@b"),
    _bounded(r"\b1[3-9]\d{4}\b", "135555|1355550"),
    _bounded(r"\b(?:\d[ -]?){4,7}\d\b", "4111-1111|1234 5674|59", validator="luhn"),
    _bounded(r"\d{2,4}", "12|5551|99", validator="starts-low"),
    _bounded(r"[ab]{2}|[ab]c{1,3}", "ab|acc|bccc", validator="starts-low"),
    _bounded(r"(?:ab|a)(?:bc|c)?", "abbc|abc|a"),
    _bounded(r"a{1,3}?b", "aaaab|ab"),
    _bounded(r"敏[^ ]{0,3}词", "敏感词|敏..词词"),
    _bounded(r"\bA[A-C]{2}\b", "AAB|AAC|aab", keeps_case=True),
    _bounded(r"(?:a|ab)\b.?c", "a c|abc|ab c"),
    _bounded(r"(?s)a.{0,2}\n", "a\n|ab\n\n|a..\n"),
    _regex(r"^ab|c$", "ab|c", Form(r"^ab|c\Z")),
    _bounded(r"(?m)^-{2,3}$", "\n--\n|\n---|----\n"),
    _bounded(r"\Bb\B", "abc|bbb"),
    _regex(r"\bsk-[a-c0-9]{4,}", "sk-abc012|sk-abcabc|sk-abc", Form(r"\bsk-[a-c0-9]{4}", "[a-c0-9]")),
    _regex(r"(?:abc-|a)[b-c]{2,}", "abc-bcbc|abc|abcb", Form(r"(?:abc-|a)[b-c]{2}", "[b-c]")),
    _regex(r"https?://[^\s。]+", "https://ab.c/d|http://x。|https://ab ", Form(r"https?://[^\s。]", r"[^\s。]")),
    _regex(r"ab\d*", "ab|ab12", Form("ab", r"\d"), validator="starts-low"),
    _regex(r"\d{3,}", "1234|001|999999", Form(r"\d{3}", r"\d"), validator="starts-low"),
    _regex(r"a+|词[^a]+", "aaa|词bcd", Form("a", "a"), Form("词[^a]", "[^a]")),
    _regex("BEGIN", "BEGIN|END|BEGIN aEND|EN", Form("BEGIN", until="END"), until="END"),
    _regex("ab", "ab|baa|c|ba", Form("ab", until="ba{0,2}|c"), until="ba{0,2}|c"),
    _regex(r"\b敏", "敏|词|.", Form(r"\b敏", until=r"词\b|\."), until=r"词\b|\."),
    _regex(
        "k=[a-c]+;",
        "k=abc;|k=abcabcabcabcabc;|k=",
        Form("k=[a-c]{1,9};"),
        Form("k=[a-c]{9}", "[a-c;]", is_validated=False),
        cap=12,
    ),
    _regex(
        r"ey[\w-]{2,}\.[\w-]{2,}\.[\w-]{2,}",
        "eyab.cd.ef|eyabcabcabcabc.dd.ee|eyab.abcabcabc.cc|eyab.c",
        Form(r"ey[\w-]{2,7}\.[\w-]{2,7}\.[\w-]{2}", r"[\w-]"),
        Form(r"ey[\w-]{7}", r"[\w.-]", is_validated=False),
        Form(r"ey[\w-]{2,7}\.[\w-]{7}", r"[\w.-]", is_validated=False),
        cap=20,
    ),
    _regex(
        r"(?:[ab]{1,2}\.)+c\b",
        "ab.a.b.c|a.b.a.b.a.b.a.b.c|a.b.",
        Form(r"(?:[ab]{1,2}\.){1,5}c\b"),
        Form(r"(?:[ab]{1,2}\.){5}", "[ab.c]", is_validated=False),
        cap=16,
    ),
    _regex(r"a\s+b", "a  b|a        b|a ", Form(r"a\s{1,6}b"), Form(r"a\s{6}", r"\s", is_validated=False), cap=8),
    _terms("株式", "式会", "社a"),
    _bounded("[会社i]{2,3}a?", "㍿|㍿a|ﬁi"),
]
ALLOW = [
    "secret",
    "ab",
    "abcc",
    "https://ab",
    "https://ab.c/d",
    "sk-abc0123",
    "敏感",
    "a@b",
    "123",
    "a12",
    "k=a;",
    "敏 感",
    "aaa",
    "BEGIN aEND",
    "词a",
]

FRAGMENTS = [
    "敏感词", "感词汇", "枪支弹药", "GPT助手", "gpt助手", "secret", "top secret", "secrets", "secretary", "xsecret",
    "assess", "abcabcab", "bcab", "a.b", "email list", "lilo", "hello", "a@b.cc", "abc.a@cc.ab", "help@ab.abc",
    "135555", "1234 5674", "4111-1111", "12345678", "abbc", "aab", "ab", "AAB", "AAC", "sk-abc012",
    "sk-abcabc12345", "abc-bcbc", "https://ab", "https://ab.c/d?e=1。", "http://x", "ab12", "BEGIN", "END",
    "BEGIN aEND", "ba", "baa", "k=abc;", "k=abcabcabcabcabc;", "k=", "eyab.cd.ef", "eyabcabcabcabc.dd.ee",
    "eyab.abcabcabc.cc", "ab.a.b.c", "a.b.a.b.a.b.a.b.c", "a  b", "a        b", "---", "--\n", "-x-", "好",
    "㍿a", "ﬁi", "sk-abc0123", "https://ab.c/d ", "вот", "еда", "bот",
    "今天天气很好", "The cat sat", "\n", " ", "  ", "。", "，", ".", "-", "_", "@", "1", "0", "x", "y", "\u200b", "é",
    "😀", "ﬁ", "㍿", "ß", "İ", "\u200d", "!", "|", "$",
]  # fmt: skip
_LETTERS = "abc012 .-@s敏感词\u200b"
_LEET = {"o": "0", "i": "1", "e": "3", "a": "@4", "s": "$5", "t": "7", "l": "1|"}


def policy(random: Random) -> tuple[list[Known], list[str]]:
    """Return a few rules with random actions, and an allow list."""
    first, size = random.randrange(len(POOL)), random.randint(1, 6)
    chosen = random.choices(POOL, k=size) if random.random() < 0.7 else (POOL * 2)[first : first + size]
    known = []
    for number, one in enumerate(chosen):
        changes = {"id": f"r{number}", "action": random.choice(ACTIONS), "replacement": f"[{number}]"}
        known.append(replace(one, rule=replace(one.rule, is_secret=random.random() < 0.3, **changes)))
    of_rules = [sample for one in known for sample in one.samples]
    return known, random.sample(ALLOW + of_rules, random.choice([0, 0, 1, 4]))


def ruleset(known: Sequence[Known], allow: Sequence[str]) -> RuleSet:
    return RuleSet(output=tuple(one.rule for one in known), allow=tuple(allow))


def text(random: Random, known: Sequence[Known]) -> str:
    samples = [sample for one in known for sample in one.samples]
    parts = []
    for _ in range(random.randint(1, 7)):
        kind = random.random()
        if kind < 0.2:
            part = "".join(random.choices(_LETTERS, k=random.randint(1, 6)))
        else:
            part = random.choice(samples if kind < 0.6 else FRAGMENTS)
        part = _disguised(random, part)
        parts.append(part[: random.randint(1, len(part))] if random.random() < 0.25 else part)
    return "".join(parts)


def _disguised(random: Random, part: str) -> str:
    kind = random.random()
    if kind < 0.5:
        return part
    if kind < 0.6:
        return random.choice(["\u200b", "\u00ad", "\ufe0f", "\u0336"]).join(part)
    if kind < 0.7:
        return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in part)
    if kind < 0.76:
        return part.upper()
    if kind < 0.88:
        return "".join(c + random.choice([" ", "*", "-", "、", " . ", "", "\n", "....", "\u200b "]) for c in part)
    return "".join(random.choice(_LEET.get(c, c) + c) for c in part)


def cut(random: Random, whole: str) -> list[str]:
    sizes = random.choice([[1], [1], [2], [3], [1, 2, 3, 5, 9, 30], [1, 1, 1, 20], [1000]])
    pieces, at = [], 0
    while at < len(whole):
        size = random.choice(sizes)
        pieces.append(whole[at : at + size])
        at += size
    return pieces
