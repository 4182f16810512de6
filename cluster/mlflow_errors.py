"""What a tracking server or database that is away, full or unwilling raises, in a person's words.

MLflow is imported when an error is to be told from others, not before.
"""

from __future__ import annotations

import re
import sqlite3

# What the libraries between here and there say of a connection that could not be had, and what it means.
REASONS = (
    (r"Connection refused", "nothing listens there"),
    (r"NameResolutionError|Name or service not known|failure in name resolution", "nobody knows that name"),
    (r"[Tt]imed? ?out", "it does not answer in time"),
    (r"No route to host|Network is unreachable", "no way leads there"),
    (r"Connection aborted|Connection reset|Remote end closed|server closed the connection", "it broke the connection"),
    (r"CERTIFICATE_VERIFY_FAILED|SSLError", "its certificate is not trusted"),
    (r"attempt to write a readonly database", "its file may be read, not written"),
    (r"unable to open database file", "its file cannot be opened"),
    (r"Read-only file system|Permission denied", "its folder may not be written to"),
    (r"database is locked", "another process holds it"),
    (r"No space left|database or disk is full", "its disk is full"),
)
LONGEST = 200
# Name and password of an address. Keys of a cloud hold slashes, and passwords what their owner likes: where a colon
# follows the name, all up to the last @ of the word is taken for the password.
CREDENTIALS = re.compile(r"(?<=//)(?:[^/:@\s]*:\S*|[^/@\s]*)@")


def failures() -> tuple[type[Exception], ...]:
    """Name what a tracking server that is away, full, or refuses can raise."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # The last is a database without its driver.
    return (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ValueError, ImportError)


def in_words(error: Exception) -> str:
    """Say in a few words, without passwords, what went wrong; the first line of the message where nothing is known."""
    for pattern, words in REASONS:
        if re.search(pattern, str(error)):
            return words
    # MLflow's messages repeat the address, with the password that it may hold.
    return without_password((str(error).splitlines() or [type(error).__name__])[0])[:LONGEST]


def advice(error: Exception) -> str:
    """Say what a person can do about a server that refuses; empty where nothing is known."""
    code = getattr(error, "error_code", "")
    if code == "UNAUTHENTICATED":
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user that it knows"
    if code == "PERMISSION_DENIED" and "Host" in str(error):
        return "start it with --allowed-hosts and the name in this address"
    if code == "PERMISSION_DENIED":
        return "ask its administrator for the right to write to the experiment"
    if isinstance(error, ImportError):
        return "install that driver, or name one that is installed, as in postgresql+psycopg://"
    return ""


def without_password(uri: str, instead: str = "") -> str:
    """Show an address, or a text with addresses, without the credentials that it may hold."""
    return CREDENTIALS.sub(instead, uri)
