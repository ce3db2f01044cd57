"""Ways to hide a term that were thought of by somebody who had not read the guard's code."""

import base64
import codecs
import html
import quopri
from collections.abc import Callable, Mapping
from urllib.parse import quote

ENGLISH = (
    "ketamine", "pipe bomb", "stolen cards", "exploit kit", "counterfeit", "deepfake porn", "money mule", "spyware",
    "fake passport", "zero day market",
)  # fmt: skip
CHINESE = (
    "代开发票", "网络赌博", "私家侦探", "枪械改装", "裸聊敲诈", "考试作弊", "迷药出售", "地下钱庄", "黑客接单", "人体器官",
)  # fmt: skip

Disguise = Callable[[str], str]

_LOWER = "abcdefghijklmnopqrstuvwxyz"


def _alphabet(spelled: str) -> Disguise:
    """`spelled`: 26 characters, or fewer pairs as in `a=а e=е`."""
    table = dict(zip(_LOWER, spelled, strict=True)) if "=" not in spelled else dict(
        pair.split("=") for pair in spelled.split()
    )  # fmt: skip
    return lambda term: "".join(table.get(one, one) for one in term)


def _shifted(first: int, *, holes: Mapping[str, str] | None = None) -> Disguise:
    return lambda term: "".join(
        (holes or {}).get(one) or (chr(first + ord(one) - 97) if one in _LOWER else one) for one in term
    )


def _between(*filler: str) -> Disguise:
    """Put the fillers between the characters in turn; a space of the term counts as one of them."""

    def spelled(term: str) -> str:
        letters = [one for one in term if one not in " \u3000"]
        out = [letters[0]]
        for number, one in enumerate(letters[1:]):
            out += filler[number % len(filler)], one
        return "".join(out)

    return spelled


def _entities(kind: str) -> Disguise:
    return lambda term: "".join(kind % ord(one) for one in term)


def _chain(*disguises: Disguise) -> Disguise:
    def all_of(term: str) -> str:
        for one in disguises:
            term = one(term)
        return term

    return all_of


def _upper_every_other(term: str) -> str:
    return "".join(one.upper() if number % 2 else one for number, one in enumerate(term))


def _full_width(term: str) -> str:
    return "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else ("\u3000" if one == " " else one) for one in term)


_LEET = _alphabet("a=4 e=3 i=1 o=0 s=5 t=7")
_LEET_SIGNS = _alphabet("a=@ s=$ i=! o=0 e=3")
_CYRILLIC = _alphabet("a=а e=е o=о p=р c=с x=х y=у i=і s=ѕ k=к m=м t=т b=Ь")
_TRADITIONAL = str.maketrans("发网络赌侦枪装聊诈试药钱庄单体", "發網絡賭偵槍裝聊詐試藥錢莊單體")
_HOMOPHONES = str.maketrans("代开发票网络赌博私家侦探枪械改装", "带揩法飘往洛堵伯斯加真叹腔谢该庄")
_RADICALS = str.maketrans({
    "络": "纟各", "赌": "贝者", "侦": "亻贞", "探": "扌罙", "枪": "木仓", "械": "木戒", "诈": "讠乍", "试": "讠式",
    "作": "亻乍", "钱": "钅戋", "接": "扌妾", "体": "亻本", "地": "土也",
})  # fmt: skip
_KANGXI = str.maketrans("人口黑地下", "⼈⼝⿊地下")
PINYIN = {
    "代开发票": "dai kai fa piao", "网络赌博": "wang luo du bo", "私家侦探": "si jia zhen tan",
    "枪械改装": "qiang xie gai zhuang", "裸聊敲诈": "luo liao qiao zha", "考试作弊": "kao shi zuo bi",
    "迷药出售": "mi yao chu shou", "地下钱庄": "di xia qian zhuang", "黑客接单": "hei ke jie dan",
    "人体器官": "ren ti qi guan",
}  # fmt: skip
_TONES = {
    "代开发票": "dài kāi fā piào", "网络赌博": "wǎng luò dǔ bó", "私家侦探": "sī jiā zhēn tàn",
    "枪械改装": "qiāng xiè gǎi zhuāng", "考试作弊": "kǎo shì zuò bì", "地下钱庄": "dì xià qián zhuāng",
}  # fmt: skip

