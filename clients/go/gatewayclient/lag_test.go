package gatewayclient

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestNothingIsCalledFresherThanItIsWhateverTheClocksSay(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	for _, ahead := range []time.Duration{-time.Hour, -time.Second, 0, time.Second, time.Hour} {
		gateway := time.Unix(1000, 0)
		lag := lag{now: func() time.Time { return gateway.Add(ahead) }}
		lag.opened()
		opened, first, quickest := gateway, time.Time{}, time.Hour
		for range 200 {
			gateway = gateway.Add(time.Duration(chance.Int64N(int64(time.Second))))
			sent := gateway
			if first.IsZero() {
				first = sent
			}
			journey := []time.Duration{100 * time.Microsecond, 50 * time.Millisecond, 5 * time.Second}[chance.IntN(3)]
			quickest = min(quickest, journey)
			gateway = gateway.Add(journey)
			lag.arrived(sent)
			if got := lag.since(sent); got < journey-quickest || got > journey+first.Sub(opened) {
				t.Fatal(ahead, journey, quickest, got)
			}
		}
	}
}

func TestWhatAClockDidToAConnectionEndsWithIt(t *testing.T) {
	now, sent := time.Unix(1000, 0), time.Unix(1000, 0)
	lag := lag{now: func() time.Time { return now }}
	lag.opened()
	lag.arrived(sent)
	now = now.Add(30 * time.Second)
	if got := lag.since(sent); got != 30*time.Second {
		t.Fatal(got)
	}
	lag.opened()
	lag.arrived(sent)
	if got := lag.since(sent); got != 0 {
		t.Fatal(got)
	}
}
