"""Exit codes: a promise to scripts."""

from enum import IntEnum


class Exit(IntEnum):
    """What the exit code of a command says."""

    ALL = 0
    """Every series was used."""
    BAD_ARGUMENTS = 2
    """The arguments, the config or the model are wrong; nothing was scored."""
    NOTHING_USABLE = 3
    """No series could be used; the table says why."""
    SOME = 8
    """Some series were used, others refused or failed; the table says which and why."""
    INTERRUPTED = 130
    """Stopped by the user."""
    TERMINATED = 143
    """Stopped by SIGTERM, as systemd, SLURM and Kubernetes send it."""


def exit_for(*, used: int, asked: int) -> Exit:
    """The exit code for ``used`` of ``asked`` series."""
    if used == 0:
        return Exit.NOTHING_USABLE
    return Exit.ALL if used == asked else Exit.SOME
