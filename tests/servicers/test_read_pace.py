"""A long stream of history draws on its client's reads, and waits where it has none."""

from __future__ import annotations

from gateway.servicers.read_pace import ReadPace
from gateway.services.client_limits import BURST_S, BYTES_PER_READ, ClientBounds, ClientLimits


async def test_pages_and_bytes_are_reads_and_beyond_them_it_waits() -> None:
    now, slept = [100.0], list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    per_second = 10
    limits = ClientLimits(ClientBounds(reads_per_second=per_second), lambda: now[0], lambda: 0)
    client = limits.find("one")
    pace = ReadPace(client, lambda: now[0], sleep)
    burst = int(per_second * BURST_S)
    for _ in range(burst // 2):
        await pace.page()
    await pace.sent(burst // 2 * BYTES_PER_READ)
    await pace.sent(BYTES_PER_READ - 1)
    assert slept == []
    assert client.reads.left(now[0]) == 0, "its other calls have none left either"
    for _ in range(per_second):
        await pace.page()
    assert abs(sum(slept) - 1.0) < 1e-6, "as many a second as it may read"
    assert limits.find("two").reads.take(now[0]) == 0.0, "nobody else waits for it"
