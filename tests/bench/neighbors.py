"""What 198 subscribers notice of two more: one that never reads, and one that floods the gateway with calls.

Each is a token with the limits as shipped. The flooding one asks without a pause for newest quotes and opens streams of
all symbols that it leaves after the first message, ten times as many at once as it may. What is counted as Internal is
Go's own word for a second message where it was promised one alone.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.bench.fan_out import QUOTES, fed_gateway, read_streams, request_for
from tests.bench.gateway import TOKENS_FILE
from tests.bench.publisher import SYMBOLS
from tests.bench.ratios import Ratio
from trading_gateway.v1 import market_data_pb2 as md

GOAL: Final = 1.15
SUBSCRIBERS: Final = 198
PUBLISHED_PER_S: Final = 4_000
IN_FLIGHT: Final = 160
WARM_S: Final = 1.0
FLOOD_S: Final = 8.0
END_S_MAX: Final = 30
LATEST: Final = "/trading_gateway.v1.MarketDataService/GetLatestQuotes"


def neighbors(generator: Path, pairs: int) -> Ratio:
    """The ratio of the others' p99."""
    ratio = Ratio(
        "Neighbors", "p99 ms beside a stalled and a flooding one", "without them", GOAL, "lag_p99_ms", at_most=True
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = (folder, str(SUBSCRIBERS + 2))
        with fed_gateway(PUBLISHED_PER_S, *arguments) as (target, _):
            tokens = Path(folder) / TOKENS_FILE
            *held, flooding = tokens.read_text().split()
            tokens.write_text("\n".join(held))
            (one := tokens.with_name("flooding")).write_text(flooding)
            common = ("-streams", str(SUBSCRIBERS), "-warm", str(WARM_S), "-tokens", str(tokens))

            def alone() -> dict[str, Any]:
                return read_streams(generator, target, [SYMBOLS], *common)

            def beside() -> dict[str, Any]:
                flood = subprocess.Popen(
                    [generator, "hostile", *_flood(target, one)], stdout=subprocess.PIPE, text=True
                )
                try:
                    result = read_streams(generator, target, [SYMBOLS], *common, "-stalled", "1")
                    told = json.loads(flood.communicate(timeout=END_S_MAX)[0])
                finally:
                    flood.kill()
                    flood.wait()
                return result | {"flood": told}

            ratio.run(beside, alone, pairs)
    answered = statistics.median(a["flood"]["answered_per_second"] for a, _ in ratio.pairs)
    ratio.notes.append(f"the flooding one got {answered:.0f} answers/s: {ratio.pairs[-1][0]['flood']['codes']}")
    return ratio


def _flood(target: str, token: Path) -> list[str]:
    question = md.GetLatestQuotesRequest(symbols=SYMBOLS[:100])
    return [
        *("-target", target, "-tokens", str(token), "-in-flight", str(IN_FLIGHT), "-seconds", str(FLOOD_S)),
        *("-method", LATEST, "-request", question.SerializeToString().hex()),
        *("-order-method", QUOTES, "-order", request_for(SYMBOLS).SerializeToString().hex()),
    ]
