"""How hints spell this program: as whoever reads them can type it."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from gateway.cli.program import NAME, program
from gateway.cli.serve import nobody_text
from gateway.config import Settings


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation below a folder, which is not on the path."""
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / NAME).touch(mode=0o755)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(folder))
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_path_where_the_shell_does_not_find_it(
    scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program() == f".venv/bin/{NAME}"
    assert f"  .venv/bin/{NAME} token mint" in nobody_text(Settings(data_dir=tmp_path))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert program() == str(scripts / NAME)


def test_the_name_where_the_shell_finds_this_one(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.defpath}")
    assert program() == NAME
    assert f"  {NAME} token mint" in nobody_text(Settings())


def test_a_path_where_the_shell_finds_another_one(
    scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / NAME).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(other))
    assert program() == f".venv/bin/{NAME}"


def test_python_where_it_was_not_installed(scripts: Path) -> None:
    (scripts / NAME).unlink()
    assert program() == f"{sys.executable} -m gateway"
