"""Runs of an MLflow tracking server, over its REST interface (version 2.0), with the standard library alone."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from scaling.tracked.place import without_credentials
from scaling.tracked.store import TrackedRun

TIMEOUT_SECONDS = 60.0
PAGE = 1000
# What one request of the server's for curves may name, and the most points that it answers with.
RUNS_AT_ONCE = 100
MOST_POINTS = 25_000


class ServerStore:
    """A tracking server. Name and password are those of MLflow's own variables, or of the address.

    Source:
        https://mlflow.org/docs/latest/rest-api.html; the curves of several runs at once are asked for as MLflow's own
        pages do.
    """

    def __init__(self, address: str) -> None:
        self._base = without_credentials(address).rstrip("/")
        self._authorization = _authorization(address)
        self.shown = self._base

    def experiments(self) -> dict[str, str]:
        """Id of every experiment that is not deleted, by name."""
        found = self._pages("experiments/search", {"max_results": PAGE}, "experiments")
        return {one["name"]: one["experiment_id"] for one in found}

    def runs(self, experiment_id: str) -> Iterator[TrackedRun]:
        """Every run of an experiment that has ended and is not deleted, in no order."""
        asked = {"experiment_ids": [experiment_id], "run_view_type": "ACTIVE_ONLY", "max_results": PAGE}
        for run in self._pages("runs/search", asked, "runs"):
            if run["info"]["status"] not in ("RUNNING", "SCHEDULED"):
                yield _run(run)

    def history(self, run_ids: Sequence[str], metric: str) -> dict[str, list[tuple[int, float]]]:
        """Step and value of every point of a metric, by run; runs without the metric are absent."""
        found: dict[str, list[tuple[int, float]]] = {}
        for first in range(0, len(run_ids), RUNS_AT_ONCE):
            for point in self._points(run_ids[first : first + RUNS_AT_ONCE], metric):
                found.setdefault(point["run_id"], []).append((int(point["step"]), float(point["value"])))
        return {run_id: sorted(points) for run_id, points in found.items()}

    def artifact(self, run: TrackedRun, name: str) -> bytes | None:
        """Content of a file of a run; None if it has no such file."""
        listed = self._json(self._ask(f"/api/2.0/mlflow/artifacts/list?{urlencode({'run_id': run.run_id})}"))
        if name not in [file["path"] for file in listed.get("files", [])]:
            return None
        return self._ask(f"/get-artifact?{urlencode({'path': name, 'run_uuid': run.run_id})}")

    def _points(self, run_ids: Sequence[str], metric: str) -> list[dict[str, Any]]:
        query = urlencode({"run_id": list(run_ids), "metric_key": metric, "max_results": MOST_POINTS}, doseq=True)
        content = self._json(self._ask(f"/ajax-api/2.0/mlflow/metrics/get-history-bulk?{query}"))
        points = list(content.get("metrics", []))
        if len(points) < MOST_POINTS:
            return points
        if len(run_ids) == 1:
            raise ValueError(
                f"the run {run_ids[0]} at {self.shown} has more than {MOST_POINTS} points of {metric}, which the "
                "server does not give at once; read the results folder instead"
            )
        half = len(run_ids) // 2
        return self._points(run_ids[:half], metric) + self._points(run_ids[half:], metric)

    def _pages(self, method: str, asked: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            body = json.dumps({**asked, **({"page_token": token} if token else {})}).encode()
            content = self._json(self._ask(f"/api/2.0/mlflow/{method}", body))
            yield from content.get(key, [])
            token = content.get("next_page_token", "")
            if not token:
                return

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self._base}{path}", body)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self._authorization:
            # Not sent on to wherever the server may point.
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(self._refusal(error)) from None
        except (OSError, HTTPException) as error:
            raise ValueError(
                f"no tracking server answers at {self.shown} ({_why(error)}); start it, open the tunnel to it, or "
                "check the address"
            ) from None

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        if error.code == 401 and not self._authorization:
            return (
                f"the tracking server at {self.shown} asks who you are; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )
        if error.code in (401, 403) and self._authorization:
            return (
                f"the tracking server at {self.shown} does not let this user read ({error.code}); check "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or ask its owner for the permission"
            )
        if error.code == 403:
            return (
                f"the tracking server at {self.shown} refuses requests for this host (403); start it with "
                f"--allowed-hosts {urlsplit(self._base).netloc}"
            )
        try:
            message = str(json.loads(error.read())["message"]).splitlines()[0][:200]
        except (ValueError, KeyError, TypeError, IndexError):
            return self._no_mlflow(f"status {error.code}")
        return f"the tracking server at {self.shown} refuses ({error.code}): {message}"

    def _json(self, answer: bytes) -> dict[str, Any]:
        try:
            content = json.loads(answer)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise ValueError(self._no_mlflow("no JSON"))
        return content

    def _no_mlflow(self, what: str) -> str:
        return (
            f"what answers at {self.shown} is no MLflow tracking server ({what}); give the server's address up to the "
            "port, or up to its --static-prefix"
        )


def _authorization(address: str) -> str:
    """The header that says who asks, empty for nobody; as MLflow's own client makes it."""
    parts = urlsplit(address)
    name = unquote(parts.username or "") or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = unquote(parts.password or "") or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if name and password:
        return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    return f"Bearer {quote(token, safe='-._~+/=')}" if token else ""


def _run(run: dict[str, Any]) -> TrackedRun:
    info, data = run["info"], run.get("data", {})
    return TrackedRun(
        run_id=info["run_id"],
        status=info["status"],
        started=_whole(info.get("start_time")),
        ended=_whole(info.get("end_time")),
        artifacts=info.get("artifact_uri", ""),
        metrics={one["key"]: float(one["value"]) for one in data.get("metrics", [])},
        params={one["key"]: one.get("value", "") for one in data.get("params", [])},
        tags={one["key"]: one.get("value", "") for one in data.get("tags", [])},
    )


def _why(error: Exception) -> str:
    """Why there is no answer, in a person's words."""
    reason = getattr(error, "reason", None) or error
    words = (
        (ConnectionRefusedError, "nothing listens there"),
        (socket.gaierror, "nobody knows that name"),
        (TimeoutError, f"none within {TIMEOUT_SECONDS:.0f} s"),
        (ssl.SSLCertVerificationError, "its certificate is not trusted"),
        ((ConnectionError, HTTPException), "it broke the connection, or is no web server"),
    )
    return next((text for kind, text in words if isinstance(reason, kind)), str(reason))


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
