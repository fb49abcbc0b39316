"""Ask Ephor before every order, report what became of it, and follow what is recorded.

`check` fails closed: whatever goes wrong on the way, the answer is a decision that blocks.
"""

from ephor_client.asynchronous import AsyncClient
from ephor_client.errors import EphorError, GateUnavailable, ProblemError, StreamCut, Unreachable
from ephor_client.model import Action, Decision, Event, Execution, Order, Report, Result, Verdict
from ephor_client.synchronous import Client

__all__ = [
    "Action",
    "AsyncClient",
    "Client",
    "Decision",
    "EphorError",
    "Event",
    "Execution",
    "GateUnavailable",
    "Order",
    "ProblemError",
    "Report",
    "Result",
    "StreamCut",
    "Unreachable",
    "Verdict",
]
