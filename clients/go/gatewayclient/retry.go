package gatewayclient

import (
	"context"
	"math/rand/v2"
	"path"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "trading-gateway/clients/go/tradinggatewayv1"
)

const (
	// callTimeout bounds a call with all its tries; a context may end it earlier.
	callTimeout = 10 * time.Second
	// tryTimeout bounds one try of a command: the gateway answers it within 2 s and what it was asked to wait, with
	// what is known by then. A try that goes on for longer is lost, and asked again.
	tryTimeout = 4 * time.Second
	// attemptsMax bounds the tries of a call, the first included. With the pauses between they go on for 5 s at least:
	// longer than a gateway takes to come back.
	attemptsMax    = 8
	backoffInitial = 100 * time.Millisecond
	backoffMax     = 5 * time.Second
	// A command may take effect for at least validForMin, for clocks differ; the gateway takes 60 s by its own.
	validForMin = 5 * time.Second
	validForMax = 55 * time.Second
	// cancelsWait is how long the gateway waits for cancels that have to come before a close, or that a kill orders.
	cancelsWait = 5 * time.Second
)

// repeat carries out a unary call: after an ambiguous error it asks the same again, key and valid_until included, with
// growing pauses, and never less than the gateway asks for. Definite errors are the caller's to judge; only a call whose
// token was rotated is made again with the new one, for it did nothing.
func repeat(token *bearer) grpc.UnaryClientInterceptor {
	return func(
		ctx context.Context, method string, request, reply any, connection *grpc.ClientConn,
		invoke grpc.UnaryInvoker, options ...grpc.CallOption,
	) error {
		return repeated(ctx, token, method, request, func(ctx context.Context, request any) error {
			return invoke(ctx, method, request, reply, connection, options...)
		})
	}
}

func repeated(
	ctx context.Context, token *bearer, method string, request any, invoke func(context.Context, any) error,
) error {
	wait := asked(request)
	ctx, cancel := context.WithTimeout(ctx, callTimeout+wait)
	defer cancel()
	request, validUntil := dated(request, time.Now(), remaining(ctx))
	ctx, shown := noting(ctx)
	mayHaveArrived := false
	for attempt := 1; ; attempt++ {
		err := try(ctx, method, wait, func(ctx context.Context) error { return invoke(ctx, request) })
		if err == nil {
			return nil
		}
		failure := Decode(err)
		failure.OutcomeUnknown = !isRead(method) && failure.Key == "" && (failure.OutcomeUnknown || mayHaveArrived)
		mayHaveArrived = mayHaveArrived || failure.OutcomeUnknown
		if mayHaveArrived && failure.Key != KeySpent && failure.Key != KeyTaken {
			failure.MayArriveUntil = validUntil
		}
		if attempt < attemptsMax && token.wasReplaced(err, *shown) {
			continue
		}
		if !failure.Ambiguous() || !isRepeatable(method, request) || attempt == attemptsMax || !pause(ctx, attempt-1, failure) {
			return failure
		}
	}
}

// try is one try, bounded where the gateway answers promptly.
func try(ctx context.Context, method string, wait time.Duration, invoke func(context.Context) error) error {
	if !isCommand(method) {
		return invoke(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout+wait)
	defer cancel()
	return invoke(ctx)
}

// isCommand: a command that the gateway answers promptly.
func isCommand(method string) bool {
	switch path.Base(method) {
	case "SubmitOrder", "ReplaceOrder", "CancelOrder", "ClosePosition", "SetTradingState":
		return true
	default:
		return false
	}
}

// isRepeatable: asking twice does nothing twice. CancelOrders is not: a second call would also take the orders that
// were submitted in between. To stop trading may be said twice, to loosen it not.
func isRepeatable(method string, request any) bool {
	if change, ok := request.(*pb.SetTradingStateRequest); ok {
		return change.ExpectedVersion == nil
	}
	name := path.Base(method)
	return isRead(method) || isCommand(method) || name == "ClosePositions" || name == "ClearFaults" || name == "RevokeToken"
}

// isRead: it changes nothing, so that a lost answer leaves nothing in doubt.
func isRead(method string) bool {
	name := path.Base(method)
	return strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "List") || name == "PreviewOrder"
}

// asked is how long the gateway was asked to wait, on top of the usual.
func asked(request any) time.Duration {
	switch request := request.(type) {
	case *pb.CancelOrderRequest:
		return request.GetWaitForTerminal().AsDuration()
	case *pb.ClosePositionRequest:
		if request.GetCancelOrders() {
			return cancelsWait
		}
	case *pb.SetTradingStateRequest:
		if request.GetMode() == pb.TradingMode_TRADING_MODE_KILLED {
			return cancelsWait
		}
	}
	return 0
}

// dated gives a command a valid_until that all its tries share. Without one the gateway would count from each try's
// arrival, also from that of a try which a broken network delivers when the caller has long gone on.
func dated(request any, now time.Time, timeout time.Duration) (any, time.Time) {
	message, ok := request.(proto.Message)
	if !ok {
		return request, time.Time{}
	}
	field := message.ProtoReflect().Descriptor().Fields().ByName("valid_until")
	if field == nil {
		return request, time.Time{}
	}
	if !message.ProtoReflect().Has(field) {
		message = proto.Clone(message)
		end := timestamppb.New(now.Add(min(max(timeout, validForMin), validForMax)))
		message.ProtoReflect().Set(field, protoreflect.ValueOfMessage(end.ProtoReflect()))
	}
	end := message.(interface{ GetValidUntil() *timestamppb.Timestamp }).GetValidUntil()
	return message, end.AsTime()
}

// remaining is the time that a context has left; the call's own when it has no end.
func remaining(ctx context.Context) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return time.Until(end)
	}
	return callTimeout
}

// pause waits before another try; false when the context ends first.
func pause(ctx context.Context, failures int, failure *Error) bool {
	ceiling := min(backoffMax, backoffInitial<<min(failures, 10))
	wait := max(ceiling/2+rand.N(ceiling/2), failure.RetryAfter)
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}
