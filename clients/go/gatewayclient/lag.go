package gatewayclient

import (
	"math"
	"time"
)

// lag measures how far behind the gateway a reader is, though the two clocks may not agree. Nothing is called fresher
// than it is, but for the journey of the quickest message. The clocks are taken to agree unless the stream proves that
// they do not, and then by no more than it proves: nothing was sent before the stream was opened, and nothing arrives
// before it was sent.
type lag struct {
	now                func() time.Time
	from               time.Time
	aheadMin, aheadMax time.Duration // of this clock, before the gateway's
}

// opened begins a connection: what the one before proved of its gateway's clock is forgotten.
func (l *lag) opened() {
	l.from, l.aheadMin, l.aheadMax = l.now(), math.MinInt64, math.MaxInt64
}

// arrived learns from a message that is taken.
func (l *lag) arrived(sent time.Time) {
	l.aheadMin = max(l.aheadMin, l.from.Round(0).Sub(sent))
	l.aheadMax = min(l.aheadMax, l.clock().Sub(sent))
}

// since is the time since the gateway sent something.
func (l *lag) since(sent time.Time) time.Duration {
	return l.clock().Sub(sent) - min(max(0, l.aheadMin), l.aheadMax)
}

// clock is this machine's: not put back when it is set back, and no standstill while the machine sleeps.
func (l *lag) clock() time.Time {
	now, from := l.now(), l.from
	return from.Round(0).Add(max(now.Sub(from), now.Round(0).Sub(from.Round(0))))
}
