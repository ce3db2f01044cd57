"""Made-up dialogues: the same question put in many ways, sentences to copy, answers to look up, and small talk.

The larger part teaches what a question is about: the assistant names the canonical subject of a question whose wording
was drawn from the tables, so wordings that mean the same come to lie together. No dialogue states a real shop's facts.
"""

from collections.abc import Callable, Iterator
from random import Random

from weir_training.base.phrases import Phrases, Table, phrases

Turn = tuple[str, str]
Dialogue = tuple[Turn, ...]
Question = tuple[str, str]  # what the customer says, what it is about

_DROPPED_WORD_SHARE = 0.12
_CHINESE_SHARE = 0.48
_DETAIL_SHARE = 0.18


def dialogues(count: int, *, seed: int) -> Iterator[Dialogue]:
    """Yield `count` dialogues; the same seed gives the same ones."""
    rng = Random(seed)  # noqa: S311 - reproducible, not secret
    makers, weights = zip(*_MAKERS, strict=True)
    for _ in range(count):
        source = phrases("zh" if rng.random() < _CHINESE_SHARE else "en")
        yield rng.choices(makers, weights)[0](rng, source)


def _about(rng: Random, source: Phrases) -> Question:
    """Draw a subject, one of its wordings and a way to ask about it."""
    if rng.random() < 0.25:
        return _scene(rng, source)
    subjects, asks = (source.actions, source.action_asks) if rng.random() < 0.55 else (source.things, source.thing_asks)
    subject, wording = _draw(rng, subjects)
    aspect, ask = _draw(rng, asks)
    question = ask.replace("{x}", wording)
    return _with_detail(rng, source, question), _named(source, subject, aspect)


def _scene(rng: Random, source: Phrases) -> Question:
    """Say what happened, and perhaps ask for what follows from it."""
    subject, text = _draw(rng, source.scenes)
    if rng.random() < 0.7:
        return _with_detail(rng, source, text), _named(source, subject)
    wordings, asks = (
        (source.actions[subject], source.action_asks)
        if subject in source.actions
        else (source.things[subject], source.thing_asks)
    )
    aspect, ask = _draw(rng, asks)
    comma = "，" if source.language == "zh" else ", "
    return text + comma + ask.replace("{x}", rng.choice(wordings)), _named(source, subject, aspect)


def _with_detail(rng: Random, source: Phrases, question: str) -> str:
    """Add, now and then, something that has no bearing on the question."""
    if rng.random() > _DETAIL_SHARE:
        return question
    return rng.choice(source.details).format(
        q=question, word=rng.choice(source.words), adj=rng.choice(source.adjectives), city=rng.choice(source.cities)
    )


def _draw(rng: Random, table: Table) -> tuple[str, str]:
    name = rng.choice(list(table))
    return name, rng.choice(table[name])


def _named(source: Phrases, subject: str, aspect: str = "") -> str:
    if source.language == "zh":
        return f"您问的是“{subject}”，{aspect}。" if aspect else f"您问的是“{subject}”。"
    return f'You ask about "{subject}", {aspect}.' if aspect else f'You ask about "{subject}".'


def _spoken(rng: Random, source: Phrases, question: str) -> str:
    """Say a question as people type it: with or without greeting, capitals and every word."""
    if rng.random() < _DROPPED_WORD_SHARE:
        question = _without_a_word(rng, source, question)
    prefix, suffix = rng.choice(source.prefixes), rng.choice(source.suffixes)
    if source.language == "zh":
        return prefix + question + suffix
    if suffix[:1].isalpha():
        suffix = f" {suffix}"
    text = f"{prefix} {question}{suffix}".strip()
    return text[0].upper() + text[1:] if rng.random() < 0.4 else text


def _without_a_word(rng: Random, source: Phrases, question: str) -> str:
    words = list(question) if source.language == "zh" else question.split()
    if len(words) > 3:
        del words[rng.randrange(len(words))]
    return ("" if source.language == "zh" else " ").join(words)


def _understand(rng: Random, source: Phrases) -> Dialogue:
    question, meaning = _about(rng, source)
    return ("user", _spoken(rng, source, question)), ("assistant", meaning)


