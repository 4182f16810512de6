"""Numbers of things in words, the same in every sentence."""

from __future__ import annotations


def counted(number: int, noun: str, several: str = "") -> str:
    """A number of things, in words: 1 cell, 2 cells; `several` where an s does not do."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def agree(number: int, one: str, many: str) -> str:
    """The verb of so many things: 1 is, 2 are."""
    return one if number == 1 else many
