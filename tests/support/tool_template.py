"""A chat template with a place for tools, in the words that Hermes and Qwen taught models.

It names the tools only: the tiny model reads 512 tokens, and would not understand a schema anyway.
"""

from pathlib import Path

from tests.support.tiny_release import write_manifest

TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\nCall one with <tool_call>:' }}
{%- for tool in tools %}{{- ' ' + tool['function']['name'] }}{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{{- '<|im_start|>' + ('user' if message['role'] == 'tool' else message['role']) + '\\n' }}
{%- if message['content'] %}{{- message['content'] }}{%- endif %}
{%- for call in message['tool_calls'] or [] %}
{{- '\\n<tool_call>\\n' + (call['function'] | tojson) + '\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


def give_tools(release: Path) -> Path:
    """Replace the release's template, and vouch for it."""
    (release / "model" / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    write_manifest(release, model=release.parent.name, version=int(release.name))
    return release
