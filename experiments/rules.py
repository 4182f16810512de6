"""What a value of a strict form is allowed to be, in the words of the project instead of pydantic's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# By the kind of pydantic's error; the braces are filled from its context.
RULES = {
    "greater_than": "is above {gt}",
    "greater_than_equal": "is {ge} or more",
    "less_than": "is below {lt}",
    "less_than_equal": "is {le} or less",
    "finite_number": "is finite",
    "int_type": "is a whole number",
    "int_parsing": "is a whole number",
    "int_from_float": "is a whole number",
    "float_type": "is a number",
    "float_parsing": "is a number",
    "bool_type": "is true or false",
    "bool_parsing": "is true or false",
    "string_type": "is a text",
    "literal_error": "is {expected}",
    "dict_type": "is a mapping of keys to values",
    "mapping_type": "is a mapping of keys to values",
    "model_type": "is a mapping of keys to values",
    "model_attributes_type": "is a mapping of keys to values",
    "list_type": "is a list",
    "tuple_type": "is a list",
}
ENTRIES = {"too_short": "min_length", "too_long": "max_length"}
LETTERS = {"string_too_short": "min_length", "string_too_long": "max_length"}


def rule_text(error: Mapping[str, Any]) -> str:
    """What follows a value that pydantic refused: ``, but it is above 0``, or ``: `` and a validator's own words."""
    kind, context = str(error["type"]), dict(error.get("ctx", {}))
    if kind in RULES:
        return f", but it {RULES[kind].format(**{name: _plain(value) for name, value in context.items()})}"
    # Here, so that a trial, which reads its options by these rules, does not load what fits need.
    from scaling.words import counted

    for kinds, noun, several in ((ENTRIES, "entry", "entries"), (LETTERS, "letter", "letters")):
        if kind in kinds:
            most = "at least" if kinds[kind] == "min_length" else "at most"
            return f", but it has {most} {counted(int(context[kinds[kind]]), noun, several)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f": {message[0].lower()}{message[1:]}"


def _plain(value: Any) -> Any:
    """A bound as a person writes it: 0 and not 0.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
