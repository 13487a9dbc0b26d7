"""Safety rules that stay switched on in production."""

from trioquorum.errors import TrioquorumError


class InvariantViolation(TrioquorumError):
    """A safety rule broke: the peer stops and says which; it is never handled."""


def invariant(holds: bool, rule: str, **facts: object) -> None:
    """Stop this peer when a safety rule breaks; a broken rule is never handled, only reported.

    Raises:
        InvariantViolation: ``holds`` is false; the message is the rule and the facts that contradict it.
    """
    if not holds:
        raise broken(rule, **facts)


def broken(rule: str, **facts: object) -> InvariantViolation:
    """What to raise when a rule broke, for who asks once per transaction: a call with facts costs as much as a read."""
    shown = ", ".join(f"{name}={value!r}" for name, value in facts.items())
    return InvariantViolation(f"{rule}: {shown}")
