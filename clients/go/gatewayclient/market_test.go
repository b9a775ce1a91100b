package gatewayclient

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "trading-gateway/clients/go/tradinggatewayv1"
)

func sentNow(sequence uint64, status *pb.StreamStatus, symbols ...string) *pb.StreamQuotesResponse {
	sent := &pb.StreamQuotesResponse{BatchSequence: sequence, SendTime: timestamppb.Now(), Status: status}
	for _, symbol := range symbols {
		sent.Quotes = append(sent.Quotes, &pb.Quote{Symbol: symbol})
	}
	return sent
}

func told(item Item[*pb.Quote]) string {
	switch {
	case item.Broken != nil:
		return "broken"
	case item.Status != nil:
		return fmt.Sprintf("status gaps=%d acks=%d end=%v", len(item.Status.GetGaps()), len(item.Status.GetAcks()),
			item.Status.GetSnapshotEnd())
	default:
		return item.Value.GetSymbol()
	}
}

func TestValuesComeOneByOneWithWhatBefallsThem(t *testing.T) {
	status := &pb.StreamStatus{Acks: []*pb.SubscriptionAck{{Symbol: "AAPL"}}, SnapshotEnd: true}
	service := &scripted{quotes: [][]any{
		{sentNow(1, status, "AAPL", "MSFT"), sentNow(2, nil, "AAPL"), errLost},
		{errLost},
		{sentNow(1, nil, "AAPL")},
	}}
	client, ctx := serve(t, service)
	got := []string{}
	for item, err := range client.FollowQuotes(ctx, &pb.StreamQuotesRequest{Symbols: []string{"AAPL", "MSFT"}}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, told(item))
		if len(got) == 8 {
			break
		}
	}
	want := []string{
		"status gaps=0 acks=1 end=false", "AAPL", "MSFT", "status gaps=0 acks=0 end=true", "AAPL",
		"broken", "status gaps=1 acks=0 end=false", "AAPL",
	}
	if !slices.Equal(got, want) {
		t.Fatal(got)
	}
}

func TestAReaderWhoSleepsGetsNothingOldWithoutAMark(t *testing.T) {
	client, ctx := serve(t, &scripted{quotes: [][]any{
		{sentNow(1, nil, "AAPL", "MSFT", "TSLA"), sentNow(2, nil, "NVDA"), sentNow(3, nil, "AMZN")},
	}})
	stale := []bool{}
	for item, err := range client.FollowQuotes(ctx, &pb.StreamQuotesRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		stale = append(stale, item.Value.GetStale())
		if item.Value.GetStale() != (item.Lag > staleLag) {
			t.Fatal(item)
		}
		if len(stale) == 2 {
			time.Sleep(staleLag + 10*time.Millisecond)
		}
		if len(stale) == 5 {
			break
		}
	}
	if !slices.Equal(stale, []bool{false, false, true, true, true}) {
		t.Fatal(stale)
	}
}

func TestWhatIsLeftOfABatchWhenItsStreamEndedIsStale(t *testing.T) {
	client, ctx := serve(t, &scripted{quotes: [][]any{{sentNow(1, nil, "AAPL", "MSFT"), errLost}, {}}})
	left := 0
	for item, err := range client.FollowQuotes(ctx, &pb.StreamQuotesRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		if item.Broken != nil {
			break
		}
		for range 100 { // the end is known while the first value is looked at
			if left++; item.Value.GetSymbol() == "MSFT" {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
		if item.Value.GetSymbol() == "MSFT" && !item.Value.GetStale() {
			t.Fatal(item)
		}
	}
}

func TestARefusalThatSaysWhenEndsNoStreamThatRan(t *testing.T) {
	full := refusal(codes.ResourceExhausted,
		&errdetails.ErrorInfo{Domain: errorDomain, Reason: "TOO_MANY_STREAMS"},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(300 * time.Millisecond)})
	client, ctx := serve(t, &scripted{quotes: [][]any{{batch(1, 1), errLost}, {full}, {batch(1, 2)}, {full}}})
	began, seen := time.Now(), 0
	for _, err := range client.Quotes(ctx, &pb.StreamQuotesRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 2 {
			break
		}
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Fatal(took)
	}
	for _, err := range client.Quotes(ctx, &pb.StreamQuotesRequest{}) {
		if Decode(err).Reason != "TOO_MANY_STREAMS" {
			t.Fatal(err)
		}
	}
}

func TestSilenceIsMeasuredInHeartbeats(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{
		0: 15 * time.Second, 500 * time.Millisecond: 5 * time.Second, time.Minute: 3 * time.Minute,
	} {
		if got := (kind[pb.StreamQuotesResponse, *pb.Quote]{heartbeat: asked}).silenceMax(); got != want {
			t.Fatal(asked, got)
		}
	}
}

func TestAStreamThatSaysNothingIsGivenUp(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes five seconds")
	}
	client, ctx := serve(t, &scripted{quotes: [][]any{{sentNow(1, nil, "AAPL")}, {sentNow(1, nil, "MSFT")}}})
	got := []string{}
	request := &pb.StreamQuotesRequest{HeartbeatInterval: durationpb.New(500 * time.Millisecond)}
	for item, err := range client.FollowQuotes(ctx, request) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, told(item)); len(got) == 4 {
			break
		}
	}
	if !slices.Equal(got, []string{"AAPL", "broken", "status gaps=1 acks=0 end=false", "MSFT"}) {
		t.Fatal(got)
	}
}

// Whoever tells it first: the stream, or the context that it was opened with.
func TestADeadlineIsNoticedAtOnceAndByItsName(t *testing.T) {
	streams := [][]any{}
	for range 10 {
		streams = append(streams, []any{sentNow(1, nil, "AAPL")})
	}
	client, ctx := serve(t, &scripted{quotes: streams})
	for range 10 {
		began := time.Now()
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		var last error
		for _, err := range client.FollowQuotes(short, &pb.StreamQuotesRequest{}) {
			last = err
		}
		cancel()
		if !errors.Is(last, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
			t.Fatal(last, time.Since(began))
		}
	}
}

func TestTradesHaveWhatBecameOfThemAfterThem(t *testing.T) {
	trade, correction, cancel := &pb.Trade{TradeId: 7}, &pb.TradeCorrection{Symbol: "A"}, &pb.TradeCancel{TradeId: 7}
	got := tradeEvents(&pb.StreamTradesResponse{
		Cancels: []*pb.TradeCancel{cancel}, Corrections: []*pb.TradeCorrection{correction}, Trades: []*pb.Trade{trade},
	})
	if !reflect.DeepEqual(got, []TradeEvent{{Trade: trade}, {Correction: correction}, {Cancel: cancel}}) {
		t.Fatal(got)
	}
}
