package main

import (
	"bytes"
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// rawCodec hands bytes through: what is measured is the server.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append((*v.(*[]byte))[:0], data...)
	return nil
}
func (rawCodec) Name() string { return "proto" }

func dial(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(64<<20)))
}

func unary(o options) (map[string]any, error) {
	connection, err := dial(o.target)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	var next, turn, failed, replayed, counted atomic.Int64
	var firstError atomic.Value
	marker := markerIn(o.request)
	start := time.Now().Add(time.Duration(o.warm * float64(time.Second)))
	end := start.Add(time.Duration(o.seconds * float64(time.Second)))
	latencies := make([][]time.Duration, o.inFlight)
	var group sync.WaitGroup
	for worker := range o.inFlight {
		group.Add(1)
		go func() {
			defer group.Done()
			var response []byte
			request := bytes.Clone(o.request)
			for time.Now().Before(end) {
				if marker.length > 0 {
					fill(request[marker.at:marker.at+marker.length], o.prefix, next.Add(1))
				}
				began := time.Now()
				token := ""
				if len(o.tokens) > 0 {
					token = o.tokens[int(turn.Add(1))%len(o.tokens)]
				}
				ctx, cancel := context.WithTimeout(showing(context.Background(), token), 10*time.Second)
				err := connection.Invoke(ctx, o.method, &request, &response)
				cancel()
				took := time.Since(began)
				if err != nil {
					failed.Add(1)
					firstError.CompareAndSwap(nil, err.Error())
					continue
				}
				if varintField(response, 2) == 1 && marker.length > 0 {
					replayed.Add(1)
				}
				if began.After(start) && began.Add(took).Before(end) {
					counted.Add(1)
					latencies[worker] = append(latencies[worker], took)
				}
			}
		}()
	}
	group.Wait()
	all := []time.Duration{}
	for _, some := range latencies {
		all = append(all, some...)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	result := map[string]any{
		"per_second": float64(counted.Load()) / o.seconds,
		"failed":     failed.Load(), "replayed": replayed.Load(), "sent": next.Load(),
		"error": firstError.Load(),
	}
	if len(all) > 0 {
		result["p50_us"] = all[len(all)/2].Microseconds()
		result["p99_us"] = all[len(all)*99/100].Microseconds()
	}
	return result, nil
}

type place struct{ at, length int }

// markerIn finds the run of '@' in a request.
func markerIn(request []byte) place {
	at := bytes.IndexByte(request, '@')
	if at < 0 {
		return place{}
	}
	length := 0
	for at+length < len(request) && request[at+length] == '@' {
		length++
	}
	return place{at, length}
}

func fill(where []byte, prefix string, number int64) {
	copy(where, fmt.Sprintf("%s%0*d", prefix, len(where)-len(prefix), number))
}

// varintField reads a top-level varint of a message; 0 when it is absent.
func varintField(message []byte, number protowire.Number) uint64 {
	for len(message) > 0 {
		field, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			return 0
		}
		message = message[length:]
		if field == number && kind == protowire.VarintType {
			value, _ := protowire.ConsumeVarint(message)
			return value
		}
		if length = protowire.ConsumeFieldValue(field, kind, message); length < 0 {
			return 0
		}
		message = message[length:]
	}
	return 0
}
