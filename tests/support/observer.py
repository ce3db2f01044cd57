"""Writes down what an engine tells of itself."""

from weir.telemetry.step_report import StepReport


class Observer:
    def __init__(self) -> None:
        self.reports: list[StepReport] = []
        self.outcomes: list[str] = []

    def stepped(self, report: StepReport) -> None:
        self.reports.append(report)

    def ended(self, outcome: str, *, prompt_tokens: int, generated_tokens: int) -> None:
        self.outcomes.append(outcome)

    def total(self, name: str) -> int:
        return sum(getattr(report, name) for report in self.reports)
