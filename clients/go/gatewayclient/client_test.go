package gatewayclient

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "trading-gateway/clients/go/tradinggatewayv1"
)

// scripted answers each call with the next step; the last one is repeated.
type scripted struct {
	pb.UnimplementedTradingServiceServer
	pb.UnimplementedMarketDataServiceServer
	submits  []error // nil answers, errSilent never does
	sent     []*pb.SubmitOrderRequest
	quotes   [][]any // *pb.StreamQuotesResponse or error
	streams  [][]any // *pb.StreamOrderUpdatesResponse or error; nil keeps the stream open
	order    *pb.Order
	keys     []string
	cancels  int
	requests []*pb.StreamOrderUpdatesRequest
}

func (s *scripted) SubmitOrder(ctx context.Context, request *pb.SubmitOrderRequest) (*pb.SubmitOrderResponse, error) {
	s.keys = append(s.keys, request.GetClientOrderId())
	s.sent = append(s.sent, request)
	switch failure := next(&s.submits); failure {
	case nil:
	case errSilent:
		<-ctx.Done()
		return nil, ctx.Err()
	default:
		return nil, failure
	}
	return &pb.SubmitOrderResponse{Order: s.order}, nil
}

func (s *scripted) CancelOrders(context.Context, *pb.CancelOrdersRequest) (*pb.CancelOrdersResponse, error) {
	s.cancels++
	return nil, status.Error(codes.Unavailable, "lost")
}

func (s *scripted) GetOrder(context.Context, *pb.GetOrderRequest) (*pb.GetOrderResponse, error) {
	return &pb.GetOrderResponse{Order: s.order}, nil
}

func (s *scripted) StreamOrderUpdates(
	request *pb.StreamOrderUpdatesRequest, stream grpc.ServerStreamingServer[pb.StreamOrderUpdatesResponse],
) error {
	s.requests = append(s.requests, request)
	for _, step := range next(&s.streams) {
		switch step := step.(type) {
		case *pb.StreamOrderUpdatesResponse:
			if err := stream.Send(step); err != nil {
				return err
			}
		case error:
			return step
		}
	}
	<-stream.Context().Done()
	return nil
}

func (s *scripted) StreamQuotes(
	_ *pb.StreamQuotesRequest, stream grpc.ServerStreamingServer[pb.StreamQuotesResponse],
) error {
	for _, step := range next(&s.quotes) {
		switch step := step.(type) {
		case *pb.StreamQuotesResponse:
			if err := stream.Send(step); err != nil {
				return err
			}
		case error:
			return step
		}
	}
	<-stream.Context().Done()
	return nil
}

func next[T any](steps *[]T) T {
	step := (*steps)[0]
	if len(*steps) > 1 {
		*steps = (*steps)[1:]
	}
	return step
}

type services interface {
	pb.TradingServiceServer
	pb.MarketDataServiceServer
}

func serve(t *testing.T, service services) (*Client, context.Context) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterTradingServiceServer(server, service)
	pb.RegisterMarketDataServiceServer(server, service)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	client, err := Dial(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return client, ctx
}

var (
	errLost   = status.Error(codes.Unavailable, "lost")
	errSilent = errors.New("no answer")
)

func refusal(code codes.Code, details ...protoadapt.MessageV1) error {
	state, err := status.New(code, "scripted").WithDetails(details...)
	if err != nil {
		panic(err)
	}
	return state.Err()
}

func event(sequence uint64, order *pb.Order) *pb.StreamOrderUpdatesResponse {
	payload := &pb.StreamOrderUpdatesResponse_Event{
		Event: &pb.OrderEvent{Order: order, RecordTime: timestamppb.New(recorded(sequence))},
	}
	return &pb.StreamOrderUpdatesResponse{Sequence: sequence, ResumeToken: token(sequence), Payload: payload}
}

func snapshotBegin(sequence uint64) *pb.StreamOrderUpdatesResponse {
	payload := &pb.StreamOrderUpdatesResponse_SnapshotBegin{SnapshotBegin: &pb.SnapshotBoundary{}}
	return &pb.StreamOrderUpdatesResponse{Sequence: sequence, ResumeToken: token(sequence), Payload: payload}
}

func snapshotEnd(sequence uint64) *pb.StreamOrderUpdatesResponse {
	payload := &pb.StreamOrderUpdatesResponse_SnapshotEnd{SnapshotEnd: &pb.SnapshotBoundary{}}
	return &pb.StreamOrderUpdatesResponse{Sequence: sequence, ResumeToken: token(sequence), Payload: payload}
}

