"""Made-up keys and tokens in the forms that services document, drawn anew each time."""

from collections.abc import Callable
from random import Random

from tests.support.identities import BASE64URL, CAPITALS, DIGITS, HEX, SMALL, WORD, base64_text, some

_UPPER = CAPITALS + DIGITS
_SETS = {"w": WORD, "h": HEX, "u": _UPPER, "d": DIGITS, "l": SMALL + DIGITS, "b": BASE64URL, "s": WORD + "+/"}


def drawn(form: str) -> Callable[[Random], str]:
    """Return a maker for `form`: `w:36` between bars stands for 36 characters of the set w."""
    parts = form.split("|")

    def make(rng: Random) -> str:
        return "".join(part if i % 2 == 0 else _some(rng, part) for i, part in enumerate(parts))

    return make


def _some(rng: Random, part: str) -> str:
    name, count = part.split(":")
    text = some(rng, _SETS[name], int(count))
    return f"{text[:-1]}7" if name in "bs" else text  # a key may end in a sign, but then nobody can say where it ends


_UUID = "|h:8|-|h:4|-|h:4|-|h:4|-|h:12|"
_FORMS = {
    "aws-id": "AKIA|u:16|",
    "aws-temporary-id": "ASIA|u:16|",
    "aws-secret": "|s:40|",
    "google": "AIza|b:35|",
    "google-oauth": "GOCSPX-|b:28|",
    "google-access": "ya29.|b:80|",
    "azure-storage": "|s:86|==",
    "azure-sas": "|s:43|%3D",
    "azure-client": "a|w:2|8Q~|b:34|",
    "alibaba": "LTAI5t|w:18|",
    "tencent": "AKID|w:32|",
    "huawei": "|w:40|",
    "baidu": "bce-v3/ALTAK-|w:21|/|h:40|",
    "volcengine": "AKLT|w:43|",
    "digitalocean": "dop_v1_|h:64|",
    "cloudflare": "|b:40|",
    "supabase": "sbp_|h:40|",
    "heroku": _UUID,
    "vault": "hvs.|b:90|",
    "github": "ghp_|w:36|",
    "github-fine": "github_pat_|w:22|_|w:59|",
    "gitlab": "glpat-|b:20|",
    "atlassian": "ATATT3xFf|b:180|=|u:8|",
    "slack": "xoxb-|d:12|-|d:12|-|w:24|",
    "slack-webhook": "hooks.slack.com/services/T|u:8|/B|u:10|/|w:24|",
    "discord": "M|w:23|.|w:6|.|b:38|",
    "discord-webhook": "discord.com/api/webhooks/|d:18|/|b:68|",
    "telegram": "|d:10|:AA|b:33|",
    "wecom": f"qyapi.weixin.qq.com/cgi-bin/webhook/send?key={_UUID}",
    "feishu": f"open.feishu.cn/open-apis/bot/v2/hook/{_UUID}",
    "dingtalk": "oapi.dingtalk.com/robot/send?access_token=|h:64|",
    "dingtalk-sign": "SEC|h:64|",
    "wechat": "|h:32|",
    "stripe": "sk_live_|w:24|",
    "square": "sq0csp-|b:43|",
    "shopify": "shpat_|h:32|",
    "sendgrid": "SG.|b:22|.|b:43|",
    "mailgun": "key-|h:32|",
    "mailchimp": "|h:32|-us12",
    "twilio": "SK|h:32|",
    "openai": "sk-|w:48|",
    "openai-project": "sk-proj-|b:120|",
    "deepseek": "sk-|h:32|",
    "anthropic": "sk-ant-api03-|b:93|AA",
    "huggingface": "hf_|w:34|",
    "groq": "gsk_|w:52|",
    "replicate": "r8_|w:37|",
    "nvidia": "nvapi-|b:64|",
    "zhipu": "|h:32|.|w:16|",
    "npm": "npm_|w:36|",
    "pypi": "pypi-AgEIcHlwaS5vcmc|b:150|",
    "docker": "dckr_pat_|b:27|",
    "grafana": "glsa_|w:32|_|h:8|",
    "newrelic": "NRAK-|u:27|",
    "databricks": "dapi|h:32|",
    "notion": "ntn_|w:46|",
    "linear": "lin_api_|w:40|",
    "postman": "PMAK-|h:24|-|h:34|",
    "hubspot": f"pat-na1-{_UUID}",
    "contentful": "CFPAT-|b:43|",
    "readme": "rdme_|l:70|",
    "shippo": "shippo_live_|h:40|",
    "easypost": "EZAK|w:54|",
    "duffel": "duffel_live_|b:43|",
    "x-bearer": "AAAAAAAAAAAAAAAAAAAAA|w:80|",
    "honeycomb": "hcaik_|l:60|",
    "sonar": "squ_|h:40|",
    "buildkite": "bkua_|w:40|",
    "circleci": "CCIPAT_|w:22|_|h:40|",
    "prefect": "pnu_|w:36|",
    "infisical": f"st.{_UUID}.|h:32|.|h:32|",
    "openshift": "sha256~|b:43|",
    "azure-devops": "|w:76|AZDO|w:4|",
    "wallet": "0x|h:64|",
    "age": "AGE-SECRET-KEY-1|u:58|",
    "tailscale": "tskey-auth-|w:12|-|w:32|",
    "database": "postgresql://app:Zx9|w:12|@",
    "basic-auth": "https://deploy:t0|w:16|@",
    "bearer": "|b:40|",
    "generic-key": "a1|w:30|",
    "generic-zh": "b2|w:30|",
    "password": "Kq7!|w:8|",
}
# What stands before those that are known by their names alone.
WORDS = {
    "secret-aws-secret": "aws_secret_access_key=",
    "secret-azure-storage": "AccountKey=",
    "secret-azure-sas": "?sig=",
    "secret-huawei": "HUAWEICLOUD_SK=",
    "secret-cloudflare": "CLOUDFLARE_API_TOKEN=",
    "secret-heroku": "HEROKU_API_KEY=",
    "secret-wechat": "wx_app_secret=",
    "secret-bearer": "Authorization: Bearer ",
    "secret-generic-key": "api_key=",
    "secret-generic-zh": "密钥是",
    "secret-password": "密码是",
    "secret-wallet": "private key ",
}


def _jwt(rng: Random) -> str:
    return f"eyJhbGciOiJIUzI1NiJ9.eyJ{some(rng, WORD, 60)}.{some(rng, BASE64URL, 42)}7"


def _private_key(rng: Random) -> str:
    kind = rng.choice(["RSA ", "EC ", "", "OPENSSH "])
    body = base64_text(rng, 90)
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


KINDS: dict[str, Callable[[Random], str]] = {
    **{f"secret-{name}": drawn(form) for name, form in _FORMS.items()},
    "secret-jwt": _jwt,
    "secret-private-key": _private_key,
}
