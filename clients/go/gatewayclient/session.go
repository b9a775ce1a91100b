package gatewayclient

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"

	pb "trading-gateway/clients/go/tradinggatewayv1"
)

// sessionCredits are batches on their way where nothing else is asked for: enough for a journey of some milliseconds, and
// little that can become old.
const sessionCredits = 8

// sessionSymbolsMax is the symbols of one command: the gateway's symbols_per_stream_max as it is unless it was set, and
// what the protos say of requests. A command with more is refused whole.
const sessionSymbolsMax = 500

// contractCharacters are those of an option's symbol at least: its root, six of its expiration, P or C, eight of its
// strike price (OCC).
const contractCharacters = 16

// Session is every channel of live data in one stream, its subscriptions changed while it runs. After a break it holds
// the same subscriptions again. Its methods may be called by many goroutines; one follows it.
type Session struct {
	client  *Client
	options *pb.SessionOptions

	mu       sync.Mutex
	held     []holding
	stream   grpc.BidiStreamingClient[pb.MarketDataSessionRequest, pb.MarketDataSessionResponse]
	credited uint64
}

// holding is one symbol of a subscription, and the command that added it.
type holding struct {
	channel    pb.Channel
	assetClass pb.AssetClass
	feed       pb.DataFeed
	commandID  string
	symbol     string
}

// Session prepares a session; Follow opens it. Without options there are credits: no more batches are on their way than
// the reader has taken, so that a slow one finds what is newest.
func (c *Client) Session(options *pb.SessionOptions) *Session {
	if options == nil {
		options = &pb.SessionOptions{MaxUnacknowledgedBatches: sessionCredits}
	}
	return &Session{client: c, options: options}
}

// Subscribe adds symbols, now and after every break; what becomes of them is told in acks.
func (s *Session) Subscribe(wanted *pb.Subscription, commandID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(wanted, isAlike)
	for _, symbol := range wanted.GetSymbols() {
		s.held = append(s.held, holding{
			wanted.GetChannel(), wanted.GetAssetClass(), wanted.GetFeed(), commandID, symbol,
		})
	}
	return s.send(&pb.MarketDataSessionRequest{
		CommandId: commandID, Command: &pb.MarketDataSessionRequest_Subscribe{Subscribe: wanted},
	})
}

// Unsubscribe removes symbols, of any class and feed that is not named.
func (s *Session) Unsubscribe(unwanted *pb.Subscription, commandID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(unwanted, mayBeAlike)
	return s.send(&pb.MarketDataSessionRequest{
		CommandId: commandID, Command: &pb.MarketDataSessionRequest_Unsubscribe{Unsubscribe: unwanted},
	})
}

// List asks for what the gateway holds: a status with Subscriptions comes.
func (s *Session) List(commandID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.send(&pb.MarketDataSessionRequest{
		CommandId: commandID, Command: &pb.MarketDataSessionRequest_List{List: &pb.ListSubscriptions{}},
	})
}

// Follow iterates over values until the context ends, as FollowQuotes. A batch is acknowledged when its values were
// taken, not when they were received. Events of kinds that this build does not know are handed out empty.
func (s *Session) Follow(ctx context.Context) iter.Seq2[Item[*pb.MarketEvent], error] {
	return items(ctx, s.client, kind[pb.MarketDataSessionResponse, *pb.MarketEvent]{
		symbols:   s.symbols,
		heartbeat: s.options.GetHeartbeatInterval().AsDuration(),
		open:      s.open,
		status:    func(batch *pb.MarketDataSessionResponse) **pb.StreamStatus { return &batch.Status },
		values:    (*pb.MarketDataSessionResponse).GetEvents,
		flag:      flagEvent,
		taken:     s.taken,
	})
}

// open begins a connection: how the session behaves, then everything that it holds.
func (s *Session) open(ctx context.Context) (grpc.ServerStreamingClient[pb.MarketDataSessionResponse], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream, s.credited = nil, 0
	stream, err := s.client.MarketData.MarketDataSession(ctx)
	if err != nil {
		return nil, err
	}
	s.stream = stream
	opening := []*pb.MarketDataSessionRequest{
		{Command: &pb.MarketDataSessionRequest_Open{Open: s.options}},
	}
	for _, command := range append(opening, s.subscriptions()...) {
		if err := s.send(command); err != nil {
			return nil, err
		}
	}
	return stream, nil
}

