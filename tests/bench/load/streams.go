package main

import (
	"context"
	"encoding/binary"
	"math"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of StreamQuotesResponse and Quote.
const (
	fieldQuotes        = 1
	fieldBatchSequence = 2
	fieldBidSize       = 4
)

// subscriber is what one stream received. bid_size carries the publisher's number of the quote, so that gaps,
// repeats and disorder are seen without parsing more.
type subscriber struct {
	messages, quotes int64
	gaps, backwards  int64
	batch            uint64
	lastNumber       float64
	err              error
}

func stream(o options) (map[string]any, error) {
	subscribers := make([]*subscriber, o.streams)
	var measuring atomic.Bool
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var group sync.WaitGroup
	for i := range subscribers {
		subscribers[i] = &subscriber{}
		connection, err := dial(o.target)
		if err != nil {
			return nil, err
		}
		defer connection.Close()
		group.Add(1)
		go func(s *subscriber) {
			defer group.Done()
			s.err = s.run(ctx, connection, o, &measuring)
		}(subscribers[i])
	}
	time.Sleep(time.Duration(o.warm * float64(time.Second)))
	measuring.Store(true)
	began := time.Now()
	time.Sleep(time.Duration(o.seconds * float64(time.Second)))
	measuring.Store(false)
	took := time.Since(began).Seconds()
	cancel()
	group.Wait()
	return summary(subscribers, took), nil
}

func (s *subscriber) run(ctx context.Context, c *grpc.ClientConn, o options, measuring *atomic.Bool) error {
	call, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, o.method)
	if err != nil {
		return err
	}
	if err = call.SendMsg(&o.request); err != nil {
		return err
	}
	if err = call.CloseSend(); err != nil {
		return err
	}
	var message []byte
	for {
		if err = call.RecvMsg(&message); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		s.take(message, measuring.Load())
	}
}

func (s *subscriber) take(message []byte, count bool) {
	if count {
		s.messages++
	}
	for len(message) > 0 {
		field, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			return
		}
		message = message[length:]
		length = protowire.ConsumeFieldValue(field, kind, message)
		if length < 0 {
			return
		}
		switch {
		case field == fieldQuotes && kind == protowire.BytesType:
			body, _ := protowire.ConsumeBytes(message)
			s.takeQuote(body, count)
		case field == fieldBatchSequence && kind == protowire.VarintType:
			batch, _ := protowire.ConsumeVarint(message)
			if s.batch != 0 && batch != s.batch+1 {
				s.gaps++
			}
			s.batch = batch
		}
		message = message[length:]
	}
}

func (s *subscriber) takeQuote(body []byte, count bool) {
	if count {
		s.quotes++
	}
	// Every 64th quote's number is compared: the order of values, at a price that leaves the generator idle.
	if s.quotes&63 != 0 {
		return
	}
	for len(body) > 0 {
		field, kind, length := protowire.ConsumeTag(body)
		if length < 0 {
			return
		}
		body = body[length:]
		if field == fieldBidSize && kind == protowire.Fixed64Type && len(body) >= 8 {
			number := math.Float64frombits(binary.LittleEndian.Uint64(body))
			if number < s.lastNumber {
				s.backwards++
			}
			s.lastNumber = number
			return
		}
		if length = protowire.ConsumeFieldValue(field, kind, body); length < 0 {
			return
		}
		body = body[length:]
	}
}

func summary(subscribers []*subscriber, took float64) map[string]any {
	var messages, quotes, gaps, backwards int64
	counts := []int64{}
	errors := []string{}
	for _, s := range subscribers {
		messages, quotes, gaps, backwards = messages+s.messages, quotes+s.quotes, gaps+s.gaps, backwards+s.backwards
		counts = append(counts, s.quotes)
		if s.err != nil {
			errors = append(errors, s.err.Error())
		}
	}
	sort.Slice(counts, func(i, j int) bool { return counts[i] < counts[j] })
	return map[string]any{
		"messages_per_second": float64(messages) / took, "quotes_per_second": float64(quotes) / took,
		"min_quotes": counts[0], "max_quotes": counts[len(counts)-1], "gaps": gaps, "backwards": backwards,
		"failed": len(errors), "errors": errors, "quotes": quotes, "messages": messages,
	}
}
