"""What a Prometheus and a Grafana on this machine need to watch `weir up`."""

from pathlib import Path
from typing import Final

from weir.supervisor.stack import LOOPBACK, StackSettings

_CHECKOUT: Final = Path(__file__).parents[3]


def write_scrape_file(settings: StackSettings, grafana: Path | None) -> Path:
    """Write `<home>/prometheus.yml`, which scrapes gateway and node; with `grafana`, the folder, also its rules."""
    jobs = (("weir-gateway", settings.admin_port), ("weir-node", settings.node_port))
    lines = [
        "# Written by `weir up`: prometheus --config.file THIS",
        "global: {scrape_interval: 5s, evaluation_interval: 5s}",
    ]
    if grafana is not None:
        lines.append(f'rule_files: ["{grafana / "rules"}/*.yaml"]')
    lines.append("scrape_configs:")
    for name, port in jobs:
        lines.append(f'  - {{job_name: {name}, static_configs: [{{targets: ["{LOOPBACK}:{port}"]}}]}}')
    path = settings.home / "prometheus.yml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def grafana_folder() -> Path | None:
    """Return where dashboards and rules lie; none: Weir was installed without its project."""
    folder = _CHECKOUT / "grafana"
    return folder if (folder / "dashboards").is_dir() else None


def where_to_look(settings: StackSettings) -> str:
    """Write the scrape file, and say where everything is."""
    grafana = grafana_folder()
    scrape = write_scrape_file(settings, grafana)
    boards = f"   Grafana: import {grafana / 'dashboards'}" if grafana else ""
    return (
        f"metrics: {settings.admin_url}/metrics (gateway), {settings.node_url}/metrics (node)\n"
        f"Prometheus: --config.file {scrape}{boards}\n"
    )
