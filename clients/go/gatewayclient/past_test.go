package gatewayclient

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "trading-gateway/clients/go/tradinggatewayv1"
)

// archive has two trades on a page, of which the second is lost once on its way, and no quotes.
type archive struct {
	scripted
	tokens []string
}

func (a *archive) ListTrades(_ context.Context, request *pb.ListTradesRequest) (*pb.ListTradesResponse, error) {
	a.tokens = append(a.tokens, request.GetPageToken())
	if len(a.tokens) == 2 {
		return nil, errLost
	}
	if request.GetPageToken() == "" {
		return &pb.ListTradesResponse{Trades: []*pb.Trade{{TradeId: 1}, {TradeId: 2}}, NextPageToken: "more"}, nil
	}
	return &pb.ListTradesResponse{Trades: []*pb.Trade{{TradeId: 3}}}, nil
}

func (a *archive) ListQuotes(context.Context, *pb.ListQuotesRequest) (*pb.ListQuotesResponse, error) {
	return nil, status.Error(codes.InvalidArgument, "symbols: are of options")
}

func (a *archive) ListBars(context.Context, *pb.ListBarsRequest) (*pb.ListBarsResponse, error) {
	return &pb.ListBarsResponse{Bars: []*pb.Bar{{Symbol: "AAPL"}}}, nil
}

func TestPastValuesComePageAfterPageAndOnlyAsTheyAreTaken(t *testing.T) {
	venue := &archive{}
	client, ctx := serve(t, venue)
	trades := client.PastTrades(ctx, &pb.ListTradesRequest{Symbols: []string{"AAPL"}})
	for range 2 { // the second time from the beginning again
		ids := []int64{}
		for trade, err := range trades {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, trade.GetTradeId())
		}
		if !slices.Equal(ids, []int64{1, 2, 3}) {
			t.Fatal(ids)
		}
	}
	if !slices.Equal(venue.tokens, []string{"", "more", "more", "", "more"}) {
		t.Fatal(venue.tokens)
	}
	for range trades {
		break
	}
	if len(venue.tokens) != 6 {
		t.Fatal("a page that nobody takes was asked for", venue.tokens)
	}
}

func TestAnErrorIsTheLastItemOfPastValues(t *testing.T) {
	client, ctx := serve(t, &archive{})
	items := 0
	for quote, err := range client.PastQuotes(ctx, &pb.ListQuotesRequest{Symbols: []string{"AAPL"}}) {
		items++
		if failure := Decode(err); quote != nil || failure.Code != codes.InvalidArgument {
			t.Fatal(quote, err)
		}
	}
	for bar, err := range client.PastBars(ctx, &pb.ListBarsRequest{Symbols: []string{"AAPL"}}) {
		items++
		if err != nil || bar.GetSymbol() != "AAPL" {
			t.Fatal(bar, err)
		}
	}
	if items != 2 {
		t.Fatal(items)
	}
}
