"""A prompt release whose chat template defines tools, in the form of Hermes and Qwen."""

from pathlib import Path

from tests.support.prompt_release import make_prompt_release, write_template

TOOL_TEMPLATE = """\
{%- if tools %}<|im_start|>system
Call a function as <tool_call>
{"name": ..., "arguments": ...}
</tool_call>. Functions:
{%- for tool in tools %}

{{ tool | tojson }}
{%- endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] %}

<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def make_tool_release(folder: Path, *, model: str = "faq", context_tokens: int = 2048) -> Path:
    root = make_prompt_release(folder, model=model, context_tokens=context_tokens)
    write_template(root, TOOL_TEMPLATE)
    return root
