"""A lone user message is put between texts that are known, where the template allows that, and nowhere else."""

import pytest

from weir.contracts.errors import WeirError
from weir.contracts.request import Message
from weir.release.template import ChatTemplate

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<s>' + messages[0]['content'] }}"
    "{%- else %}{{- '<s>You' }}{%- endif %}"
    "{%- for m in messages %}{%- if m.role == 'user' or not loop.first %}{{- '<u>' + m.role + m.content + '<e>' }}"
    "{%- endif %}{%- endfor %}"
)
COPIES = [
    CHATML,
    QWEN,
    "{% for m in messages %}{% if m.content is string %}{{ '<u>' ~ m['content'] }}{% endif %}{% endfor %}",
    "{% for m in messages[0:] %}{{ m.content }}, again {{ m.content }}{% endfor %}",
    "{{ raise_exception('no') if messages[0].role == 'tool' }}{{ '<u>' }}{{ messages[0].content }}",
]
DECIDES = [
    "{% for m in messages %}<u>{{ m.content | trim }}{% endfor %}",
    "{% for m in messages %}<u>{% if m.content %}{{ m.content }}{% endif %}{% endfor %}",
    "{% for m in messages if m.content %}<u>{{ m.role }}{% endfor %}",
    "{% for m in messages %}{% set c = m.content %}<u>{{ c | upper }}{% endfor %}",
    "{% set all = messages %}<u>{{ all[0].content | upper }}",
    "{% with m = messages[0] %}<u>{{ m.content | upper }}{% endwith %}",
    "{{ strftime_now('%f') }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "{{ [1, 2, 3] | random }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "<u>{{ messages | length }}{{ messages[0].content }}",
    "{% for m in messages %}{% for k in m %}{{ m[k] }}{% endfor %}{% endfor %}",
    "{% for m in messages %}<u>{{ m['con' ~ 'tent'] | upper }}{% endfor %}",
    "{% for m in messages %}<u>{{ m.content == 'hello' }}{% endfor %}",
    "{% for m in messages %}<u>{{ (m.content + 'a') * 2 }}{% endfor %}",
    "{% for m in messages %}<u>{{ m.content[0] }}{% endfor %}",
    "{% for m in messages %}<u>{{ m.content if m.role == 'user' else '' }}{% endfor %}",
    "{% macro say(m) %}{{ m.content | upper }}{% endmacro %}<u>{{ say(messages[0]) }}",
    "<u>{{ messages[0] }}",
    "<u>{{ messages[0].content.upper() }}",
]
TEXTS = ["hello", "", "  spaced <|im_end|> {{ x }}\n", "\u0001weir-content-0\u0001", "七天"]


def outcome(template: ChatTemplate, text: str, *, quick: bool) -> str:
    try:
        return template.render_user(text) if quick else template.render([Message(role="user", content=text)])
    except WeirError as error:
        return str(error)


@pytest.mark.parametrize("source", [*COPIES, *DECIDES])
def test_the_quick_way_says_the_same(source: str) -> None:
    if "strftime_now" in source or "random" in source:
        source = source.replace("strftime_now('%f')", "1").replace("| random", "| first")
    quick, plain = ChatTemplate(source, ("<|im_end|>",)), ChatTemplate(source, ("<|im_end|>",))
    assert [outcome(quick, text, quick=True) for text in TEXTS] == [outcome(plain, text, quick=False) for text in TEXTS]


@pytest.mark.parametrize("source", [*COPIES, *DECIDES])
def test_only_templates_that_copy_are_rendered_once(source: str) -> None:
    template = ChatTemplate(source)
    rendered = 0
    render = template.render

    def counted(*given: object, **more: object) -> str:
        nonlocal rendered
        rendered += 1
        return render(*given, **more)  # type: ignore[arg-type]

    template.render = counted  # type: ignore[method-assign]
    for text in TEXTS[:1] * 5:
        outcome(template, text, quick=True)
    is_twice = source.count("m.content }}") == 2
    assert rendered == (1 if source in COPIES and not is_twice else 6 if source in COPIES else 5)
