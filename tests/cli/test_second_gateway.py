"""A second gateway on what the first one has: it says so before it starts anything."""

from __future__ import annotations

import fcntl
import socket
from contextlib import closing
from pathlib import Path

import pytest

from tests.test_serve import run


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_is_taken_is_named_before_anything_is_started(host: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        listen = f"{host}:{taken.getsockname()[1]}"
        done = run("serve", "--listen", listen)
    assert done.returncode != 0
    assert f"cannot serve on {listen}: another process, perhaps another gateway, listens on {listen}" in done.stderr
    assert "order_feed" not in done.stderr + done.stdout


def test_a_data_directory_that_is_taken_is_named(tmp_path: Path) -> None:
    with (tmp_path / "gateway.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path))
    assert (done.returncode, done.stderr) == (1, f"another gateway runs on the data directory {tmp_path}\n")
