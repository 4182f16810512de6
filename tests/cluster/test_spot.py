"""The watch for a spot machine's end, against metadata as the clouds serve it."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cluster.spot import CLOUDS, Cloud, drain_command, is_announced, main, wait_for_notice


@contextmanager
def metadata(answer):
    """A metadata server on loopback; `answer(method, path, headers)` gives status and text."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, text = answer(self.command, self.path, self.headers)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_PUT = do_GET

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def at(cloud, address):
    """The cloud with its metadata on loopback."""
    return Cloud(
        address + "/" + cloud.url.split("/", 3)[3],
        cloud.headers,
        cloud.token_url and address + "/" + cloud.token_url.split("/", 3)[3],
        cloud.notice_seconds,
        cloud.announces,
    )


def test_aws_is_asked_with_a_token_and_says_404_until_it_is_time():
    """Version 2 of the metadata alone; the answer itself is the notice."""
    notice = threading.Event()

    def answer(method, path, headers):
        if method == "PUT":
            assert headers["X-aws-ec2-metadata-token-ttl-seconds"]
            return 200, "the-token"
        if headers.get("X-aws-ec2-metadata-token") != "the-token":
            return 401, ""
        assert path == "/latest/meta-data/spot/instance-action"
        return (200, '{"action": "terminate"}') if notice.is_set() else (404, "")

    with metadata(answer) as address:
        cloud = at(CLOUDS["aws"], address)
        assert not is_announced(cloud)
        threading.Timer(0.3, notice.set).start()
        wait_for_notice(cloud, poll_seconds=0.05)
        assert notice.is_set()


@pytest.mark.parametrize(("text", "announced"), [("FALSE", False), ("TRUE\n", True)])
def test_google_says_true(text, announced):
    """With the header that it wants."""

    def answer(_, __, headers):
        return (200, text) if headers.get("Metadata-Flavor") == "Google" else (403, "")

    with metadata(answer) as address:
        assert is_announced(at(CLOUDS["gcp"], address)) is announced


def test_a_cloud_that_does_not_answer_has_announced_nothing():
    """The watch must outlive a hiccup."""
    assert not is_announced(at(CLOUDS["aws"], "http://127.0.0.1:9"))


def test_the_drain_is_a_preemption_in_rays_eyes():
    """So that Tune does not count it against the trial; nothing of it is read by a shell."""
    command = drain_command("abc", "10.0.0.1:6379", 120)

    assert command[1:6] == ["drain-node", "--address", "10.0.0.1:6379", "--node-id", "abc"]
    assert "DRAIN_NODE_REASON_PREEMPTION" in command
    with pytest.raises(SystemExit, match="aws, gcp"):
        main(["elsewhere"])
