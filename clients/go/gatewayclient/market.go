package gatewayclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "trading-gateway/clients/go/tradinggatewayv1"
)

const (
	// staleLag: a value that is taken later than this after it was sent is not vouched for, as inside the gateway.
	staleLag = 2 * time.Second
	// heartbeatDefault is the gateway's own interval, where none is asked for.
	heartbeatDefault    = 5 * time.Second
	heartbeatsMissedMax = 3
	// silenceMin: a gateway that is held up for a moment is not left for it, or everybody would come back at once.
	silenceMin = 5 * time.Second
)

// batchOf is what the responses of the live streams have in common.
type batchOf[R any] interface {
	*R
	GetBatchSequence() uint64
	GetSendTime() *timestamppb.Timestamp
	GetStatus() *pb.StreamStatus
}

// kind is one kind of live market data: how its stream is opened, and what its batches have.
type kind[R any, V any] struct {
	symbols   func() []string
	heartbeat time.Duration
	open      func(context.Context) (grpc.ServerStreamingClient[R], error)
	status    func(*R) **pb.StreamStatus
	values    func(*R) []V
	flag      func(V)
	taken     func(sequence uint64) // told when everything of a batch was handed out; nil: nobody
}

// silenceMax is the time without a message after which the connection counts as lost: a gateway that hangs keeps its
// connections, and answers pings.
func (k kind[R, V]) silenceMax() time.Duration {
	heartbeat := k.heartbeat
	if heartbeat == 0 {
		heartbeat = heartbeatDefault
	}
	return max(silenceMin, heartbeatsMissedMax*heartbeat)
}

// batches iterates over whole batches; their values are judged when the batch is taken.
func batches[R, V any, B batchOf[R]](ctx context.Context, c *Client, kind kind[R, V]) iter.Seq2[B, error] {
	return func(yield func(B, error) bool) {
		err := follow[R, V, B](ctx, c, kind, func(batch B, reader *reader) bool {
			if reader.isStale(batch.GetSendTime()) {
				for _, value := range kind.values(batch) {
					kind.flag(value)
				}
			}
			return yield(batch, nil)
		}, func(*Error) bool { return true })
		if err != nil {
			yield(nil, err)
		}
	}
}

// items iterates over values, each judged when it is taken. A status comes before the values of its batch, for it tells
// the gaps before them; the end of a snapshot comes after them.
func items[R, V any, B batchOf[R]](ctx context.Context, c *Client, kind kind[R, V]) iter.Seq2[Item[V], error] {
	return func(yield func(Item[V], error) bool) {
		err := follow[R, V, B](ctx, c, kind, func(batch B, reader *reader) bool {
			first, last := split(batch.GetStatus())
			sent := batch.GetSendTime()
			if first != nil && !yield(Item[V]{Status: first, Lag: reader.behind(sent)}, nil) {
				return false
			}
			for _, value := range kind.values(batch) {
				if reader.isStale(sent) {
					kind.flag(value)
				}
				if !yield(Item[V]{Value: value, Lag: reader.behind(sent)}, nil) {
					return false
				}
			}
			if last != nil && !yield(Item[V]{Status: last, Lag: reader.behind(sent)}, nil) {
				return false
			}
			if kind.taken != nil {
				kind.taken(batch.GetBatchSequence())
			}
			return true
		}, func(failure *Error) bool { return yield(Item[V]{Broken: failure}, nil) })
		if err != nil {
			yield(Item[V]{}, err)
		}
	}
}

// split parts what a status says of the time before its batch's values from the end of a snapshot, which they are.
func split(told *pb.StreamStatus) (first, last *pb.StreamStatus) {
	if !told.GetSnapshotEnd() {
		return told, nil
	}
	first, last = proto.CloneOf(told), proto.CloneOf(told)
	first.SnapshotEnd = false
	last.Feeds, last.Acks, last.StaleSymbols, last.Gaps = nil, nil, nil, nil
	if proto.Size(first) == 0 {
		first = nil
	}
	return first, last
}

// follow hands out batches across connections until the context ends; nil when the caller has left. Pauses grow on while
// connections break soon, messages or not: a gateway that takes a stream and ends it at once is not asked for ever.
func follow[R, V any, B batchOf[R]](
	ctx context.Context, c *Client, kind kind[R, V], deliver func(B, *reader) bool, broke func(*Error) bool,
) error {
	reader := &reader{symbols: kind.symbols, lag: lag{now: time.Now}}
	failures, soon := 0, 0
	for {
		ctx, shown := noting(ctx)
		began := time.Now()
		err := connect[R, V, B](ctx, kind, reader, func(batch B) bool {
			failures = 0
			return deliver(batch, reader)
		})
		if err == nil { // the caller has left
			return nil
		}
		if time.Since(began) >= backoffMax {
			soon = 0
		}
		failure := Decode(err)
		isReplaced := c.bearer.wasReplaced(err, *shown)
		if ended := ctx.Err(); ended != nil {
			return fmt.Errorf("%w: %w", ended, err)
		}
		if failure.Code == codes.DeadlineExceeded { // the caller's, which the transport noticed first: streams have no other
			return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
		}
		if !reader.survives(err, failure, isReplaced) || failures >= reconnectsMax {
			return err
		}
		if !reader.broken {
			reader.broken = true
			if !broke(failure) {
				return nil
			}
		}
		if !pause(ctx, soon, failure) {
			return err
		}
		failures, soon = failures+1, soon+1
	}
}