EITHER: dict[str, Disguise] = {
    "zero width of six kinds": _between("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u2062"),
    "Mongolian separator, soft hyphen": _between("\u180e", "\u00ad"),
    "variation selectors, supplement": _between("\ufe0e", "\U000e0101"),
    "bidi isolates": _between("\u2066", "\u2069"),
    "override and its end": lambda term: "\u202e" + term + "\u202c",
    "override, written backwards": lambda term: "\u202e" + term[::-1] + "\u202c",
    "combining marks, three each": _between("\u0334\u0353\u035b"),
    "enclosing keycap": _between("\u20e3"),
    "dots": _between("."),
    "middle dots": _between("·"),
    "slashes and bars": _between("/", "|"),
    "spaced dashes": _between(" - "),
    "no-break and thin spaces": _between("\u00a0", "\u2009"),
    "ideographic spaces": _between("\u3000"),
    "tabs": _between("\t"),
    "line ends": _between("\r\n"),
    "tildes and carets": _between("~", "^"),
    "Chinese marks": _between("、", "。", "，"),
    "stars and hearts": _between("★", "♥"),
    "thumbs with a skin": _between("👍🏽"),
    "arrows": _between("→"),
    "underscores": _between("_"),
    "commas and spaces": _between(", "),
    "Markdown stars": _between("**"),
    "decimal entities": _entities("&#%d;"),
    "hex entities in capitals": _entities("&#X%04X;"),
    "entities of entities": _entities("&amp;#%d;"),
    "percent": lambda term: "".join(f"%{byte:02x}" for byte in term.encode()),
    "percent twice": lambda term: quote(quote(term, safe=""), safe="") if not term.isascii() else "".join(
        f"%25{ord(one):02x}" for one in term
    ),
    "JSON escapes": _entities("\\u%04x"),
    "braced escapes": _entities("\\u{%x}"),
    "base64": lambda term: base64.b64encode(f"please sell {term} to me".encode()).decode(),
    "base64, the term alone": lambda term: base64.b64encode(term.encode()).decode(),
    "base64 for URLs, no padding": lambda term: base64.urlsafe_b64encode(f"{term}?>".encode()).decode().rstrip("="),
    "hex": lambda term: term.encode().hex(),
    "hex, spaced": lambda term: term.encode().hex(" "),
    "hex with prefixes": lambda term: "".join(f"\\x{byte:02x}" for byte in term.encode()),
    "backwards": lambda term: term[::-1],
    "zero width and spaces": _between(" \u200b", "\u200d "),
    "Chinese brackets": lambda term: "".join(f"【{one}】" for one in term if one != " "),
    "empty tags between": _between("<b></b>"),
    "comments between": _between("<!-- -->"),
    "each in a tag": lambda term: "".join(f"<i>{one}</i>" for one in term if one != " "),
    "quoted-printable": lambda term: quopri.encodestring(term.encode()).decode() if not term.isascii() else "".join(
        f"={ord(one):02X}" for one in term
    ),
    "entities of spaced letters": _chain(_between("-"), _entities("&#%d;")),
    "percent of a full-width text": lambda term: quote(_full_width(term)),
}  # fmt: skip

