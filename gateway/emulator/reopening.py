"""The exchange of a data directory as it was left: its ledger, carried out again.

Promises: a ledger belongs to one account and one format and refuses another; what the replay does is compared with what
was recorded, line for line, and a difference refuses to start. What the last writer did not get to record is recorded
now. Leaves carrying out and recording to `recorded`, the file to `ledger`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace as with_changes
from pathlib import Path
from typing import Any, Final

from gateway.domain.models.reference import Asset
from gateway.emulator.exchange import ExchangeConfig
from gateway.emulator.exchange.assets import ACTIVE
from gateway.emulator.ledger import LEDGER_BYTES_MAX, LEDGER_FILE, Durability, Ledger, LedgerError
from gateway.emulator.ledger_words import assets_from_json, assets_to_json, config_from_json, config_to_json
from gateway.emulator.recorded import RecordedExchange

FORMAT: Final = 1
"""Of the lines; another one is refused."""

Entry = dict[str, Any]


def open_exchange(
    config: ExchangeConfig,
    assets: Iterable[Asset],
    now_ns: int,
    data_dir: Path | None = None,
    *,
    durability: Durability = Durability.OS,
    bytes_max: int = LEDGER_BYTES_MAX,
) -> RecordedExchange:
    """The exchange of a data directory as it was left, or a new one; without a directory, a temporary one.

    Args:
        config: Settings. Of an old account the cash, seed and life that it began with stay.
        assets: What can be traded now.
        now_ns: The instant at which a new account begins.
        data_dir: Made when it is missing.
        durability: When a line of the ledger counts as written.
        bytes_max: The bound of the ledger.

    Raises:
        LedgerError: The ledger is damaged, belongs to another account, or this version replays it differently.
        OSError: The directory cannot be used.
    """
    if data_dir is not None:
        data_dir.mkdir(parents=True, exist_ok=True)
    path = None if data_dir is None else data_dir / LEDGER_FILE
    ledger = Ledger(path, durability=durability, bytes_max=bytes_max)
    try:
        return _opened(ledger, config, tuple(assets), now_ns)
    except BaseException:
        ledger.close()
        raise


def _opened(ledger: Ledger, config: ExchangeConfig, assets: tuple[Asset, ...], now_ns: int) -> RecordedExchange:
    lines = ledger.replay()
    first = next(lines, None)
    if first is None:
        header = {"op": "open", "t": now_ns, "format": FORMAT, "account_id": config.account_id}
        ledger.append({**header, "config": config_to_json(config), "assets": assets_to_json(assets)})
        exchange = RecordedExchange(ledger, config, assets, now_ns)
        exchange.start_recording([])
        return exchange
    _check_header(first, config)
    former = config_from_json(first["config"])
    exchange = RecordedExchange(ledger, former, assets_from_json(first["assets"]), first["t"])
    exchange.start_recording(_replay(exchange, lines))
    wanted = with_changes(config, cash=former.cash, seed=former.seed, life=former.life)
    if wanted != exchange.config:
        exchange.reconfigure(now_ns, wanted)
    if set(assets) != set(exchange.assets(status=ACTIVE)):
        exchange.set_assets(assets)
    return exchange


def _check_header(first: Entry, config: ExchangeConfig) -> None:
    if first.get("op") != "open" or first.get("format") != FORMAT:
        raise LedgerError(f"the ledger is not of format {FORMAT}: it was written by another version")
    if first["account_id"] != config.account_id:
        raise LedgerError(
            f"the ledger belongs to account {first['account_id']}, not to {config.account_id}: use another directory"
        )


def _replay(exchange: RecordedExchange, lines: Iterable[Entry]) -> list[Entry]:
    """Carry everything out again; returns the outcomes that the last writer did not get to record."""
    expected: list[Entry] = []
    for entry in lines:
        if entry["op"] == "done":
            told = {name: value for name, value in entry.items() if name != "n"}
            if not expected or told != expected.pop(0):
                raise LedgerError(
                    f"line {entry['n']} of the ledger says other than what this version does: "
                    "use the version that wrote it, or move the ledger away to begin anew"
                )
        elif expected:
            raise LedgerError(f"line {entry['n']} of the ledger stands where an outcome should be")
        else:
            expected = exchange.replay_entry(entry)
    return expected
