"""The checker: silent about correct worlds, and not about any of the bugs planted into them."""

from __future__ import annotations

import ast
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import damage, fates
from tests.chaos.checker import Records, Report, Settings, check
from tests.chaos.checker.__main__ import main
from tests.chaos.checker.report import INVARIANTS, Verdict
from tests.chaos.world import KILL_NS, Json, Lines

ROOT = Path(__file__).resolve().parents[2]
SILENT_SEEDS = range(1, 51)
BUGS_MIN = 25
PROMISED = {f"I{number}" for number in (*range(1, 11), *range(13, 25), 27, 28, 29, 30, 31, 32, 33)}


def judged(lines: Lines, settings: Settings | None = None) -> Report:
    return check(Records(lines.ledger, lines.journal, lines.history, settings))


@pytest.mark.parametrize(
    "seeds", [SILENT_SEEDS[start : start + 10] for start in range(0, len(SILENT_SEEDS), 10)], ids=str
)
def test_nothing_is_found_in_a_correct_world(seeds: range) -> None:
    for seed in seeds:
        report = judged(fates.make(seed).finish())
        assert report.verdict is Verdict.FINE, f"seed {seed}\n{report.text()}"
        assert report.not_exercised == set(), f"seed {seed}"


def test_every_promised_invariant_is_there() -> None:
    assert {invariant.name for invariant in INVARIANTS} >= PROMISED


@pytest.mark.parametrize("number", range(len(damage.bugs())), ids=[bug.name for bug in damage.bugs()])
def test_a_planted_bug_is_caught(number: int) -> None:
    bug = damage.bugs()[number]
    seed = 1_000 + number
    report = judged(damage.spoiled(bug, seed))
    print(f"seed {seed}: {bug.name} breaks {sorted(report.violated)}")
    assert bug.caught_by <= report.violated, f"seed {seed}\n{report.text()}"
    assert report.verdict is Verdict.VIOLATED


def test_the_planted_bugs_break_every_promised_invariant() -> None:
    bugs = damage.bugs()
    assert len(bugs) >= BUGS_MIN
    assert len({bug.name for bug in bugs}) == len(bugs)
    assert frozenset[str]().union(*(bug.caught_by for bug in bugs)) >= PROMISED


def test_a_quiet_run_is_void() -> None:
    report = judged(fates.make(1, orders=40).finish())
    assert report.verdict is Verdict.VOID
    assert any("in flight" in reason for reason in report.void)
    quiet = judged(fates.make(1, orders=40).finish(), Settings(is_void_judged=False))
    assert quiet.verdict is Verdict.FINE


def test_a_run_is_void_when_orders_trickled() -> None:
    lines = fates.make(2).finish()
    first = next(line for line in lines.ledger if line["kind"] == "REQUEST")
    lines.ledger.insert(0, first | {"time_ns": first["time_ns"] - 60_000_000_000, "route": "POST /v2/orders"})
    assert any("orders/s" in reason for reason in judged(lines).void)


def test_a_fault_that_did_not_fire_makes_a_run_void() -> None:
    world = fates.make(3)
    world.act(0, "fault", fault_id="never", fault="HTTP_429")
    world.act(0, "fault", fault_id="proxied", fault="cut", source="proxy")
    world.act(KILL_NS, "fault_fired", fault_id="proxied", count=2)
    report = judged(world.finish())
    assert report.void == ["fault never (HTTP_429) was ordered and did not fire"]
    assert report.verdict is Verdict.VOID


def test_an_invariant_that_looked_at_nothing_says_so() -> None:
    report = check(Records([], [], []))
    assert report.not_exercised == {invariant.name for invariant in INVARIANTS}
    assert report.verdict is Verdict.VOID
    assert "not exercised" in report.text()


def test_the_simulations_knowledge_of_the_journal_is_stricter_than_the_clock() -> None:
    lines = fates.make(4).finish()
    heads = {line["sequence"]: line for line in lines.journal if line["table"] == "events"}
    submitted = {line["sequence"]: line["record_time_ns"] for line in heads.values()}
    for line in lines.ledger:
        if line["kind"] == "REQUEST":
            line["journal_head"] = sum(1 for time_ns in submitted.values() if time_ns <= line["time_ns"])
    assert judged(lines).verdict is Verdict.FINE
    request = next(line for line in lines.ledger if line["kind"] == "REQUEST" and line["route"].startswith("POST"))
    request["journal_head"] = 0
    assert judged(lines).violated == {"I5"}