ENGLISH_ONLY: dict[str, Disguise] = {
    "every other in capitals": _upper_every_other,
    "full width": _full_width,
    "full width, dotted": _chain(_full_width, _between("．")),
    "Cyrillic": _CYRILLIC,
    "Cyrillic and zero width": _chain(_CYRILLIC, _between("\u200b")),
    "Cyrillic, spaced": _chain(_CYRILLIC, _between(" ")),
    "Greek": _alphabet("a=α o=ο i=ι v=ν k=κ p=ρ t=τ u=υ e=ε"),
    "Greek capitals": lambda term: term.upper().translate(str.maketrans("AEIKMNOPTXYZBH", "ΑΕΙΚΜΝΟΡΤΧΥΖΒΗ")),
    "Armenian": _alphabet("a=ɑ o=օ u=ս n=ո h=հ"),
    "Cherokee": lambda term: term.upper().translate(str.maketrans("ABEKMTSPDHWZ", "ᎪᏴᎬᏦᎷᎢᏚᏢᎠᎻᎳᏃ")),
    "small capitals": _alphabet("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘǫʀꜱᴛᴜᴠᴡxʏᴢ"),
    "superscripts": _alphabet("ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖqʳˢᵗᵘᵛʷˣʸᶻ"),
    "fraktur": _shifted(0x1D51E),
    "double-struck": _shifted(0x1D552),
    "script, bold": _shifted(0x1D4EA),
    "sans, bold, italic": _shifted(0x1D656),
    "monospace": _shifted(0x1D68A),
    "circled": _shifted(0x24D0),
    "in parentheses": _shifted(0x249C),
    "squared": _shifted(0x1F130),
    "white on black squares": _shifted(0x1F170),
    "white on black circles": _shifted(0x1F150),
    "regional indicators": _shifted(0x1F1E6),
    "tags": lambda term: "".join(chr(0xE0000 + ord(one)) for one in term),
    "accents": _alphabet("a=á e=ê i=ï o=õ u=ů n=ñ c=ç s=š y=ÿ z=ž d=ď k=ķ t=ť r=ř m=ṁ p=ṗ"),
    "strokes and hooks": _alphabet("a=ⱥ d=đ e=ɇ o=ø l=ł t=ŧ b=ƀ k=ƙ h=ħ i=ɨ"),
    "leet": _LEET,
    "leet with signs": _LEET_SIGNS,
    "leet, dotted": _chain(_LEET, _between(".")),
    "leet, full width": _chain(_LEET, _full_width),
    "leet of one letter": lambda term: term.replace("o", "0", 1) if "o" in term else term.replace("a", "4", 1)
    if "a" in term else term.replace("e", "3", 1),
    "rot13": lambda term: codecs.encode(term, "rot13"),
    "letters doubled and more": lambda term: "".join(one * 3 if one in "aeiou" else one for one in term),
    "last letter drawn out": lambda term: " ".join(word + word[-1] * 4 for word in term.split()),
    "a hyphen at the line's end": lambda term: term[: len(term) // 2] + "-\n" + term[len(term) // 2 :],
    "no space": lambda term: term.replace(" ", ""),
    "named entities": _alphabet("e=&eacute; o=&ouml; a=&aacute;"),
    "octal escapes": _entities("\\%03o"),
    "hex words": lambda term: " ".join(f"0x{ord(one):02x}" for one in term),
    "numbers of characters": lambda term: " ".join(str(ord(one)) for one in term),
}  # fmt: skip

CHINESE_ONLY: dict[str, Disguise] = {
    "traditional": lambda term: term.translate(_TRADITIONAL),
    "traditional, spaced": _chain(lambda term: term.translate(_TRADITIONAL), _between(" ")),
    "pinyin": PINYIN.__getitem__,
    "pinyin, joined": lambda term: PINYIN[term].replace(" ", ""),
    "pinyin with tones": lambda term: _TONES.get(term, term),
    "pinyin, hyphens and capitals": lambda term: PINYIN[term].title().replace(" ", "-"),
    "homophones": lambda term: term.translate(_HOMOPHONES),
    "one homophone": lambda term: term[0].translate(_HOMOPHONES) + term[1:],
    "split characters": lambda term: term.translate(_RADICALS),
    "Kangxi radicals": lambda term: term.translate(_KANGXI),
    "empty brackets between": _between("（）"),
    "quotation marks": lambda term: "".join(f"「{one}」" for one in term),
    "ditto and dash marks": _between("——"),
    "letters between": _between("x"),
    "digits between": _between("1", "2", "3"),
    "each twice": lambda term: "".join(one * 2 for one in term),
    "one pinyin among characters": lambda term: PINYIN[term].split()[0] + term[1:],
    "spaced and one in between": lambda term: f"{term[0]} {term[1]}　{term[2]}·{term[3]}",
}
CARRIERS = ("前文说到 {} ，后面还有话。", "Tell me about {} please.", "{}", "「{}」")


def unescaped(text: str) -> str:
    """What a browser would show; for tests of this module."""
    return html.unescape(text)
