"""StreamingService: live market data from one connection per feed to any number of streams.

`service` opens streams, `selection` chooses their feed, `hub` owns a feed, `last_values` the newest values and
`channel_values` those of trades, books and news, `encoder` asks for their bytes, `mailbox` and `fan_out` keep what
waits for readers, `groups` who is given the same, `session` is one channel of one reader, `outlet` its one writer,
`market_session` many channels and commands, `symbol_desk` which symbols there are, `thinning` how often they come,
`arrivals` their order, `subscriptions` what the venue is asked for, `refusals` why it does not bring it, `newest` what
is read by request, `owed_values` for whom, `feed_health` whether a value can be vouched for, `feed_watch` what state a
feed is in, by `market_hours` too, `silence` and `stray_symbols` whether a silent feed or symbol is mute, `question`
what the venue is asked then, `breaks` who is told of a gap, `backfill` what a break swallowed, `hand_out` who gets it,
`kept_prices` what orders keep subscribed, `standstill` whether the loop stood still.
"""

from gateway.services.streaming.feed_watch import WatchTimes
from gateway.services.streaming.hub import HubTimes
from gateway.services.streaming.market_session import MarketDataSession
from gateway.services.streaming.selection import FeedChoice, choose_feed
from gateway.services.streaming.service import StreamingService, StreamLimits
from gateway.services.streaming.session import MarketDataStream

__all__ = [
    "FeedChoice",
    "HubTimes",
    "MarketDataSession",
    "MarketDataStream",
    "StreamLimits",
    "StreamingService",
    "WatchTimes",
    "choose_feed",
]
