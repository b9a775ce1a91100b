package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"syscall"
	"time"
)

// Quotes that were published within the window have so long to arrive, in seconds. Where none were there is nothing to
// wait for, but messages.
const drainSeconds, drainOfNoneSeconds = 3, 0.1

// Every stream has its first quote after so many seconds, or the run is none.
const beginSeconds = 30

// The sockets are looked at this often: whoever slept on them would be woken by each message, by the server and at its
// expense. It is in every lag.
const look = 400 * time.Microsecond

// stream reads so many streams, each on a connection of its own, on one thread. With -requests, each asks for
// something else; with -tokens, each shows one of its own. Beside them -stalled streams are never read, with the last
// tokens, and are in no figure.
func stream(o options) (map[string]any, error) {
	requests, err := o.eachRequest()
	if err != nil {
		return nil, err
	}
	poll, err := syscall.EpollCreate1(0)
	if err != nil {
		return nil, err
	}
	lags := new([lagBuckets]int64)
	subscribers, lines := []*subscriber{}, []*line{}
	for i := range o.streams + o.stalled {
		size := windowBytes
		if i < o.stalled {
			size = defaultWindow
		}
		token := ""
		if count := len(o.tokens); count > 0 {
			token = o.tokens[(i-o.stalled+count)%count]
		}
		request := requests[i%len(requests)]
		one, err := open(o.target, o.method, token, request, size)
		if err != nil {
			return nil, err
		}
		defer one.file.Close()
		if i < o.stalled {
			continue
		}
		event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(len(lines))}
		if err = syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, one.fd, &event); err != nil {
			return nil, err
		}
		lines, subscribers = append(lines, one), append(subscribers, newSubscriber(request, lags))
	}
	w := &window{from: math.Inf(1), to: math.Inf(1)}
	if err = follow(poll, lines, subscribers, w, o); err != nil {
		return nil, err
	}
	return summary(subscribers, w), nil
}

// follow reads everything until what the window holds has had its time to arrive. The window begins when every
// subscriber has its first quote, and the server has had its time to warm.
func follow(poll int, lines []*line, subscribers []*subscriber, w *window, o options) error {
	giveUp := unixSeconds(time.Now()) + beginSeconds
	events := make([]syscall.EpollEvent, len(lines))
	for {
		time.Sleep(look)
		count, err := syscall.EpollWait(poll, events, 0)
		if err != nil && err != syscall.EINTR {
			return err
		}
		for _, event := range events[:max(count, 0)] {
			s, l := subscribers[event.Fd], lines[event.Fd]
			now := unixSeconds(time.Now())
			if s.err = l.read(func(message []byte) { s.take(message, now, w) }); s.err != nil {
				_ = syscall.EpollCtl(poll, syscall.EPOLL_CTL_DEL, l.fd, nil)
			}
		}
		now := unixSeconds(time.Now())
		if math.IsInf(w.from, 1) && w.begun == len(subscribers) {
			w.from, w.to = now+o.warm, now+o.warm+o.seconds
		}
		if math.IsInf(w.from, 1) && now >= giveUp {
			return fmt.Errorf("%d of %d streams have begun", w.begun, len(subscribers))
		}
		if now >= w.to+drainSeconds || w.past == len(subscribers) || w.highest == 0 && now >= w.to+drainOfNoneSeconds {
			return nil
		}
	}
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

// eachRequest has the requests of -requests, one a line in hex, or the one of -request.
func (o options) eachRequest() ([][]byte, error) {
	if o.requestsFile == "" {
		return [][]byte{o.request}, nil
	}
	content, err := os.ReadFile(o.requestsFile)
	if err != nil {
		return nil, err
	}
	requests := [][]byte{}
	for _, one := range bytes.Fields(content) {
		request, err := hex.DecodeString(string(one))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.requestsFile, err)
		}
		requests = append(requests, request)
	}
	if len(requests) == 0 {
		return nil, fmt.Errorf("%s has no request", o.requestsFile)
	}
	return requests, nil
}
