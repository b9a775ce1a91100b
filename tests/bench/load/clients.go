package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// readTokens has one secret a line; no file, no tokens.
func readTokens(file string) ([]string, error) {
	if file == "" {
		return nil, nil
	}
	content, err := os.ReadFile(file)
	return strings.Fields(string(content)), err
}

// showing is a context in which calls show a token.
func showing(ctx context.Context, token string) context.Context {
	if token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// Of so many calls of a paced client one is an order with a fresh key.
const callsPerOrder = 5

// paced are honest clients: each on a connection of its own, with a token of its own, at a rate of its own. A call is
// begun when its time has come, whatever has become of the ones before, and its latency counts from that time.
func paced(o options) (map[string]any, error) {
	if len(o.tokens) < o.clients {
		return nil, fmt.Errorf("%d clients need as many tokens", o.clients)
	}
	marker := markerIn(o.order)
	start := time.Now().Add(time.Duration(o.warm * float64(time.Second)))
	end := start.Add(time.Duration(o.seconds * float64(time.Second)))
	var group sync.WaitGroup
	var lock sync.Mutex
	var next, failed atomic.Int64
	var firstError atomic.Value
	reads, orders := []time.Duration{}, []time.Duration{}
	one := func(connection *grpc.ClientConn, token string, due time.Time, isOrder bool) {
		defer group.Done()
		method, request := o.method, o.request
		if isOrder {
			method, request = o.orderMethod, append([]byte{}, o.order...)
			fill(request[marker.at:marker.at+marker.length], o.prefix, next.Add(1))
		}
		var response []byte
		ctx, cancel := context.WithTimeout(showing(context.Background(), token), 10*time.Second)
		defer cancel()
		err := connection.Invoke(ctx, method, &request, &response)
		took := time.Since(due)
		if err != nil {
			failed.Add(1)
			firstError.CompareAndSwap(nil, err.Error())
			return
		}
		if due.Before(start) {
			return
		}
		lock.Lock()
		defer lock.Unlock()
		if isOrder {
			orders = append(orders, took)
		} else {
			reads = append(reads, took)
		}
	}
	step := time.Duration(float64(time.Second) / o.rate)
	for client := range o.clients {
		connection, err := dial(o.target)
		if err != nil {
			return nil, err
		}
		defer connection.Close()
		group.Add(1)
		go func() {
			defer group.Done()
			due := time.Now().Add(step * time.Duration(client) / time.Duration(o.clients))
			for number := client; due.Before(end); number++ { // Not all of them order at the same moment.
				time.Sleep(time.Until(due))
				group.Add(1)
				go one(connection, o.tokens[client], due, number%callsPerOrder == 0)
				due = due.Add(step)
			}
		}()
	}
	group.Wait()
	result := map[string]any{"failed": failed.Load(), "error": firstError.Load(), "reads": len(reads), "orders": len(orders)}
	for name, all := range map[string][]time.Duration{"": reads, "order_": orders} {
		sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
		if len(all) > 0 {
			result[name+"p50_us"] = all[len(all)/2].Microseconds()
			result[name+"p99_us"] = all[len(all)*99/100].Microseconds()
		}
	}
	return result, nil
}

// hostile is one client that goes on however it is answered: with `garbage`, or with more of what is right than it
// may have. Each worker waits for its answer and then asks again at once.
func hostile(o options) (map[string]any, error) {
	end := time.Now().Add(time.Duration(o.seconds * float64(time.Second)))
	marker := markerIn(o.order)
	var next, answered atomic.Int64
	var lock sync.Mutex
	codes := map[string]int{}
	var group sync.WaitGroup
	token := o.tokens[len(o.tokens)-1]
	var connection *grpc.ClientConn
	for worker := range o.inFlight {
		if worker%o.perConnection == 0 {
			var err error
			if connection, err = dial(o.target); err != nil {
				return nil, err
			}
			defer connection.Close()
		}
		group.Add(1)
		go func(connection *grpc.ClientConn) {
			defer group.Done()
			var response []byte
			for number := worker; time.Now().Before(end); number++ {
				method, request, shown := o.method, o.request, token
				switch {
				case o.garbage && number%4 == 0:
					method, request = o.orderMethod, []byte("\xff\xff\xff")
				case o.garbage && number%4 == 1:
					method, request = o.orderMethod, nil
				case o.garbage && number%4 == 2:
					method += "OfNothing"
				case o.garbage:
					shown = "gw_emu_00000000_" + strings.Repeat("0", 43)
				case number%callsPerOrder == 0:
					method, request = o.orderMethod, append([]byte{}, o.order...)
					fill(request[marker.at:marker.at+marker.length], o.prefix, next.Add(1))
				}
				ctx, cancel := context.WithDeadline(showing(context.Background(), shown), end)
				err := connection.Invoke(ctx, method, &request, &response)
				cancel()
				answered.Add(1)
				lock.Lock()
				codes[status.Code(err).String()]++
				lock.Unlock()
			}
		}(connection)
	}
	group.Wait()
	return map[string]any{"answered_per_second": float64(answered.Load()) / o.seconds, "codes": codes}, nil
}
