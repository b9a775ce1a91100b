// Command firststrategy watches quotes, buys when the offer turns up, and waits for the fill.
//
//	go run ./cmd/firststrategy -target 127.0.0.1:50051 -symbol AAPL -quantity 1
//
// It needs a gateway (`make run` starts one with a market of its own, without keys) and ends within seconds. Where a
// token or TLS is wanted, they come from the environment: GATEWAY_TOKEN_FILE or GATEWAY_TOKEN, GATEWAY_TLS_CA.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"trading-gateway/clients/go/gatewayclient"
	pb "trading-gateway/clients/go/tradinggatewayv1"
)

const (
	// turnUSD is how far above its lowest the offer has to be.
	turnUSD = 0.01
	// submitsMax bounds the calls under one key; each is repeated by the client as well.
	submitsMax = 10
	// patience bounds the whole run.
	patience = time.Minute
)

func main() {
	target := flag.String("target", "", "HOST:PORT; default: GATEWAY_TARGET, else "+gatewayclient.DefaultTarget)
	symbol := flag.String("symbol", "AAPL", "what to buy")
	quantity := flag.String("quantity", "1", "how much of it")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := run(ctx, *target, *symbol, *quantity); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run watches, buys and waits.
func run(ctx context.Context, target, symbol, quantity string) error {
	client, err := gatewayclient.Dial(target)
	if err != nil {
		return err
	}
	defer client.Close()

	account, err := client.Account.GetAccount(ctx, &pb.GetAccountRequest{})
	if err != nil {
		return gatewayclient.Decode(err)
	}
	cash := account.GetAccount()
	fmt.Printf("%s %s in cash; watching %s\n", cash.GetCash(), cash.GetCurrencyCode(), symbol)

	quote, err := waitForTurn(ctx, client, symbol)
	if err != nil {
		return err
	}
	fmt.Printf("offer turned up to %v: buying %s\n", quote.GetAskPrice(), quantity)

	order, err := buy(ctx, client, symbol, quantity)
	if err != nil {
		return err
	}
	order, err = client.WaitForTerminal(ctx, order)
	if err != nil {
		return fmt.Errorf("the order goes on: %w", err)
	}
	fmt.Println(gatewayclient.Describe(order))

	position, err := client.Account.GetPosition(ctx, &pb.GetPositionRequest{
		Symbol: symbol, MaxStaleness: durationpb.New(0),
	})
	if err != nil {
		return gatewayclient.Decode(err)
	}
	held := position.GetPosition()
	fmt.Printf("position: %s %s at %s on average\n", held.GetQuantity(), symbol, held.GetAverageEntryPrice())
	return nil
}

// waitForTurn returns the first quote whose offer is above the lowest one seen.
func waitForTurn(ctx context.Context, client *gatewayclient.Client, symbol string) (*pb.Quote, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a stream is left by ending its context
	lowest := math.Inf(1)
	request := &pb.StreamQuotesRequest{Symbols: []string{symbol}}
	for item, err := range client.FollowQuotes(ctx, request) {
		if err != nil {
			return nil, err
		}
		if item.Broken != nil {
			fmt.Println("the connection broke: it is opened again")
		}
		for _, gap := range item.Status.GetGaps() {
			fmt.Printf("nothing was received from %s for a while: starting over\n", gap.GetFeed())
			lowest = math.Inf(1)
		}
		quote := item.Value
		if quote.GetStale() || quote.GetAskPrice() == 0 {
			continue
		}
		lowest = min(lowest, quote.GetAskPrice())
		if quote.GetAskPrice() >= lowest+turnUSD {
			return quote, nil
		}
	}
	return nil, ctx.Err()
}

// buy submits a market order, and goes on asking with the same key until the gateway has spoken about it. A strategy that
// must survive its own crash writes the key down before.
func buy(ctx context.Context, client *gatewayclient.Client, symbol, quantity string) (*pb.Order, error) {
	timeInForce := pb.TimeInForce_TIME_IN_FORCE_DAY
	if strings.Contains(symbol, "/") {
		timeInForce = pb.TimeInForce_TIME_IN_FORCE_GTC
	}
	request := &pb.SubmitOrderRequest{
		ClientOrderId: gatewayclient.NewKey("first"),
		Spec: &pb.OrderSpec{
			Symbol:      symbol,
			Side:        pb.OrderSide_ORDER_SIDE_BUY,
			Size:        &pb.OrderSpec_Quantity{Quantity: quantity},
			OrderType:   pb.OrderType_ORDER_TYPE_MARKET,
			TimeInForce: timeInForce,
		},
	}
	maybe := errors.New("the order may exist: ask again with the same key")
	unknown := false // once a call's end is not known, only a word about the key settles it
	for range submitsMax {
		answer, err := client.Trading.SubmitOrder(ctx, request)
		failure := gatewayclient.Decode(err)
		switch {
		case failure == nil:
			return answer.GetOrder(), nil
		case failure.Key == gatewayclient.KeySpent:
			return nil, fmt.Errorf("there is no order, and there will be none under this key: %w", failure)
		case failure.Key == gatewayclient.KeyTaken:
			return nil, fmt.Errorf("another order has this key: %w", failure)
		case failure.Key == "" && (unknown || failure.OutcomeUnknown):
			unknown = true
		case !failure.Ambiguous():
			return nil, failure // this call did nothing, and none before it is in doubt
		}
		if ctx.Err() != nil {
			return nil, errors.Join(failure, maybe)
		}
		fmt.Printf("%v: asking again with the same key\n", failure)
	}
	return nil, maybe
}
