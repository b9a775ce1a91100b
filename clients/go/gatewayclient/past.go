package gatewayclient

import (
	"context"
	"iter"

	"google.golang.org/protobuf/proto"

	pb "trading-gateway/clients/go/tradinggatewayv1"
)

// PastBars gives past bars one by one, by symbol and then by time, and asks for the next page when one is taken. What a
// lost connection interrupts is asked again. PageSize is how many are fetched at once; PageToken is where it begins, and
// it goes on to the end of the range. The error, if one comes, is the last item. Ranges of more than a few pages cost
// fewer requests by MarketData.StreamHistoricalBars.
func (c *Client) PastBars(ctx context.Context, request *pb.ListBarsRequest) iter.Seq2[*pb.Bar, error] {
	return pages(func(token string) ([]*pb.Bar, string, error) {
		wanted := proto.CloneOf(request)
		if token != "" {
			wanted.PageToken = token
		}
		page, err := c.MarketData.ListBars(ctx, wanted)
		return page.GetBars(), page.GetNextPageToken(), err
	})
}

// PastQuotes gives past quotes, as PastBars; of options there are none.
func (c *Client) PastQuotes(ctx context.Context, request *pb.ListQuotesRequest) iter.Seq2[*pb.Quote, error] {
	return pages(func(token string) ([]*pb.Quote, string, error) {
		wanted := proto.CloneOf(request)
		if token != "" {
			wanted.PageToken = token
		}
		page, err := c.MarketData.ListQuotes(ctx, wanted)
		return page.GetQuotes(), page.GetNextPageToken(), err
	})
}

// PastTrades gives past trades, as PastBars; Update says what became of one since.
func (c *Client) PastTrades(ctx context.Context, request *pb.ListTradesRequest) iter.Seq2[*pb.Trade, error] {
	return pages(func(token string) ([]*pb.Trade, string, error) {
		wanted := proto.CloneOf(request)
		if token != "" {
			wanted.PageToken = token
		}
		page, err := c.MarketData.ListTrades(ctx, wanted)
		return page.GetTrades(), page.GetNextPageToken(), err
	})
}

// pages goes through page after page until one names no next.
func pages[V any](ask func(token string) ([]V, string, error)) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		for token := ""; ; {
			values, next, err := ask(token)
			if err != nil {
				var none V
				yield(none, err)
				return
			}
			for _, value := range values {
				if !yield(value, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			token = next
		}
	}
}
