package main

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of StreamQuotesRequest, StreamQuotesResponse and Quote.
const (
	fieldSymbols       = 1
	fieldQuotes        = 1
	fieldBatchSequence = 2
	fieldSymbol        = 1
	fieldBidSize       = 4
	fieldAskSize       = 7
)

// A published quote carries its own number in bid_size, and in ask_size the Unix time in seconds at which it was
// published. The symbols are S000 to S499, in turn: number n is of symbol (n - 1) mod 500.
const symbolsCount = 500

// Of a lag, in the histogram.
const (
	lagBucketMs = 0.05
	lagBuckets  = 200_000
)

// subscriber is what one stream received. Numbers must rise, and those of a symbol by 500 each: whatever is missing,
// repeated, out of order or another's is seen. Quotes are counted by when they were published, so that the window is
// the same for all subscribers and what it holds is known; and by when they arrived, which shows who is served late.
type subscriber struct {
	messages, quotes int64
	arrived          int64
	gaps, astray     int64
	unreadable       int64
	batch            uint64
	wanted           [symbolsCount]bool
	wantedCount      int
	last             [symbolsCount]float64
	highest          float64
	hasBegun, isPast bool
	lags             *[lagBuckets]int64
	err              error
}

// window is what is measured: Unix seconds, the numbers that were published in it, and how many subscribers have got
// their first quote, and what was published after it.
type window struct {
	from, to        float64
	lowest, highest float64
	begun, past     int
}

func newSubscriber(request []byte, lags *[lagBuckets]int64) *subscriber {
	s := &subscriber{lags: lags}
	for len(request) > 0 {
		field, kind, length := protowire.ConsumeTag(request)
		if length < 0 {
			break
		}
		request = request[length:]
		if field == fieldSymbols && kind == protowire.BytesType {
			symbol, _ := protowire.ConsumeBytes(request)
			if at := indexOf(symbol); at >= 0 && !s.wanted[at] {
				s.wanted[at] = true
				s.wantedCount++
			}
		}
		if length = protowire.ConsumeFieldValue(field, kind, request); length < 0 {
			break
		}
		request = request[length:]
	}
	return s
}

func indexOf(symbol []byte) int {
	if len(symbol) != 4 || symbol[0] != 'S' {
		return -1
	}
	at := 0
	for _, digit := range symbol[1:] {
		if digit < '0' || digit > '9' {
			return -1
		}
		at = at*10 + int(digit-'0')
	}
	if at >= symbolsCount {
		return -1
	}
	return at
}

