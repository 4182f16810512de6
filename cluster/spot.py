"""Spot machines that are about to be taken away: told by the cloud's metadata, passed on to Ray.

A machine that is drained gets no new trial; what runs on it is repeated elsewhere without counting against
the trial. Kubernetes tells Ray itself.

Run: python -m cluster.spot aws|gcp    # on each worker, in the background, beside its Ray
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 5.0
METADATA_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class Cloud:
    """How one cloud announces that a machine goes.

    Attributes:
        url: Address of the metadata; it answers to the machine itself alone.
        headers: What a request must carry.
        token_url: Where a token for `headers` is asked for first; empty for no token.
        notice_seconds: Time from the notice to the end, by the cloud's documentation.
        announces: Whether an answer of status 200 is the notice.
    """

    url: str
    headers: dict[str, str]
    token_url: str
    notice_seconds: int
    announces: Callable[[str], bool]


CLOUDS = {
    "aws": Cloud(
        "http://169.254.169.254/latest/meta-data/spot/instance-action",
        {},
        "http://169.254.169.254/latest/api/token",
        120,
        lambda _: True,
    ),
    "gcp": Cloud(
        "http://metadata.google.internal/computeMetadata/v1/instance/preempted",
        {"Metadata-Flavor": "Google"},
        "",
        30,
        lambda text: text.strip().upper() == "TRUE",
    ),
}


def is_announced(cloud: Cloud) -> bool:
    """Ask once; a cloud that does not answer has announced nothing."""
    headers = dict(cloud.headers)
    try:
        if cloud.token_url:
            headers["X-aws-ec2-metadata-token"] = _ask(
                cloud.token_url, {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT"
            )
        return cloud.announces(_ask(cloud.url, headers, "GET"))
    except (urllib.error.URLError, OSError):
        return False


def wait_for_notice(cloud: Cloud, *, poll_seconds: float = POLL_SECONDS) -> None:
    """Return when the cloud has announced the end of this machine."""
    while not is_announced(cloud):
        time.sleep(poll_seconds)


def drain_command(node_id: str, address: str, notice_seconds: int) -> list[str]:
    """The command by which Ray is told that a node goes."""
    ray = Path(sys.executable).with_name("ray")
    return [
        str(ray), "drain-node", "--address", address, "--node-id", node_id,
        "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the cloud takes this machine away",
        "--deadline-remaining-seconds", str(notice_seconds),
    ]  # fmt: skip


def own_node() -> tuple[str, str]:
    """The id of this machine's Ray node, and the address of its cluster."""
    import ray

    ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    try:
        context = ray.get_runtime_context()
        return context.get_node_id(), context.gcs_address
    finally:
        ray.shutdown()


def main(arguments: Sequence[str]) -> None:
    """Watch until the machine is announced to go, and drain it."""
    if len(arguments) != 1 or arguments[0] not in CLOUDS:
        raise SystemExit(f"give one of {', '.join(CLOUDS)}")
    cloud = CLOUDS[arguments[0]]
    node_id, address = own_node()
    wait_for_notice(cloud)
    print(f"draining {node_id}: this machine is taken away within {cloud.notice_seconds} s", flush=True)
    subprocess.run(drain_command(node_id, address, cloud.notice_seconds), check=True)


def _ask(url: str, headers: dict[str, str], method: str) -> str:
    request = urllib.request.Request(url, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=METADATA_TIMEOUT_SECONDS) as answer:
        return str(answer.read().decode())


if __name__ == "__main__":
    main(sys.argv[1:])
