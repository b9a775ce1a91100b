package gatewayclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "trading-gateway/clients/go/tradinggatewayv1"
)

// GatewayFeed is GapNotice.Feed of a hole in the connection between this client and the gateway.
const GatewayFeed = "gateway"

// Quotes follows live quotes until the context ends. Quotes cannot be resumed: after a lost connection the
// subscription is made again, and the hole is told in Status.Gaps of the first batch after it, under GatewayFeed. The
// error, if one comes, is the last item.
func (c *Client) Quotes(
	ctx context.Context, request *pb.StreamQuotesRequest,
) iter.Seq2[*pb.StreamQuotesResponse, error] {
	return func(yield func(*pb.StreamQuotesResponse, error) bool) {
		var last *timestamppb.Timestamp // when the batch before was sent
		for failures := 0; ; failures++ {
			ctx, shown := noting(ctx)
			err := c.followQuotes(ctx, request, func(batch *pb.StreamQuotesResponse) bool {
				failures = 0
				if batch.GetBatchSequence() == 1 && last != nil {
					tellHole(batch, last, request.GetSymbols())
				}
				last = batch.GetSendTime()
				return yield(batch, nil)
			})
			if err == nil { // the caller has left
				return
			}
			failure := Decode(err)
			lost := failure.Ambiguous() || failure.Reason == "SLOW_CONSUMER" || c.bearer.wasReplaced(err, *shown)
			if errors.Is(err, ErrSequenceGap) || !lost || failures >= reconnectsMax || !pause(ctx, failures, failure) {
				yield(nil, err)
				return
			}
		}
	}
}

// followQuotes reads one connection's worth of batches; nil when the caller has left.
func (c *Client) followQuotes(
	ctx context.Context, request *pb.StreamQuotesRequest, deliver func(*pb.StreamQuotesResponse) bool,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.MarketData.StreamQuotes(ctx, request)
	if err != nil {
		return err
	}
	for sequence := uint64(1); ; sequence++ {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) { // a stream without an end ended: something between closed it
			return status.Error(codes.Unavailable, "the stream ended")
		}
		if err != nil {
			return err
		}
		if batch.GetBatchSequence() != sequence {
			return fmt.Errorf("%w: %d was to come, and %d came", ErrSequenceGap, sequence, batch.GetBatchSequence())
		}
		if !deliver(batch) {
			return nil
		}
	}
}

func tellHole(batch *pb.StreamQuotesResponse, from *timestamppb.Timestamp, symbols []string) {
	if batch.Status == nil {
		batch.Status = &pb.StreamStatus{}
	}
	batch.Status.Gaps = append(batch.Status.Gaps, &pb.GapNotice{
		Feed: GatewayFeed, FromTime: from, ToTime: batch.GetSendTime(), Symbols: symbols,
	})
}
