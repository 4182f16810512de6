"""What the exit codes of the commands mean: the help and the page on reading results say the same."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended, for scripts."""

    DONE = 0
    NOT_IN_ORDER = 1
    NOT_POSSIBLE = 2
    TRIALS_FAILED = 3
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.NOT_IN_ORDER: (
        "what was looked at is not in order: doctor and sync found something to mend, nightly a loss, reproduce a "
        "difference"
    ),
    ExitCode.NOT_POSSIBLE: (
        "what was asked cannot be done or judged: one sentence on standard error says the value, what is allowed, and "
        "the remedy; --debug gives the traceback before it, with the same code"
    ),
    ExitCode.TRIALS_FAILED: (
        "the sweep ended and is reported, but trials failed; the next ninthpower sweep tries them again; submit gives "
        "the code of its sweep"
    ),
    ExitCode.INTERRUPTED: "interrupted; what was finished is kept and reported",
}


def exit_codes_text() -> str:
    """All of them in one line of help."""
    return "Exit codes: " + ". ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."