// subscriptions are the commands that add what is held: symbols of one class that were added alike come together, as many
// as may.
func (s *Session) subscriptions() []*pb.MarketDataSessionRequest {
	var commands []*pb.MarketDataSessionRequest
	filling := map[holding]*pb.Subscription{} // by what is alike: the last one
	for _, one := range s.held {
		symbol, assetClass := one.symbol, one.assetClass
		one.symbol, one.assetClass = "", classToldBy(one)
		subscription := filling[one]
		if subscription == nil || len(subscription.Symbols) == sessionSymbolsMax {
			subscription = &pb.Subscription{Channel: one.channel, AssetClass: assetClass, Feed: one.feed}
			commands = append(commands, &pb.MarketDataSessionRequest{
				CommandId: one.commandID,
				Command:   &pb.MarketDataSessionRequest_Subscribe{Subscribe: subscription},
			})
			filling[one] = subscription
		}
		subscription.Symbols = append(subscription.Symbols, symbol)
	}
	return commands
}

// taken acknowledges: everything up to here was handed out, and the caller has come back.
func (s *Session) taken(sequence uint64) {
	window := uint64(s.options.GetMaxUnacknowledgedBatches())
	s.mu.Lock()
	defer s.mu.Unlock()
	if window == 0 || sequence-s.credited < max(1, window/2) {
		return
	}
	s.credited = sequence
	credit := &pb.MarketDataSessionRequest_Credit{Credit: &pb.BatchCredit{BatchSequence: sequence}}
	_ = s.send(&pb.MarketDataSessionRequest{Command: credit}) // a stream that broke says so when it is read
}

// send gives a command to the connection; one that broke says so when it is read, and the next begins with what is held.
func (s *Session) send(command *pb.MarketDataSessionRequest) error {
	if s.stream == nil {
		return nil
	}
	if err := s.stream.Send(command); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (s *Session) drop(given *pb.Subscription, alike func(one, other int32) bool) {
	s.held = slices.DeleteFunc(s.held, func(one holding) bool {
		return one.channel == given.GetChannel() && alike(int32(one.assetClass), int32(given.GetAssetClass())) &&
			alike(int32(one.feed), int32(given.GetFeed())) && slices.Contains(given.GetSymbols(), one.symbol)
	})
}

func isAlike(one, other int32) bool { return one == other }

// mayBeAlike: what either does not name may be what the other does.
func mayBeAlike(one, other int32) bool { return one == other || one == 0 || other == 0 }

// classToldBy is the class that the symbol tells where none was named, as far as it matters here: a command is of one.
func classToldBy(one holding) pb.AssetClass {
	switch {
	case one.assetClass != pb.AssetClass_ASSET_CLASS_UNSPECIFIED:
		return one.assetClass
	case strings.Contains(one.symbol, "/"):
		return pb.AssetClass_ASSET_CLASS_CRYPTO
	case len(one.symbol) >= contractCharacters:
		return pb.AssetClass_ASSET_CLASS_US_OPTION
	default:
		return pb.AssetClass_ASSET_CLASS_US_EQUITY
	}
}

func (s *Session) symbols() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	symbols := make([]string, 0, len(s.held))
	for _, one := range s.held {
		symbols = append(symbols, one.symbol)
	}
	slices.Sort(symbols)
	return slices.Compact(symbols)
}

// flagEvent marks what can become old; what says what was cannot.
func flagEvent(event *pb.MarketEvent) {
	switch event := event.GetEvent().(type) {
	case *pb.MarketEvent_Quote:
		event.Quote.Stale = true
	case *pb.MarketEvent_Trade:
		event.Trade.Stale = true
	case *pb.MarketEvent_Bar:
		event.Bar.Stale = true
	case *pb.MarketEvent_OrderBook:
		event.OrderBook.Stale = true
	}
}