func token(sequence uint64) string {
	return string(rune('a' + sequence))
}

// take reads so many updates, then leaves; fewer when an error comes.
func take(
	ctx context.Context, client *Client, count int, observers ...func(StartedOver),
) (sequences []uint64, failure error) {
	for update, err := range client.OrderUpdates(ctx, &pb.StreamOrderUpdatesRequest{}, observers...) {
		if err != nil {
			return sequences, err
		}
		if sequences = append(sequences, update.GetSequence()); len(sequences) == count {
			break
		}
	}
	return sequences, nil
}

func TestAnAmbiguousErrorIsRepeatedUnderTheSameKey(t *testing.T) {
	service := &scripted{submits: []error{errLost, status.Error(codes.Internal, "lost"), nil}, order: &pb.Order{OrderId: "o"}}
	client, ctx := serve(t, service)
	answer, err := client.Trading.SubmitOrder(ctx, &pb.SubmitOrderRequest{ClientOrderId: "k-1"})
	if err != nil || answer.GetOrder().GetOrderId() != "o" {
		t.Fatal(answer, err)
	}
	if !slices.Equal(service.keys, []string{"k-1", "k-1", "k-1"}) {
		t.Fatal(service.keys)
	}
	end := service.sent[0].GetValidUntil()
	if left := time.Until(end.AsTime()); left < validForMin/2 || left > callTimeout || !proto.Equal(service.sent[0], service.sent[2]) {
		t.Fatal(left, service.sent)
	}
}

func TestEveryAmbiguousCodeAndNoOtherIsAskedAgain(t *testing.T) {
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			service := &scripted{submits: []error{status.Error(code, "scripted"), nil}, order: &pb.Order{}}
			client, ctx := serve(t, service)
			_, err := client.Trading.SubmitOrder(ctx, &pb.SubmitOrderRequest{ClientOrderId: "k-1"})
			if again := (&Error{Code: code}).Ambiguous(); again != (err == nil) || again != (len(service.keys) == 2) {
				t.Fatal(err, service.keys)
			}
		})
	}
}

func TestATryWithoutAnAnswerIsLostAndAskedAgain(t *testing.T) {
	service := &scripted{submits: []error{errSilent, nil}, order: &pb.Order{OrderId: "o"}}
	client, ctx := serve(t, service)
	answer, err := client.Trading.SubmitOrder(ctx, &pb.SubmitOrderRequest{ClientOrderId: "k-1"})
	if err != nil || answer.GetOrder().GetOrderId() != "o" || len(service.keys) != 2 {
		t.Fatal(answer, err, service.keys)
	}
}

func TestTheGatewaysPauseIsKeptAndAKeyThatIsFreeIsTriedAgain(t *testing.T) {
	busy := refusal(codes.Unavailable,
		&errdetails.ErrorInfo{Reason: "DRAINING", Domain: errorDomain, Metadata: map[string]string{"key": "free"}},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(300 * time.Millisecond)})
	service := &scripted{submits: []error{busy, nil}, order: &pb.Order{}}
	client, ctx := serve(t, service)
	began := time.Now()
	if _, err := client.Trading.SubmitOrder(ctx, &pb.SubmitOrderRequest{ClientOrderId: "k-1"}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Fatal(took)
	}
}

func TestAnErrorSaysHowLongAnEarlierTryMayStillArrive(t *testing.T) {
	word := func(key string) error {
		return refusal(codes.FailedPrecondition,
			&errdetails.ErrorInfo{Reason: "SCRIPTED", Domain: errorDomain, Metadata: map[string]string{"key": key}})
	}
	for name, wanted := range map[string]struct {
		submits            []error
		unknown, mayArrive bool
	}{
		"lost, then refused by a proxy": {[]error{errLost, status.Error(codes.PermissionDenied, "no")}, true, true},
		"lost, then free":               {[]error{errLost, word(KeyFree)}, false, true},
		"lost, then spent":              {[]error{errLost, word(KeySpent)}, false, false},
		"lost, then taken":              {[]error{errLost, word(KeyTaken)}, false, false},
		"free at once":                  {[]error{word(KeyFree)}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			service := &scripted{submits: wanted.submits}
			client, ctx := serve(t, service)
			_, err := client.Trading.SubmitOrder(ctx, &pb.SubmitOrderRequest{ClientOrderId: "k-1"})
			failure := Decode(err)
			if failure.OutcomeUnknown != wanted.unknown || failure.MayArriveUntil.IsZero() == wanted.mayArrive {
				t.Fatalf("%+v", failure)
			}
			if wanted.mayArrive && !failure.MayArriveUntil.Equal(service.sent[0].GetValidUntil().AsTime()) {
				t.Fatal(failure.MayArriveUntil, service.sent[0])
			}
			if status.Code(err) != failure.Code {
				t.Fatal("package status reads another code", err)
			}
		})
	}
}

