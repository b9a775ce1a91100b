package gatewayclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "trading-gateway/clients/go/tradinggatewayv1"
)

const (
	// reconnectsMax bounds the tries to reopen a stream without a message in between.
	reconnectsMax = 20
	// snapshotOverlap: a snapshot that stands in for lost events also has the orders that ended up to so long before
	// the last event seen, for another life of the gateway may have another clock.
	snapshotOverlap = time.Minute
	// snapshotReach is how far back it reaches when nothing says where this reader stood: a token alone.
	snapshotReach = 24 * time.Hour
)

// ErrSequenceGap: a stream skipped a number, which the contract excludes.
var ErrSequenceGap = errors.New("a message of the stream is missing")

// StartedOver tells that the events after the last one cannot be had: a snapshot follows, and sequences begin anew with
// it. It has the orders that are open, and those that ended since ClosedSince.
type StartedOver struct {
	// Reason is EPOCH_CHANGED, another life of the journal, or RESUME_TOKEN_COMPACTED, the events are no longer kept.
	Reason string
	// LastSequence is that of the last event before, in the old count; 0: there was none.
	LastSequence uint64
	ClosedSince  time.Time
}

// OrderUpdates follows a book of orders until the context ends: in order, none lost, none twice. A lost
// connection is resumed with the newest token. Keep the newest ResumeToken, once SnapshotEnd has come, to continue
// after your own restart: give it in the request. Where the gateway has no events after a token any more, a snapshot
// follows, and the observers are told StartedOver before it. IncludeClosedSince of a request with a token says how far
// back that snapshot reaches. The error, if one comes, is the last item.
func (c *Client) OrderUpdates(
	ctx context.Context, request *pb.StreamOrderUpdatesRequest, observers ...func(StartedOver),
) iter.Seq2[*pb.StreamOrderUpdatesResponse, error] {
	return func(yield func(*pb.StreamOrderUpdatesResponse, error) bool) {
		book := newBook(request, observers)
		for failures := 0; ; failures++ {
			ctx, shown := noting(ctx)
			err := c.follow(ctx, book, func(update *pb.StreamOrderUpdatesResponse) bool {
				failures = 0
				return yield(update, nil)
			})
			if err == nil { // the caller has left
				return
			}
			survives := book.survives(err) || c.bearer.wasReplaced(err, *shown)
			if !survives || failures >= reconnectsMax || !pause(ctx, failures, Decode(err)) {
				yield(nil, err)
				return
			}
		}
	}
}

// WaitForTerminal waits until an order can change no more, or the context ends.
func (c *Client) WaitForTerminal(ctx context.Context, order *pb.Order) (*pb.Order, error) {
	if IsTerminal(order) {
		return order, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	book := &pb.StreamOrderUpdatesRequest{StrategyId: order.GetStrategyId(), AllStrategies: order.GetExternal()}
	for update, err := range c.OrderUpdates(ctx, book) {
		if err != nil {
			return order, err
		}
		if seen := update.GetEvent().GetOrder(); seen.GetOrderId() == order.GetOrderId() &&
			seen.GetVersion() >= order.GetVersion() {
			order = seen
		}
		if update.GetSnapshotEnd() != nil { // it may have ended before the snapshot, which has open orders alone
			ref := &pb.OrderRef{Ref: &pb.OrderRef_OrderId{OrderId: order.GetOrderId()}}
			found, err := c.Trading.GetOrder(ctx, &pb.GetOrderRequest{Order: ref})
			if err != nil {
				return order, err
			}
			order = found.GetOrder()
		}
		if IsTerminal(order) {
			return order, nil
		}
	}
	return order, ctx.Err()
}

// IsTerminal: the order can change no more. Any other state counts as open, one that this build does not know
// too.
func IsTerminal(order *pb.Order) bool {
	switch order.GetState() {
	case pb.OrderState_ORDER_STATE_FILLED, pb.OrderState_ORDER_STATE_CANCELED, pb.OrderState_ORDER_STATE_EXPIRED,
		pb.OrderState_ORDER_STATE_REJECTED, pb.OrderState_ORDER_STATE_DENIED, pb.OrderState_ORDER_STATE_NOT_SENT,
		pb.OrderState_ORDER_STATE_ABSENT:
		return true
	default:
		return false
	}
}

// Describe is one plain line about an order, for logs and examples: "buy 10 AAPL market: filled 10 at 187.3".
func Describe(order *pb.Order) string {
	spec := order.GetSpec()
	size := cmp.Or(spec.GetQuantity(), spec.GetNotional()+" USD of")
	text := fmt.Sprintf("%s %s %s %s: %s", word(spec.GetSide(), "ORDER_SIDE_"), size, spec.GetSymbol(),
		word(spec.GetOrderType(), "ORDER_TYPE_"), word(order.GetState(), "ORDER_STATE_"))
	if order.FilledAveragePrice == nil {
		return text
	}
	return fmt.Sprintf("%s %s at %s", text, order.GetFilledQuantity(), order.GetFilledAveragePrice())
}

// word is "filled" for ORDER_STATE_FILLED.
func word(value fmt.Stringer, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(value.String(), prefix))
}