# By hand: files, formats, exit codes.


def written(folder: Path, lines: Lines) -> list[str]:
    """The arguments that name three files with these lines; the journal is a dump."""
    for name, found in (("ledger", lines.ledger), ("journal", lines.journal), ("history", lines.history)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in found))
    names = ["--ledger", str(folder / "ledger.jsonl"), "--histories", str(folder / "history.jsonl")]
    return [*names, "--journal", str(folder / "journal.jsonl")]


def as_sqlite(path: Path, rows: list[Json]) -> None:
    """The tables as the gateway has them."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT)")
    connection.execute(
        "CREATE TABLE events (sequence INTEGER PRIMARY KEY, strategy_id TEXT, book_sequence INTEGER, order_id TEXT,"
        " kind TEXT, record_time_ns INTEGER, body BLOB, chain BLOB)"
    )
    connection.execute(
        "CREATE TABLE trading_states (version INTEGER PRIMARY KEY, scope TEXT, mode TEXT, reason TEXT,"
        " set_time_ns INTEGER)"
    )
    for row in rows:
        columns = {name: value for name, value in row.items() if name != "table"}
        if row["table"] == "events":
            columns |= {"body": row["body"].encode(), "chain": bytes.fromhex(row["chain"])}
        marks = ", ".join("?" * len(columns))
        names = ", ".join(columns)
        connection.execute(f"INSERT INTO {row['table']} ({names}) VALUES ({marks})", list(columns.values()))
    connection.commit()
    connection.close()


def test_files_give_the_verdict_as_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = written(tmp_path, fates.make(5).finish())
    assert main(arguments) == 0
    assert "verdict: FINE" in capsys.readouterr().out
    assert main(written(tmp_path, damage.spoiled(damage.bugs()[0], 5))) == 1
    assert "violations" in capsys.readouterr().out
    assert main(written(tmp_path, fates.make(5, orders=30).finish())) == 3
    assert "VOID: " in capsys.readouterr().out
    assert main([*arguments[:-1], str(tmp_path / "missing")]) == 2
    (tmp_path / "ledger.jsonl").write_text("this is no ledger\n")
    assert main(arguments) == 2


@pytest.mark.parametrize("spoil", [False, True])
def test_the_journal_file_is_read_as_its_dump_is(tmp_path: Path, spoil: bool) -> None:
    lines = damage.spoiled(damage.bugs()[0], 6) if spoil else fates.make(6).finish()
    arguments = written(tmp_path, lines)
    as_sqlite(tmp_path / "journal.sqlite3", lines.journal)
    from_dump = Records.read([tmp_path / "ledger.jsonl"], tmp_path / "journal.jsonl", [tmp_path / "history.jsonl"])
    from_file = Records.read([tmp_path / "ledger.jsonl"], tmp_path / "journal.sqlite3", [tmp_path / "history.jsonl"])
    assert check(from_dump).text() == check(from_file).text()
    assert main([*arguments[:-1], str(tmp_path / "journal.sqlite3")]) == int(spoil)


def test_a_torn_line_of_a_killed_client_is_left_out(tmp_path: Path) -> None:
    arguments = written(tmp_path, fates.make(7).finish())
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"line": "message", "stream_id": "reader-al\n')
    assert main(arguments) == 0


# Independence.


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("name", ["checker", "damage", "history.py", "world.py", "fates.py", "__init__.py"])
def test_the_checker_and_its_worlds_import_nothing_of_the_gateway(name: str) -> None:
    path = Path(__file__).parent / name
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    assert files
    for file in files:
        assert not [one for one in _imported(file) if one.split(".")[0] in ("gateway", "alpaca", "importlib")], file


def test_the_running_checker_has_loaded_nothing_of_the_gateway() -> None:
    code = (
        "import sys, tests.chaos.checker.__main__ as m; print([n for n in sys.modules if n.split('.')[0] == 'gateway'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
