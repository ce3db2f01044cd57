"""Asks what the guard must refuse; `helm test` runs this in the gateway's image. Usage: URL PROMPT."""

import json
import os
import sys
import urllib.error
import urllib.request

url, prompt = sys.argv[1:3]
headers = {"content-type": "application/json"}
if key := os.environ.get("WEIR_KEY"):
    headers["authorization"] = f"Bearer {key}"
body = json.dumps({"inputs": prompt, "parameters": {"max_new_tokens": 1}}).encode()
try:
    urllib.request.urlopen(urllib.request.Request(f"{url}/generate", body, headers), timeout=30)
except urllib.error.HTTPError as error:
    with error:
        print(error.code, error.read(500).decode(errors="replace"))
    sys.exit(error.code != 422)
sys.exit("the guard let it through")
