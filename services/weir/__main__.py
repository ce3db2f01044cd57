"""`python -m weir VERB`: the same as the console script."""

from weir.cli import main

if __name__ == "__main__":
    main()