// connect reads one connection's worth of batches; nil when the caller has left.
func connect[R, V any, B batchOf[R]](
	ctx context.Context, kind kind[R, V], reader *reader, deliver func(B) bool,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reader.opened()
	stream, err := kind.open(ctx)
	if err != nil {
		return err
	}
	arrivals := pump(ctx, stream, reader.ended)
	silence := time.NewTimer(kind.silenceMax())
	defer silence.Stop()
	for {
		silence.Reset(kind.silenceMax()) // only the time counts in which the caller waits
		select {
		case arrival := <-arrivals:
			if errors.Is(arrival.err, io.EOF) { // a stream without an end ended: something between closed it
				return status.Error(codes.Unavailable, "the stream ended")
			}
			if arrival.err != nil {
				return arrival.err
			}
			batch := B(arrival.batch)
			gap, err := reader.take(batch.GetBatchSequence(), batch.GetSendTime())
			if err != nil {
				return err
			}
			if gap != nil {
				tell(kind.status(arrival.batch), gap)
			}
			if !deliver(batch) {
				return nil
			}
		case <-ctx.Done(): // what the stream says of it may have found nobody
			return status.FromContextError(ctx.Err()).Err()
		case <-silence.C:
			return status.Errorf(codes.Unavailable, "no message for %v, though there are heartbeats", kind.silenceMax())
		}
	}
}

// arrival is what a stream brought.
type arrival[R any] struct {
	batch *R
	err   error
}

// pump reads one batch ahead of the caller, so that the end of a stream is known while its last batch is handed out.
func pump[R any](ctx context.Context, stream grpc.ServerStreamingClient[R], ended *atomic.Bool) <-chan arrival[R] {
	arrivals := make(chan arrival[R])
	go func() {
		for {
			batch, err := stream.Recv()
			if err != nil {
				ended.Store(true)
			}
			select {
			case arrivals <- arrival[R]{batch, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return arrivals
}

// reader is where a reader of live data stands.
type reader struct {
	symbols  func() []string
	lag      lag
	sequence uint64
	last     *timestamppb.Timestamp // when the newest batch was sent
	broken   bool                   // nothing came since the connection broke
	ended    *atomic.Bool           // the connection's stream has ended
}

func (r *reader) opened() {
	r.sequence, r.ended = 0, &atomic.Bool{}
	r.lag.opened()
}

// take checks the sequence and measures; the gap before the batch, if there is one.
func (r *reader) take(sequence uint64, sent *timestamppb.Timestamp) (*pb.GapNotice, error) {
	if sequence != r.sequence+1 {
		return nil, fmt.Errorf("%w: %d was to come, and %d came", ErrSequenceGap, r.sequence+1, sequence)
	}
	var gap *pb.GapNotice
	if r.broken && r.last != nil {
		gap = &pb.GapNotice{Feed: GatewayFeed, FromTime: r.last, ToTime: sent, Symbols: r.symbols()}
	}
	r.sequence, r.last, r.broken = sequence, sent, false
	r.lag.arrived(sent.AsTime())
	return gap, nil
}

func (r *reader) behind(sent *timestamppb.Timestamp) time.Duration {
	return r.lag.since(sent.AsTime())
}

// isStale: what is handed out now cannot be vouched for. It is late, or nothing says that there is nothing newer.
func (r *reader) isStale(sent *timestamppb.Timestamp) bool {
	return r.behind(sent) > staleLag || r.ended.Load()
}

// survives: the subscription can be made again. A refusal that says when to come back ends no stream that ran: it comes
// of the break, as when the places of the broken connections are not free yet.
func (r *reader) survives(err error, failure *Error, isReplaced bool) bool {
	if errors.Is(err, ErrSequenceGap) {
		return false
	}
	returnsLater := r.last != nil && failure.RetryAfter > 0
	return failure.Ambiguous() || failure.Reason == "SLOW_CONSUMER" || isReplaced || returnsLater
}

func tell(told **pb.StreamStatus, gap *pb.GapNotice) {
	if *told == nil {
		*told = &pb.StreamStatus{}
	}
	(*told).Gaps = append((*told).Gaps, gap)
}
