"""What is raised: never by `check` and `check_many`, unless they are told to."""

from __future__ import annotations

from typing import Optional


class EphorError(Exception):
    """The root of all of them."""


class ProblemError(EphorError):
    """The service refused, and said why (RFC 9457)."""

    def __init__(self, status: int, code: str, detail: str, field: Optional[str] = None) -> None:
        super().__init__(f"{code}{f' ({field})' if field else ''}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field


class Unreachable(EphorError):
    """No answer came, or none that makes sense. What was sent may have been recorded: send it again."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class StreamCut(EphorError):
    """A stream of reports ended before its end. Send again what has no result: a report counts once."""

    def __init__(self, answered: int, detail: str) -> None:
        super().__init__(f"after {answered} results: {detail}")
        self.answered = answered


class GateUnavailable(EphorError):
    """With `raise_on_failure`: the gate gave no decision, so the order must not go out."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
