"""The answers to probes: `/livez` and `/readyz`, in the text of Kubernetes' own servers."""

from collections.abc import Iterable

from jicofo_reservation_proxy.observability.health import ComponentState
from jicofo_reservation_proxy.text_rules import format_time, one_line


def verdict(name: str, states: Iterable[ComponentState], *, is_ok: bool, is_verbose: bool) -> str:
    """Return the text of a probe.

    The states of the components are for people: the verdict does not depend on them. If it did, a
    backend that fails would take every proxy out of service at once.
    """
    if not is_verbose:
        return "ok\n" if is_ok else f"{name} is false: the proxy starts or stops\n"
    lines = [component_line(state) for state in states]
    return "\n".join([*lines, f"{name} check {'passed' if is_ok else 'failed'}", ""])


def component_line(state: ComponentState) -> str:
    """Return `[+]ledger ok since …`, or `[-]ledger fails since …: reason`."""
    since = f"since {format_time(state.since_ms)}"
    remark = f": {one_line(state.reason)}" if state.reason else ""
    verb = "ok" if state.is_well else "fails"
    return f"[{'+' if state.is_well else '-'}]{state.name} {verb} {since}{remark}"
