// Command survivingstrategy may be killed at any line: it places one order and tells every event of it once.
//
//	go run ./cmd/survivingstrategy -state strategy.json -symbol AAPL -quantity 1
//
// Run it, kill it (`kill -9`), run it again with the same file. The file has the key of the order, written before the
// order is submitted, and the token of the newest event, in one replacement with what was made of that event.
// Where a token or TLS is wanted, they come from the environment: GATEWAY_TOKEN_FILE or GATEWAY_TOKEN, GATEWAY_TLS_CA.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"trading-gateway/clients/go/gatewayclient"
	pb "trading-gateway/clients/go/tradinggatewayv1"
)

const (
	// submitsMax bounds the calls under one key in one run; each is repeated by the client as well.
	submitsMax = 10
	// patience bounds the whole run.
	patience = time.Minute
)

func main() {
	target := flag.String("target", "", "HOST:PORT; default: GATEWAY_TARGET, else "+gatewayclient.DefaultTarget)
	path := flag.String("state", "", "the file that it remembers in")
	symbol := flag.String("symbol", "AAPL", "what to buy")
	quantity := flag.String("quantity", "1", "how much of it")
	flag.Parse()
	if *path == "" {
		fmt.Fprintln(os.Stderr, "-state names the file that it remembers in")
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := run(ctx, *target, *path, *symbol, *quantity); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run follows the book from the kept token, submits under the kept key, and goes on until the order is done.
func run(ctx context.Context, target, path, symbol, quantity string) error {
	memory, err := remember(path)
	if err != nil {
		return err
	}
	if memory.Done {
		fmt.Printf("done in an earlier run: %s filled\n", memory.Filled)
		return nil
	}
	client, err := gatewayclient.Dial(target)
	if err != nil {
		return err
	}
	defer client.Close()

	ctx, cancel := context.WithCancel(ctx) // the stream is left by ending its context
	defer cancel()
	submitted := false
	for update, err := range client.OrderUpdates(ctx, memory.subscription(), onStartedOver) {
		if err != nil {
			return err
		}
		if memory.Token == "" { // from here on, before the order can exist
			memory.Token = update.GetResumeToken()
			if err := memory.save(); err != nil {
				return err
			}
		}
		if !submitted && memory.Token != "" {
			if err := submit(ctx, client, memory.Key, symbol, quantity); err != nil {
				return err
			}
			submitted = true
		}
		if err := memory.see(ctx, client, update); err != nil || memory.Done {
			return err
		}
	}
	return ctx.Err()
}

// submit asks until the gateway has spoken about this key, never under another one.
func submit(ctx context.Context, client *gatewayclient.Client, key, symbol, quantity string) error {
	request := &pb.SubmitOrderRequest{ClientOrderId: key, Spec: &pb.OrderSpec{
		Symbol:      symbol,
		Side:        pb.OrderSide_ORDER_SIDE_BUY,
		Size:        &pb.OrderSpec_Quantity{Quantity: quantity},
		OrderType:   pb.OrderType_ORDER_TYPE_MARKET,
		TimeInForce: timeInForce(symbol),
	}}
	for range submitsMax {
		_, err := client.Trading.SubmitOrder(ctx, request)
		failure := gatewayclient.Decode(err)
		if failure == nil {
			return nil
		}
		// It says what is so; a strategy decides here whether it wants another order, under another key.
		if failure.Key == gatewayclient.KeySpent || failure.Key == gatewayclient.KeyTaken ||
			!(failure.Ambiguous() || failure.OutcomeUnknown) || ctx.Err() != nil {
			return failure
		}
		fmt.Printf("%v: asking again with the same key\n", failure)
	}
	return errors.New("nothing is known of " + key + ": run this again")
}

// see makes what is to be made of an update, and remembers both at once.
func (m *memory) see(ctx context.Context, client *gatewayclient.Client, update *pb.StreamOrderUpdatesResponse) error {
	order := update.GetEvent().GetOrder()
	if update.GetSnapshotEnd() != nil { // events were lost: the order may have ended among them
		ref := &pb.OrderRef{Ref: &pb.OrderRef_ClientOrderId{ClientOrderId: m.Key}}
		found, err := client.Trading.GetOrder(ctx, &pb.GetOrderRequest{Order: ref})
		if err != nil {
			return err
		}
		order = found.GetOrder()
	}
	if order.GetClientOrderId() != m.Key {
		return nil
	}
	if token := update.GetResumeToken(); token != "" {
		m.Token = token
	}
	m.Filled, m.Done = order.GetFilledQuantity(), gatewayclient.IsTerminal(order)
	if err := m.save(); err != nil {
		return err
	}
	fmt.Printf("%d: %s\n", update.GetSequence(), gatewayclient.Describe(order))
	return nil
}

func onStartedOver(notice gatewayclient.StartedOver) {
	fmt.Printf("the events since %v cannot be had (%s): reading the order instead\n", notice.ClosedSince, notice.Reason)
}

func timeInForce(symbol string) pb.TimeInForce {
	if strings.Contains(symbol, "/") {
		return pb.TimeInForce_TIME_IN_FORCE_GTC
	}
	return pb.TimeInForce_TIME_IN_FORCE_DAY
}
