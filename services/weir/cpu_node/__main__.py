"""`python -m weir.cpu_node`: the same as `weir node`."""

import sys

import typer

from weir.contracts.errors import WeirError
from weir.cpu_node.verbs import app


def main() -> int:
    try:
        app(prog_name="python -m weir.cpu_node", standalone_mode=False)
    except WeirError as error:
        typer.echo(f"weir node: {error}", err=True)
        return error.exit_code
    except typer.Exit as ended:
        return ended.exit_code
    except Exception as error:
        show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if not callable(show) or not isinstance(code, int):
            raise
        show()  # a usage error, in typer's own words
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
