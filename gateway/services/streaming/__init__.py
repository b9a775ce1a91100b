"""StreamingService: live market data from one connection per feed to any number of streams.

`service` opens streams, `hub` owns a feed, `last_values` the newest values, `mailbox` and `fan_out` what waits
for readers, `session` one reader, `subscriptions` what the venue is asked for, `newest` what is read by request,
`feed_health` whether a value can be vouched for, `feed_watch` what state a feed is in, by `market_hours` too,
`silence` and `stray_symbols` whether a silent feed or symbol is mute, `backfill` what a break swallowed, `hand_out` who
gets it, `kept_prices` what orders keep subscribed.
"""

from gateway.services.streaming.feed_watch import WatchTimes
from gateway.services.streaming.hub import HubTimes
from gateway.services.streaming.selection import FeedChoice, choose_feed
from gateway.services.streaming.service import StreamingService, StreamLimits
from gateway.services.streaming.session import MarketDataStream

__all__ = [
    "FeedChoice",
    "HubTimes",
    "MarketDataStream",
    "StreamLimits",
    "StreamingService",
    "WatchTimes",
    "choose_feed",
]
