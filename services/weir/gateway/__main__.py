"""`python -m weir.gateway`: the same as `weir serve`."""

import sys

from weir.contracts.errors import WeirError
from weir.gateway.verbs import app

if __name__ == "__main__":
    try:
        app(prog_name="weir.gateway")
    except WeirError as error:
        sys.stderr.write(f"weir: {error}\n")
        sys.exit(error.exit_code)
