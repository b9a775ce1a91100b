package gatewayclient

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "trading-gateway/clients/go/tradinggatewayv1"
)

// sessions answers sessions: a number waits until so many commands have come.
type sessions struct {
	pb.UnimplementedTradingServiceServer
	pb.UnimplementedMarketDataServiceServer
	steps [][]any
	said  [][]string
}

func (s *sessions) MarketDataSession(
	stream grpc.BidiStreamingServer[pb.MarketDataSessionRequest, pb.MarketDataSessionResponse],
) error {
	said := []string{}
	defer func() { s.said = append(s.said, said) }()
	for _, step := range next(&s.steps) {
		switch step := step.(type) {
		case int:
			for len(said) < step {
				command, err := stream.Recv()
				if err != nil {
					return err
				}
				said = append(said, short(command))
			}
		case *pb.MarketDataSessionResponse:
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

func short(command *pb.MarketDataSessionRequest) string {
	switch told := command.GetCommand().(type) {
	case *pb.MarketDataSessionRequest_Open:
		return fmt.Sprint("open ", told.Open.GetMaxUnacknowledgedBatches())
	case *pb.MarketDataSessionRequest_Subscribe:
		return fmt.Sprintf("+%d%s%s", told.Subscribe.GetChannel(), told.Subscribe.GetSymbols(), command.GetCommandId())
	case *pb.MarketDataSessionRequest_Unsubscribe:
		return fmt.Sprintf("-%d%s", told.Unsubscribe.GetChannel(), told.Unsubscribe.GetSymbols())
	case *pb.MarketDataSessionRequest_Credit:
		return fmt.Sprint("credit ", told.Credit.GetBatchSequence())
	default:
		return "list"
	}
}

func events(sequence uint64, symbols ...string) *pb.MarketDataSessionResponse {
	sent := &pb.MarketDataSessionResponse{BatchSequence: sequence, SendTime: timestamppb.Now()}
	for _, symbol := range symbols {
		event := &pb.MarketEvent_Quote{Quote: &pb.Quote{Symbol: symbol}}
		sent.Events = append(sent.Events, &pb.MarketEvent{Event: event})
	}
	return sent
}

func TestASessionHoldsTheSameAgainAndAcknowledgesWhatWasTaken(t *testing.T) {
	service := &sessions{steps: [][]any{
		{3, events(1, "AAPL"), 5, events(2, "MSFT"), events(3), events(4, "MSFT"), 6, events(5, "LAST"), errLost},
		{3, events(1, "AAPL")},
	}}
	client, ctx := serve(t, service)
	session := client.Session(nil)
	quotes := func(symbols ...string) *pb.Subscription {
		return &pb.Subscription{Channel: pb.Channel_CHANNEL_QUOTES, Symbols: symbols}
	}
	bars := &pb.Subscription{Channel: pb.Channel_CHANNEL_BARS, Symbols: []string{"SPY"}}
	for _, err := range []error{session.Subscribe(quotes("AAPL", "TSLA", "MSFT"), "c-1"), session.Subscribe(bars, "")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := []string{}
	for item, err := range session.Follow(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case item.Broken != nil:
			got = append(got, "broken")
		case item.Status != nil:
			got = append(got, fmt.Sprint(item.Status.GetGaps()[0].GetSymbols()))
		default:
			got = append(got, item.Value.GetQuote().GetSymbol())
		}
		if len(got) == 1 {
			if err := session.Unsubscribe(quotes("TSLA"), ""); err != nil {
				t.Fatal(err)
			}
			if err := session.List(""); err != nil {
				t.Fatal(err)
			}
		}
		if len(got) == 7 {
			break
		}
	}
	want := []string{"AAPL", "MSFT", "MSFT", "LAST", "broken", "[AAPL MSFT SPY]", "AAPL"}
	if !slices.Equal(got, want) {
		t.Fatal(got)
	}
	first := []string{"open 8", "+1[AAPL TSLA MSFT]c-1", "+3[SPY]", "-1[TSLA]", "list", "credit 4"}
	if !slices.Equal(service.said[0], first) {
		t.Fatal(service.said[0])
	}
}

func TestWhatIsHeldIsAskedForAsItWasAdded(t *testing.T) {
	session := (&Client{}).Session(&pb.SessionOptions{})
	for command, symbols := range [][]string{{"A", "B", "C"}, {"B", "D"}} {
		wanted := &pb.Subscription{Channel: pb.Channel_CHANNEL_QUOTES, Symbols: symbols}
		if err := session.Subscribe(wanted, fmt.Sprint(command)); err != nil {
			t.Fatal(err)
		}
	}
	got := []string{}
	for _, command := range session.subscriptions() {
		got = append(got, short(command))
	}
	if !slices.Equal(got, []string{"+1[A C]0", "+1[B D]1"}) {
		t.Fatal(got)
	}
}

// The gateway would refuse the whole of a command into which two calls were put together.
func TestASessionAddsWhatItHoldsInCommandsOfNoMoreSymbolsThanTheGatewayTakes(t *testing.T) {
	session := (&Client{}).Session(&pb.SessionOptions{})
	symbols := []string{}
	for number := range 1300 {
		symbols = append(symbols, fmt.Sprint("S", number))
	}
	for _, call := range []struct {
		commandID string
		symbols   []string
	}{{"", symbols[:400]}, {"", symbols[400:800]}, {"c-3", symbols[800:]}} {
		wanted := &pb.Subscription{Channel: pb.Channel_CHANNEL_QUOTES, Symbols: call.symbols}
		if err := session.Subscribe(wanted, call.commandID); err != nil {
			t.Fatal(err)
		}
	}
	got := []string{}
	for _, command := range session.subscriptions() {
		got = append(got, short(command))
	}
	want := []string{
		fmt.Sprintf("+1%s", symbols[:500]), fmt.Sprintf("+1%s", symbols[500:800]), fmt.Sprintf("+1%sc-3", symbols[800:]),
	}
	if !slices.Equal(got, want) {
		t.Fatal(got)
	}
}

// One for each call would be more than the gateway reads ahead.
func TestASessionAddsWhatItHoldsInFewCommandsHoweverItsCallsTookTurns(t *testing.T) {
	session := (&Client{}).Session(&pb.SessionOptions{})
	for number := range 100 {
		for _, channel := range []pb.Channel{pb.Channel_CHANNEL_QUOTES, pb.Channel_CHANNEL_TRADES} {
			wanted := &pb.Subscription{Channel: channel, Symbols: []string{fmt.Sprint("S", number)}}
			if err := session.Subscribe(wanted, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	commands := session.subscriptions()
	if len(commands) != 2 {
		t.Fatal(len(commands))
	}
	for _, command := range commands {
		if symbols := command.GetSubscribe().GetSymbols(); len(symbols) != 100 || symbols[99] != "S99" {
			t.Fatal(symbols)
		}
	}
}

func TestOnlyWhatCanBecomeOldIsFlagged(t *testing.T) {
	quote, trade, bar, book := &pb.Quote{}, &pb.Trade{}, &pb.Bar{}, &pb.OrderBook{}
	for _, event := range []*pb.MarketEvent{
		{Event: &pb.MarketEvent_Quote{Quote: quote}}, {Event: &pb.MarketEvent_Trade{Trade: trade}},
		{Event: &pb.MarketEvent_Bar{Bar: bar}}, {Event: &pb.MarketEvent_OrderBook{OrderBook: book}},
		{Event: &pb.MarketEvent_TradeCancel{TradeCancel: &pb.TradeCancel{}}}, {},
	} {
		flagEvent(event)
	}
	if !quote.GetStale() || !trade.GetStale() || !bar.GetStale() || !book.GetStale() {
		t.Fatal(quote, trade, bar, book)
	}
}

// The gateway would refuse the whole of a command that is of two.
func TestASessionAddsWhatItHoldsInCommandsOfOneAssetClass(t *testing.T) {
	session := (&Client{}).Session(&pb.SessionOptions{})
	for _, symbol := range []string{"AAPL", "BTC/USD", "AAPL261218C00250000", "MSFT", "ETH/USD", "NVDA"} {
		wanted := &pb.Subscription{Channel: pb.Channel_CHANNEL_QUOTES, Symbols: []string{symbol}}
		if err := session.Subscribe(wanted, ""); err != nil {
			t.Fatal(err)
		}
	}
	unwanted := &pb.Subscription{
		Channel: pb.Channel_CHANNEL_QUOTES, Symbols: []string{"NVDA"}, Feed: pb.DataFeed_DATA_FEED_IEX,
	}
	if err := session.Unsubscribe(unwanted, ""); err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, command := range session.subscriptions() {
		got = append(got, short(command))
	}
	if !slices.Equal(got, []string{"+1[AAPL MSFT]", "+1[BTC/USD ETH/USD]", "+1[AAPL261218C00250000]"}) {
		t.Fatal(got)
	}
}