// take reads one response that came at `now`, Unix seconds.
func (s *subscriber) take(message []byte, now float64, w *window) {
	if !s.hasBegun && len(message) > 0 && message[0] == fieldQuotes<<3|2 {
		s.hasBegun = true
		w.begun++
	}
	if now >= w.from && now < w.to {
		s.messages++
	}
	for len(message) > 1 {
		if message[0] == fieldQuotes<<3|2 && message[1] < 0x80 && len(message) >= 2+int(message[1]) {
			s.takeQuote(message[2:2+int(message[1])], now, w)
			message = message[2+int(message[1]):]
			continue
		}
		field, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			s.unreadable++
			return
		}
		message = message[length:]
		if length = protowire.ConsumeFieldValue(field, kind, message); length < 0 {
			s.unreadable++
			return
		}
		switch {
		case field == fieldQuotes && kind == protowire.BytesType:
			body, _ := protowire.ConsumeBytes(message)
			s.takeQuote(body, now, w)
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

func (s *subscriber) takeQuote(body []byte, now float64, w *window) {
	symbol, number, published := read(body)
	at := indexOf(symbol)
	if at < 0 || !s.wanted[at] || int64(number-1)%symbolsCount != int64(at) || number <= s.highest ||
		s.last[at] != 0 && number != s.last[at]+symbolsCount {
		s.astray++
	}
	s.highest = number
	if at >= 0 {
		s.last[at] = number
	}
	if now >= w.from && now < w.to {
		s.arrived++
	}
	if published < w.from || published >= w.to {
		if published >= w.to && !s.isPast {
			s.isPast = true
			w.past++
		}
		return
	}
	if w.lowest == 0 || number < w.lowest {
		w.lowest = number
	}
	w.highest = max(w.highest, number)
	s.quotes++
	lag := int((now - published) * 1e3 / lagBucketMs)
	s.lags[min(max(lag, 0), lagBuckets-1)]++
}

// read finds symbol, bid_size and ask_size of a quote: at once where its fields stand as the gateway writes them,
// and in whatever order they stand otherwise.
func read(body []byte) (symbol []byte, bid, ask float64) {
	if len(body) > 2 && body[0] == fieldSymbol<<3|2 {
		symbol = body[2:min(2+int(body[1]), len(body))]
		if time := 2 + int(body[1]); time+1 < len(body) {
			at := time + 2 + int(body[time+1])
			if at+36 <= len(body) && body[at] == 0x19 && body[at+9] == 0x21 && body[at+18] == 0x31 && body[at+27] == 0x39 {
				return symbol, double(body[at+10:]), double(body[at+28:])
			}
		}
	}
	for len(body) > 0 {
		field, kind, length := protowire.ConsumeTag(body)
		if length < 0 {
			return
		}
		body = body[length:]
		if length = protowire.ConsumeFieldValue(field, kind, body); length < 0 {
			return
		}
		switch {
		case field == fieldSymbol && kind == protowire.BytesType:
			symbol, _ = protowire.ConsumeBytes(body)
		case field == fieldBidSize && kind == protowire.Fixed64Type:
			bid = double(body)
		case field == fieldAskSize && kind == protowire.Fixed64Type:
			ask = double(body)
		}
		body = body[length:]
	}
	return
}

func double(at []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(at)) }

// owed is how many quotes of the window a subscriber should have.
func (s *subscriber) owed(w *window) int64 {
	count := int64(0)
	for number := w.lowest; w.lowest > 0 && number <= w.highest; number++ {
		if s.wanted[int64(number-1)%symbolsCount] {
			count++
		}
	}
	return count
}

func summary(subscribers []*subscriber, w *window) map[string]any {
	var messages, quotes, owed, gaps, astray, unreadable int64
	least, most := math.Inf(1), 0.0
	sum, errors := 0.0, []string{}
	for _, s := range subscribers {
		messages, quotes, gaps, astray = messages+s.messages, quotes+s.quotes, gaps+s.gaps, astray+s.astray
		unreadable += s.unreadable
		if s.wantedCount > 0 {
			owed += s.owed(w)
		}
		got := float64(s.arrived)
		least, most, sum = min(least, got), max(most, got), sum+got
		if s.err != nil {
			errors = append(errors, s.err.Error())
		}
	}
	took := w.to - w.from
	result := map[string]any{
		"messages_per_second": float64(messages) / took, "quotes_per_second": float64(quotes) / took,
		"min_quotes": least, "max_quotes": most, "gaps": gaps, "astray": astray + unreadable,
		"failed": len(errors), "quotes": quotes, "messages": messages,
		"published_per_second": (w.highest - w.lowest + 1) / took,
	}
	if len(errors) > 0 {
		result["error"] = fmt.Sprintf("%d of them, the first: %s", len(errors), errors[0])
	}
	if quotes > 0 && owed > 0 {
		result["delivered"] = float64(quotes) / float64(owed)
		result["slowest"] = least / (sum / float64(len(subscribers)))
		for name, share := range map[string]float64{"lag_p50_ms": 0.5, "lag_p99_ms": 0.99} {
			result[name] = quantile(subscribers[0].lags, quotes, share)
		}
	}
	return result
}

func quantile(lags *[lagBuckets]int64, count int64, share float64) float64 {
	left := int64(share * float64(count))
	for bucket, some := range lags {
		if left -= some; left < 0 {
			return float64(bucket+1) * lagBucketMs
		}
	}
	return lagBuckets * lagBucketMs
}
