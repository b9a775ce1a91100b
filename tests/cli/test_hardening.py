"""What a process that holds keys keeps to its user: memory, files, the data directory, its command line."""

from __future__ import annotations

import io
import pickle
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.cli.embedded_emulator import Credentials
from gateway.cli.hardening import LOCK_FILE, FolderExposed, keep_folder_private
from gateway.config import Settings
from tests.test_serve import ask, run

SHOWS_ITSELF = """
import ctypes, os, resource
from gateway.cli.hardening import keep_private, let_be_traced
keep_private()
open("made", "w").close()
os.mkdir("folder")
is_dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
print(is_dumpable(), resource.getrlimit(resource.RLIMIT_CORE))
let_be_traced()
print(is_dumpable(), resource.getrlimit(resource.RLIMIT_CORE))
"""
DIES = "from gateway.cli.hardening import keep_private; keep_private(); import os; os.abort()"


def allow_cores() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_memory_is_not_written_down_and_what_is_made_is_ours_alone(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", SHOWS_ITSELF], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "0 (0, 0)\n1 (0, 0)\n"
    assert (mode(tmp_path / "made"), mode(tmp_path / "folder")) == (0o600, 0o700)
    died = subprocess.run([sys.executable, "-c", DIES], cwd=tmp_path, check=False, preexec_fn=allow_cores)
    assert died.returncode == -signal.SIGABRT
    assert not list(tmp_path.glob("*core*"))


def test_a_folder_that_everybody_can_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(FolderExposed, match="chmod 700"):
        keep_folder_private(tmp_path)
    started = run("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path))
    assert started.returncode == 78
    assert f"chmod 700 {tmp_path}" in started.stderr
    told = ask("doctor", "--target", "127.0.0.1:1", "--data-dir", str(tmp_path)).stdout
    assert "serve refuses it" in told


def test_a_folder_of_ours_is_narrowed_with_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "emulator").mkdir()
    for name in (
        LOCK_FILE,
        "journal.sqlite3",
        "journal.sqlite3-wal",
        "revoked-tokens",
        "emulator/record.jsonl",
        "theirs.txt",
    ):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    tmp_path.chmod(0o755)
    keep_folder_private(tmp_path)
    assert mode(tmp_path) == 0o700
    assert {mode(path) for path in tmp_path.rglob("*") if path.is_file() and path.name != "theirs.txt"} == {0o600}
    assert mode(tmp_path / "theirs.txt") == 0o644


def test_a_folder_with_other_things_in_it_keeps_its_mode_and_an_empty_one_becomes_ours(tmp_path: Path) -> None:
    home, empty = tmp_path / "home", tmp_path / "empty"
    for folder in (home, empty):
        folder.mkdir()
        folder.chmod(0o755)
    (home / "letters").touch()
    assert (keep_folder_private(home), keep_folder_private(empty)) == (False, True)
    assert (mode(home), mode(empty)) == (0o755, 0o700)


def test_only_a_gateway_before_an_emulator_may_be_traced() -> None:
    refused = run("serve", "--venue", "paper", GATEWAY_TRACEABLE="1", GATEWAY_API_KEY="k", GATEWAY_API_SECRET="s")
    assert (refused.returncode, "GATEWAY_TRACEABLE" in refused.stderr) == (78, True)


def test_no_secret_is_taken_from_a_command_line() -> None:
    for command in ("serve", "emulator"):
        for flag in ("--secret", "--key", "--api-key", "--token"):
            assert ask(command, flag, "x").exit_code == 2, (command, flag)
    assert "EMULATOR_KEY" in ask("emulator", "--help").stdout


def test_settings_show_no_secret_however_they_are_written() -> None:
    names = ("api_key", "api_secret", "emulator_key", "emulator_secret")
    held: dict[str, Any] = {name: SecretStr(f"canary-{name}") for name in names}
    settings = Settings(**held)
    assert len(settings.secrets) == len(names)
    shown = [repr(settings), str(settings), f"{settings}", str(settings.model_dump()), settings.model_dump_json()]
    assert [text for text in shown if "canary-" in text] == []
    with pytest.raises(TypeError, match="not to be written down"):
        pickle.dumps(settings)
    assert settings.model_copy(update={"listen": "x"}).secrets == settings.secrets


def test_credentials_go_down_a_pipe_and_are_shown_nowhere() -> None:
    held = Credentials(SecretStr('k"1'), SecretStr("s\nü"))
    assert Credentials.from_line(io.BytesIO(held.to_line())) == held
    assert held.to_line().count(b"\n") == 1
    assert "ü" not in repr(held) + str(held)
    assert Credentials.from_line(io.BytesIO(b"")) == Credentials(SecretStr(""), SecretStr(""))
    with pytest.raises(ValueError, match="no credentials"):
        Credentials.from_line(io.BytesIO(b"[1]\n"))
