"""Addresses that a window listens at, and how they are reached."""

LOOPBACK = "127.0.0.1"
LOOPBACKS = (LOOPBACK, "::1", "localhost")
EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1"}
"""Where this machine reaches what listens at all of its addresses."""


def reached_at(host: str) -> str:
    """What this machine's addresses call a host that is listened at: IPv6 stands in brackets."""
    name = EVERYWHERE.get(host, host)
    return f"[{name}]" if ":" in name else name