func TestADefiniteErrorIsDecodedAndNotRepeated(t *testing.T) {
	service := &scripted{submits: []error{refusal(codes.FailedPrecondition,
		&errdetails.ErrorInfo{Reason: "OTHER", Domain: "a-proxy", Metadata: map[string]string{"key": "free"}},
		&errdetails.ErrorInfo{Reason: "RISK_BUYING_POWER", Domain: errorDomain, Metadata: map[string]string{"key": "spent"}},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "spec", Description: "bad"}}},
	)}}
	client, ctx := serve(t, service)
	_, err := client.Trading.SubmitOrder(ctx, &pb.SubmitOrderRequest{ClientOrderId: "k-1"})
	failure := Decode(err)
	if failure.Reason != "RISK_BUYING_POWER" || failure.Key != KeySpent || failure.RetryAfter != 3*time.Second ||
		!slices.Equal(failure.Violations, []string{"spec: bad"}) || failure.Ambiguous() || len(service.keys) != 1 {
		t.Fatalf("%+v, %d calls", failure, len(service.keys))
	}
}

func TestWhereNobodyListensTheErrorSaysSoInPlainWords(t *testing.T) {
	client, err := Dial("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond) // no time for another try
	defer cancel()
	_, err = client.Trading.GetOrder(ctx, &pb.GetOrderRequest{})
	failure := Decode(err)
	if want := "no gateway answers (dial tcp 127.0.0.1:1: connect: connection refused): is it running?"; failure.Message != want {
		t.Fatal(failure.Message)
	}
	if failure.OutcomeUnknown {
		t.Fatal("a question leaves nothing in doubt")
	}
	_, err = client.Trading.SubmitOrder(ctx, &pb.SubmitOrderRequest{ClientOrderId: "k-1"})
	if failure := Decode(err); !failure.OutcomeUnknown {
		t.Fatal(failure)
	}
}

func TestAMassCancelIsNeverRepeated(t *testing.T) {
	service := &scripted{}
	client, ctx := serve(t, service)
	_, err := client.Trading.CancelOrders(ctx, &pb.CancelOrdersRequest{})
	if failure := Decode(err); !failure.Ambiguous() || failure.Key != "" || service.cancels != 1 {
		t.Fatalf("%+v, %d calls", failure, service.cancels)
	}
}

func TestAnOrderStreamResumesWhereItBrokeAndDropsWhatComesTwice(t *testing.T) {
	service := &scripted{streams: [][]any{
		{snapshotBegin(7), errLost},
		{snapshotBegin(7), snapshotEnd(7), event(8, nil), errLost},
		{event(8, nil), event(9, nil), nil},
	}}
	client, ctx := serve(t, service)
	sequences, err := take(ctx, client, 5)
	if err != nil || !slices.Equal(sequences, []uint64{7, 7, 7, 8, 9}) {
		t.Fatal(sequences, err)
	}
	tokens := []string{}
	for _, request := range service.requests {
		tokens = append(tokens, request.GetResumeToken())
	}
	if !slices.Equal(tokens, []string{"", "", token(8)}) {
		t.Fatal(tokens)
	}
}

func TestAnotherLifeOfTheGatewayBeginsWithASnapshot(t *testing.T) {
	epoch := refusal(codes.FailedPrecondition, &errdetails.ErrorInfo{Reason: "EPOCH_CHANGED", Domain: errorDomain})
	service := &scripted{streams: [][]any{
		{event(20, nil), errLost}, {epoch}, {snapshotBegin(3), snapshotEnd(3), event(4, nil), nil},
	}}
	client, ctx := serve(t, service)
	var told []StartedOver
	sequences, err := take(ctx, client, 4, func(notice StartedOver) { told = append(told, notice) })
	if err != nil || !slices.Equal(sequences, []uint64{20, 3, 3, 4}) {
		t.Fatal(sequences, err)
	}
	since := recorded(20).Add(-snapshotOverlap)
	if !slices.Equal(told, []StartedOver{{"EPOCH_CHANGED", 20, since}}) {
		t.Fatal(told)
	}
	asked := service.requests[2]
	if asked.GetStart() != nil || !asked.GetIncludeClosedSince().AsTime().Equal(since) {
		t.Fatal(asked)
	}
}

func TestAnEpochThatChangesWithoutATokenIsAnError(t *testing.T) {
	epoch := refusal(codes.FailedPrecondition, &errdetails.ErrorInfo{Reason: "EPOCH_CHANGED", Domain: errorDomain})
	service := &scripted{streams: [][]any{{epoch}}}
	client, ctx := serve(t, service)
	if _, err := take(ctx, client, 1); Decode(err).Reason != "EPOCH_CHANGED" || len(service.requests) != 1 {
		t.Fatal(err, len(service.requests))
	}
}

func TestQuotesAreSubscribedAgainAndTheHoleIsTold(t *testing.T) {
	service := &scripted{quotes: [][]any{{batch(1, 10), batch(2, 20), errLost}, {batch(1, 90), batch(2, 95)}}}
	client, ctx := serve(t, service)
	gaps := []int{}
	for got, err := range client.Quotes(ctx, &pb.StreamQuotesRequest{Symbols: []string{"AAPL"}}) {
		if err != nil {
			t.Fatal(err)
		}
		gaps = append(gaps, len(got.GetStatus().GetGaps()))
		if gap := got.GetStatus().GetGaps(); len(gap) == 1 && (gap[0].GetFeed() != GatewayFeed ||
			gap[0].GetFromTime().GetSeconds() != 20 || gap[0].GetToTime().GetSeconds() != 90) {
			t.Fatal(gap)
		}
		if len(gaps) == 4 {
			break
		}
	}
	if !slices.Equal(gaps, []int{0, 0, 1, 0}) {
		t.Fatal(gaps)
	}
}

func TestAMissingBatchIsNeverPassedOver(t *testing.T) {
	client, ctx := serve(t, &scripted{quotes: [][]any{{batch(1, 1), batch(3, 3)}}})
	var last error
	for _, err := range client.Quotes(ctx, &pb.StreamQuotesRequest{}) {
		last = err
	}
	if !errors.Is(last, ErrSequenceGap) {
		t.Fatal(last)
	}
}

func batch(sequence uint64, second int64) *pb.StreamQuotesResponse {
	return &pb.StreamQuotesResponse{BatchSequence: sequence, SendTime: &timestamppb.Timestamp{Seconds: second}}
}

// recorded is when the event with this sequence was.
func recorded(sequence uint64) time.Time {
	return time.Unix(1_000*int64(sequence), 0).UTC()
}

func TestAMissingEventIsNeverPassedOver(t *testing.T) {
	client, ctx := serve(t, &scripted{streams: [][]any{{event(1, nil), event(3, nil), nil}}})
	if sequences, err := take(ctx, client, 2); !errors.Is(err, ErrSequenceGap) || len(sequences) != 1 {
		t.Fatal(sequences, err)
	}
}

func TestAStreamThatIsRefusedForGoodEnds(t *testing.T) {
	service := &scripted{streams: [][]any{{status.Error(codes.PermissionDenied, "no")}}}
	client, ctx := serve(t, service)
	if _, err := take(ctx, client, 1); Decode(err).Code != codes.PermissionDenied || len(service.requests) != 1 {
		t.Fatal(err, len(service.requests))
	}
}

func TestWaitingEndsWithTheEventOrWithTheReadForWhatCameBefore(t *testing.T) {
	working := &pb.Order{OrderId: "o", Version: 1, State: pb.OrderState_ORDER_STATE_WORKING}
	filled := &pb.Order{OrderId: "o", Version: 2, State: pb.OrderState_ORDER_STATE_FILLED}
	snapshot := []any{snapshotBegin(1), snapshotEnd(1)}
	for name, service := range map[string]*scripted{
		"event": {order: working, streams: [][]any{append(snapshot, event(2, filled))}},
		"read":  {order: filled, streams: [][]any{snapshot}},
	} {
		t.Run(name, func(t *testing.T) {
			client, ctx := serve(t, service)
			if order, err := client.WaitForTerminal(ctx, working); err != nil || order.GetVersion() != 2 {
				t.Fatal(order, err)
			}
		})
	}
}
