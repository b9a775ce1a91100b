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
	fieldAskSize       = 7
)

// subscriber is what one stream received. bid_size carries the publisher's number of the quote: the next one must be
// the next number, so whatever is missing, repeated or out of order is seen, and delivered = published x streams is
// proved. ask_size carries the time at which it was published.
type subscriber struct {
	messages, quotes int64
	gaps, astray     int64
	batch            uint64
	lastNumber       float64
	lags             []float64
	err              error
}

// A lag is noted for every so many quotes.
const quotesPerLag = 64

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
	number, published := sizes(body)
	if s.lastNumber != 0 && number != s.lastNumber+1 {
		s.astray++
	}
	s.lastNumber = number
	if !count {
		return
	}
	s.quotes++
	if s.quotes%quotesPerLag == 0 {
		s.lags = append(s.lags, float64(time.Now().UnixNano())/1e6-published*1e3)
	}
}

// sizes reads bid_size and ask_size of a quote, in whatever order its fields stand.
func sizes(body []byte) (bid, ask float64) {
	for found := 0; len(body) > 0 && found < 2; {
		field, kind, length := protowire.ConsumeTag(body)
		if length < 0 {
			return
		}
		body = body[length:]
		if kind == protowire.Fixed64Type && len(body) >= 8 {
			value := math.Float64frombits(binary.LittleEndian.Uint64(body))
			switch field {
			case fieldBidSize:
				bid, found = value, found+1
			case fieldAskSize:
				ask, found = value, found+1
			}
		}
		if length = protowire.ConsumeFieldValue(field, kind, body); length < 0 {
			return
		}
		body = body[length:]
	}
	return
}

func summary(subscribers []*subscriber, took float64) map[string]any {
	var messages, quotes, gaps, astray int64
	counts := []int64{}
	lags := []float64{}
	errors := []string{}
	for _, s := range subscribers {
		messages, quotes, gaps, astray = messages+s.messages, quotes+s.quotes, gaps+s.gaps, astray+s.astray
		counts = append(counts, s.quotes)
		lags = append(lags, s.lags...)
		if s.err != nil {
			errors = append(errors, s.err.Error())
		}
	}
	sort.Slice(counts, func(i, j int) bool { return counts[i] < counts[j] })
	result := map[string]any{
		"messages_per_second": float64(messages) / took, "quotes_per_second": float64(quotes) / took,
		"min_quotes": counts[0], "max_quotes": counts[len(counts)-1], "gaps": gaps, "astray": astray,
		"failed": len(errors), "errors": errors, "quotes": quotes, "messages": messages,
	}
	if len(lags) > 0 {
		sort.Float64s(lags)
		result["lag_p99_ms"] = lags[len(lags)*99/100]
	}
	return result
}