// follow reads one connection's worth of updates; nil when the caller has left.
func (c *Client) follow(
	ctx context.Context, book *book, deliver func(*pb.StreamOrderUpdatesResponse) bool,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Trading.StreamOrderUpdates(ctx, book.next())
	if err != nil {
		return err
	}
	for {
		update, err := stream.Recv()
		if errors.Is(err, io.EOF) { // a stream without an end ended: something between closed it
			return status.Error(codes.Unavailable, "the stream ended")
		}
		if err != nil {
			return err
		}
		isNew, err := book.accept(update)
		if err != nil {
			return err
		}
		if isNew && !deliver(update) {
			return nil
		}
	}
}

// book is where a reader stands in a book of orders.
type book struct {
	request      *pb.StreamOrderUpdatesRequest
	observers    []func(StartedOver)
	closedSince  *timestamppb.Timestamp
	seenUntil    time.Time // everything recorded before was told
	snapshotTime time.Time
	sequence     uint64
	counting     bool
	snapshotOpen bool
}

func newBook(request *pb.StreamOrderUpdatesRequest, observers []func(StartedOver)) *book {
	return &book{request: proto.CloneOf(request), observers: observers, closedSince: request.GetIncludeClosedSince()}
}

// next is the subscription from the newest token on.
func (b *book) next() *pb.StreamOrderUpdatesRequest {
	b.request.IncludeClosedSince = nil
	if b.request.Start == nil { // a snapshot
		b.request.IncludeClosedSince = b.closedSince
	}
	return b.request
}

// accept takes note of an update; false when it came before the break already.
func (b *book) accept(update *pb.StreamOrderUpdatesResponse) (bool, error) {
	var step uint64
	var seenUntil time.Time
	switch payload := update.GetPayload().(type) {
	case *pb.StreamOrderUpdatesResponse_SnapshotBegin:
		b.snapshotOpen, b.snapshotTime = true, instant(update.GetServerTime())
	case *pb.StreamOrderUpdatesResponse_SnapshotEnd:
		b.snapshotOpen, b.counting, b.sequence = false, true, update.GetSequence()
		seenUntil = b.snapshotTime
	case *pb.StreamOrderUpdatesResponse_Heartbeat:
		seenUntil = instant(update.GetServerTime())
	case *pb.StreamOrderUpdatesResponse_Event:
		if b.counting && update.GetSequence() <= b.sequence {
			return false, nil
		}
		step, seenUntil = 1, instant(payload.Event.GetRecordTime())
	}
	if b.snapshotOpen { // its tokens would resume after orders that were not delivered yet
		return true, nil
	}
	if b.counting && update.GetSequence() > b.sequence+step {
		return false, fmt.Errorf("%w: %d was to come, and %d came", ErrSequenceGap, b.sequence+1, update.GetSequence())
	}
	b.counting, b.sequence = true, max(b.sequence, update.GetSequence())
	if seenUntil.After(b.seenUntil) {
		b.seenUntil = seenUntil
	}
	if token := update.GetResumeToken(); token != "" {
		b.request.Start = &pb.StreamOrderUpdatesRequest_ResumeToken{ResumeToken: token}
	}
	return true, nil
}

// survives prepares the next request after an error; false when there is no going on.
func (b *book) survives(err error) bool {
	if errors.Is(err, ErrSequenceGap) {
		return false
	}
	b.snapshotOpen = false
	failure := Decode(err)
	switch failure.Reason {
	case "EPOCH_CHANGED", "RESUME_TOKEN_COMPACTED":
		if b.request.GetResumeToken() == "" {
			return false // nothing else could be asked for
		}
		b.startOver(failure.Reason)
		return true
	case "SLOW_CONSUMER":
		return true
	default:
		return failure.Ambiguous()
	}
}

// startOver asks for a snapshot that reaches back to what this reader has seen.
func (b *book) startOver(reason string) {
	switch {
	case !b.seenUntil.IsZero():
		b.closedSince = timestamppb.New(b.seenUntil.Add(-snapshotOverlap))
	case b.closedSince == nil:
		b.closedSince = timestamppb.New(time.Now().Add(-snapshotReach))
	}
	last := b.sequence
	b.request.Start, b.counting, b.sequence = nil, false, 0
	for _, tell := range b.observers {
		tell(StartedOver{Reason: reason, LastSequence: last, ClosedSince: b.closedSince.AsTime()})
	}
}

// instant is the time of a timestamp; none when there is none, not 1970.
func instant(timestamp *timestamppb.Timestamp) time.Time {
	if timestamp == nil {
		return time.Time{}
	}
	return timestamp.AsTime()
}