def _fact(rng: Random, source: Phrases) -> str:
    action, thing = rng.choice(list(source.actions)), rng.choice(list(source.things))
    word, word2 = rng.choice(source.words), rng.choice(source.words)
    days = "一二三四五六日" if source.language == "zh" else _DAYS
    return rng.choice(source.facts).format(
        action=action,
        Action=action.capitalize(),
        thing=thing,
        Thing=thing.capitalize(),
        word=word,
        Word=word.capitalize(),
        word2=word2,
        adj=rng.choice(source.adjectives),
        adj2=rng.choice(source.adjectives),
        city=rng.choice(source.cities),
        city2=rng.choice(source.cities),
        n=rng.choice((1, 2, 3, 4, 5, 6, 7, 10, 12, 15, 24, 30, 48, 60)),
        m=rng.choice((20, 50, 60, 80, 99, 100, 150, 199, 200, 500, 1000, 2000)),
        h=rng.randint(6, 11),
        k=rng.randint(12, 90),
        p=f"{rng.randint(5, 20)}.{rng.randint(0, 9)}" if rng.random() < 0.7 else rng.randint(5, 30),
        d=rng.choice(days),
        e=rng.choice(days),
    )


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _say(rng: Random, source: Phrases) -> Dialogue:
    """Write any sentence: the assistant's turn is what matters, it holds the words answers are made of."""
    ask = "请说一句话" if source.language == "zh" else "say something"
    return ("user", ask), ("assistant", _fact(rng, source))


def _repeat(rng: Random, source: Phrases) -> Dialogue:
    text = _fact(rng, source) if rng.random() < 0.5 else _word_list(rng, source)
    ask = rng.choice(("请重复：", "照着说：", "复述：") if source.language == "zh" else ("Repeat: ", "Say: ", "Copy: "))
    return ("user", ask + text), ("assistant", text)


def _word_list(rng: Random, source: Phrases) -> str:
    words = rng.sample(source.words, rng.randint(4, 9))
    return "、".join(words) + "。" if source.language == "zh" else ", ".join(words) + "."


def _look_up(rng: Random, source: Phrases) -> Dialogue:
    """Answer from notes given as system prompt: only one of them is about the question."""
    subjects = rng.sample(list(source.actions), 3)
    notes = {subject: _fact(rng, source) for subject in subjects}
    subject = rng.choice(subjects)
    wording = rng.choice(source.actions[subject])
    question = _draw(rng, source.action_asks)[1].replace("{x}", wording)
    head = "按资料回答。" if source.language == "zh" else "Answer from these notes."
    system = "\n".join([head, *(f"{name}: {note}" for name, note in notes.items())])
    return ("system", system), ("user", _spoken(rng, source, question)), ("assistant", notes[subject])


def _compare(rng: Random, source: Phrases) -> Dialogue:
    """Say whether two questions are about the same."""
    first, meaning = _about(rng, source)
    second, other = _about(rng, source)
    if rng.random() < 0.5:
        second, other = _same_again(rng, source, meaning) or (second, other)
    is_chinese = source.language == "zh"
    ask = f"意思一样吗？\n{first}\n{second}" if is_chinese else f"Same meaning?\n{first}\n{second}"
    verdict = ("不一样，{}", "一样，{}") if is_chinese else ("No. {}", "Yes. {}")
    return ("user", ask), ("assistant", verdict[other == meaning].format(other))


def _same_again(rng: Random, source: Phrases, meaning: str) -> Question | None:
    for _ in range(200):
        question, other = _about(rng, source)
        if other == meaning:
            return question, other
    return None


def _chat(rng: Random, source: Phrases) -> Dialogue:
    question, answer = rng.choice(source.chat)
    return ("user", _spoken(rng, source, question)), ("assistant", answer)


def _conversation(rng: Random, source: Phrases) -> Dialogue:
    """Several exchanges after a system prompt."""
    is_chinese = source.language == "zh"
    system = "你是一个有用的助手。" if is_chinese else "You are a helpful assistant."
    parts = [_chat(rng, source), _understand(rng, source), _understand(rng, source)]
    return (("system", system), *(turn for part in parts[rng.randint(0, 1) :] for turn in part))


_MAKERS: tuple[tuple[Callable[[Random, Phrases], Dialogue], float], ...] = (
    (_understand, 0.66),
    (_say, 0.10),
    (_repeat, 0.12),
    (_look_up, 0.04),
    (_compare, 0.02),
    (_chat, 0.02),
    (_conversation, 0.04),
)
