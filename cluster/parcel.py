"""Records packed as lines of plain text, so that they travel home in a job's log.

Ray's job API hands over what a job prints and nothing else. A parcel is JSON, compressed, in base64, between two
markers; nothing in it is a pickle, a path or a program.

Run: python -m cluster.parcel FOLDER...    # prints the parcel of the folders' records
"""

from __future__ import annotations

import base64
import json
import sys
import textwrap
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from cluster.records import Record, final_record, read_records, write_record

BEGIN, END = "-----BEGIN RECORDS-----", "-----END RECORDS-----"
# A parcel that says it holds more is damaged or meant to fill the memory.
MOST_BYTES = 2**32


def pack(records: Iterable[Record]) -> str:
    """Pack records into lines of text between markers."""
    packer = zlib.compressobj()
    parts = [packer.compress(json.dumps(record, allow_nan=False).encode() + b"\n") for record in records]
    text = base64.b64encode(b"".join([*parts, packer.flush()])).decode()
    return "\n".join([BEGIN, *textwrap.wrap(text, 4000), END])


def unpack(log: str) -> list[Record]:
    """Find the last parcel in a log and unpack it.

    Raises:
        ValueError: If there is none that is whole.
    """
    lines = [line.strip() for line in log.splitlines()]
    if BEGIN not in lines or END not in lines:
        raise ValueError("the cluster sent no parcel of records; its log ends: " + " ".join(log.split())[-300:])
    last = len(lines) - 1 - lines[::-1].index(END)
    first = len(lines) - 1 - lines[::-1].index(BEGIN)
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(base64.b64decode("".join(lines[first + 1 : last]), validate=True), MOST_BYTES)
        if not unpacker.eof:
            raise ValueError("it is not whole, or larger than any sweep's records")
        return [json.loads(line) for line in content.splitlines()]
    except (ValueError, zlib.error) as error:
        raise ValueError(f"the parcel of records from the cluster is damaged ({error}); ask for it again") from None


def store(records: Iterable[Record], folder: Path) -> int:
    """Write records that came from elsewhere into a folder, and return how many were new.

    A final record that is there stays; ids that could leave the folder are refused by `write_record`.

    Raises:
        ValueError: If something is no record, or its id is unfit for a file name.
        OSError: If the folder cannot be written.
    """
    n_new = 0
    for record in records:
        if not isinstance(record, dict) or not {"trial_id", "status", "row"} <= record.keys():
            raise ValueError("what came from the cluster is no record: it lacks trial_id, status or row")
        if final_record(folder, str(record["trial_id"])) is None:
            write_record(folder, record)
            n_new += 1
    return n_new


def main(folders: Sequence[str]) -> None:
    """Print the parcel of the folders' records."""
    print(pack(record for folder in folders for record in read_records(Path(folder).expanduser())), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
