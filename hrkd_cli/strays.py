"""Options that only mean something beside another one."""

from __future__ import annotations

from hrkd.errors import HrkdError


def refuse_stray(value: object, names: str, owner: str, *, given: bool) -> None:
    """Refuse options that nothing would use.

    Args:
        value: True where one of them was given.
        names: How they are written.
        owner: The option that uses them.
        given: Whether that one was given.

    Raises:
        HrkdError: It was not.
    """
    if value and not given:
        verb = "belong" if " and " in names else "belongs"
        raise HrkdError(f"{names} {verb} to {owner}", hint=f"give {owner} as well, or leave {names} out")
