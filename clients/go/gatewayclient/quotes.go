package gatewayclient

import (
	"context"
	"iter"
	"time"

	"google.golang.org/grpc"

	pb "trading-gateway/clients/go/tradinggatewayv1"
)

// GatewayFeed is GapNotice.Feed of a gap in the connection between this client and the gateway.
const GatewayFeed = "gateway"

// Item is what a follower of live values takes. Exactly one of Value, Status and Broken is set.
type Item[V any] struct {
	Value V
	// Status is what the gateway says: feeds, acks of the symbols, gaps, counters, heartbeats. A gap of the connection
	// stands in its gaps, under GatewayFeed, before the first value after it.
	Status *pb.StreamStatus
	// Broken is how the connection broke: what was received before is the newest no more. The subscription is made
	// again; a break is told once, and at once.
	Broken *Error
	// Lag is the time since the gateway sent it; the two clocks need not agree.
	Lag time.Duration
}

// TradeEvent is a trade, or what became of one. Exactly one is set.
type TradeEvent struct {
	Trade      *pb.Trade
	Correction *pb.TradeCorrection
	Cancel     *pb.TradeCancel
}

// Quotes follows live quotes in batches until the context ends. Quotes cannot be resumed: after a lost connection the
// subscription is made again, and the gap is told in Status.Gaps of the first batch after it, under GatewayFeed. Quotes
// of a batch that is taken more than 2 s after it was sent are flagged stale; who takes long for one batch uses
// FollowQuotes. The error, if one comes, is the last item.
func (c *Client) Quotes(
	ctx context.Context, request *pb.StreamQuotesRequest,
) iter.Seq2[*pb.StreamQuotesResponse, error] {
	return batches(ctx, c, c.quotes(request))
}

// Trades follows live trades, corrections and cancels in batches, as Quotes.
func (c *Client) Trades(
	ctx context.Context, request *pb.StreamTradesRequest,
) iter.Seq2[*pb.StreamTradesResponse, error] {
	return batches(ctx, c, c.trades(request))
}

// Bars follows live bars in batches, as Quotes.
func (c *Client) Bars(ctx context.Context, request *pb.StreamBarsRequest) iter.Seq2[*pb.StreamBarsResponse, error] {
	return batches(ctx, c, c.bars(request))
}

// FollowQuotes follows live quotes one by one until the context ends, with what befalls their stream among them. Each is
// judged when it is taken: more than 2 s after the gateway sent it, or after its connection broke, it is flagged stale.
// The error, if one comes, is the last item.
func (c *Client) FollowQuotes(ctx context.Context, request *pb.StreamQuotesRequest) iter.Seq2[Item[*pb.Quote], error] {
	return items(ctx, c, c.quotes(request))
}

// FollowTrades follows live trades, corrections and cancels one by one, as FollowQuotes.
func (c *Client) FollowTrades(ctx context.Context, request *pb.StreamTradesRequest) iter.Seq2[Item[TradeEvent], error] {
	return items(ctx, c, c.trades(request))
}

// FollowBars follows live bars one by one, as FollowQuotes.
func (c *Client) FollowBars(ctx context.Context, request *pb.StreamBarsRequest) iter.Seq2[Item[*pb.Bar], error] {
	return items(ctx, c, c.bars(request))
}

func (c *Client) quotes(request *pb.StreamQuotesRequest) kind[pb.StreamQuotesResponse, *pb.Quote] {
	return kind[pb.StreamQuotesResponse, *pb.Quote]{
		symbols:   request.GetSymbols,
		heartbeat: request.GetHeartbeatInterval().AsDuration(),
		open: func(ctx context.Context) (grpc.ServerStreamingClient[pb.StreamQuotesResponse], error) {
			return c.MarketData.StreamQuotes(ctx, request)
		},
		status: func(batch *pb.StreamQuotesResponse) **pb.StreamStatus { return &batch.Status },
		values: (*pb.StreamQuotesResponse).GetQuotes,
		flag:   func(quote *pb.Quote) { quote.Stale = true },
	}
}

func (c *Client) trades(request *pb.StreamTradesRequest) kind[pb.StreamTradesResponse, TradeEvent] {
	return kind[pb.StreamTradesResponse, TradeEvent]{
		symbols:   request.GetSymbols,
		heartbeat: request.GetHeartbeatInterval().AsDuration(),
		open: func(ctx context.Context) (grpc.ServerStreamingClient[pb.StreamTradesResponse], error) {
			return c.MarketData.StreamTrades(ctx, request)
		},
		status: func(batch *pb.StreamTradesResponse) **pb.StreamStatus { return &batch.Status },
		values: tradeEvents,
		flag: func(event TradeEvent) { // corrections and cancels say what was: nothing about them becomes old
			if event.Trade != nil {
				event.Trade.Stale = true
			}
		},
	}
}

func (c *Client) bars(request *pb.StreamBarsRequest) kind[pb.StreamBarsResponse, *pb.Bar] {
	return kind[pb.StreamBarsResponse, *pb.Bar]{
		symbols:   request.GetSymbols,
		heartbeat: request.GetHeartbeatInterval().AsDuration(),
		open: func(ctx context.Context) (grpc.ServerStreamingClient[pb.StreamBarsResponse], error) {
			return c.MarketData.StreamBars(ctx, request)
		},
		status: func(batch *pb.StreamBarsResponse) **pb.StreamStatus { return &batch.Status },
		values: (*pb.StreamBarsResponse).GetBars,
		flag:   func(bar *pb.Bar) { bar.Stale = true },
	}
}

// tradeEvents has trades first: what was corrected was printed before.
func tradeEvents(batch *pb.StreamTradesResponse) []TradeEvent {
	events := make([]TradeEvent, 0, len(batch.GetTrades()))
	for _, trade := range batch.GetTrades() {
		events = append(events, TradeEvent{Trade: trade})
	}
	for _, correction := range batch.GetCorrections() {
		events = append(events, TradeEvent{Correction: correction})
	}
	for _, cancel := range batch.GetCancels() {
		events = append(events, TradeEvent{Cancel: cancel})
	}
	return events
}
