"""Writes every dashboard. A test says when this was forgotten."""

from pathlib import Path

from tools.dashboards.boards import boards
from tools.dashboards.grafana import rendered

FOLDER = Path(__file__).parents[2] / "grafana" / "dashboards"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    texts = {FOLDER / f"{board.uid}.json": rendered(board) for board in boards()}
    for path in set(FOLDER.glob("*.json")) - set(texts):
        path.unlink()
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
