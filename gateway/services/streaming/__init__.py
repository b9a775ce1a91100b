"""StreamingService: live market data from one connection per feed to any number of streams.

`service` opens streams, `hub` owns a feed, `last_values` the newest values, `mailbox` and `fan_out` what waits
for readers, `session` one reader, `subscriptions` what the venue is asked for, `newest` what is read by request,
`feed_health` whether a value can be vouched for, `silence` whether a silent feed is mute.
"""

from gateway.services.streaming.selection import FeedChoice, choose_feed
from gateway.services.streaming.service import StreamingService, StreamLimits
from gateway.services.streaming.session import MarketDataStream

__all__ = ["FeedChoice", "MarketDataStream", "StreamLimits", "StreamingService", "choose_feed"]
