// Command load calls a gRPC server as fast as it answers, without parsing more than it must, so that the server
// and not the generator is what a benchmark measures. It prints one JSON object.
//
//	load unary  -target HOST:PORT -method /pkg.Service/Rpc -request HEX [-marker HEX] [-in-flight 16] [-seconds 2]
//	load stream -target HOST:PORT -method /pkg.Service/Rpc -request HEX|-requests FILE [-streams 100] [-stalled 1] [-warm 1] [-seconds 3]
//	load paced  ... -order-method /pkg.Service/Rpc -order HEX -tokens FILE [-clients 10] [-rate 100]
//	load hostile ... the same [-garbage] [-in-flight 160] [-per-connection 80]
//
// A request with a marker (a run of '@') carries another number there each time: a fresh key. With -tokens, each call
// shows a token of the file, the next one in turn; a client of paced has one of its own, and hostile is the last one.
package main

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: load unary|stream ...")
		os.Exit(2)
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	var o options
	var request, order, tokens string
	flags.StringVar(&o.target, "target", "127.0.0.1:50051", "HOST:PORT")
	flags.StringVar(&o.method, "method", "", "/package.Service/Rpc")
	flags.StringVar(&request, "request", "", "the request's bytes, in hex")
	flags.StringVar(&o.requestsFile, "requests", "", "a file of requests in hex, one a line: each stream has its own")
	flags.StringVar(&o.prefix, "prefix", "", "put before the number at the marker")
	flags.StringVar(&o.orderMethod, "order-method", "", "/package.Service/Rpc of orders")
	flags.StringVar(&order, "order", "", "an order's bytes, in hex")
	flags.StringVar(&tokens, "tokens", "", "a file of secrets, one a line")
	flags.IntVar(&o.clients, "clients", 10, "clients at a rate")
	flags.Float64Var(&o.rate, "rate", 100, "calls a second of each of them")
	flags.BoolVar(&o.garbage, "garbage", false, "send what is wrong")
	flags.IntVar(&o.perConnection, "per-connection", 80, "calls at once on each connection of a hostile client")
	flags.IntVar(&o.inFlight, "in-flight", 16, "calls at once")
	flags.IntVar(&o.streams, "streams", 100, "streams, each on a connection of its own")
	flags.IntVar(&o.stalled, "stalled", 0, "streams beside them that are never read")
	flags.Float64Var(&o.seconds, "seconds", 2, "how long to measure")
	flags.Float64Var(&o.warm, "warm", 0.3, "seconds before measuring")
	if err := flags.Parse(os.Args[2:]); err != nil {
		os.Exit(2)
	}
	var err error
	if o.request, err = hex.DecodeString(request); err != nil {
		fmt.Fprintln(os.Stderr, "request:", err)
		os.Exit(2)
	}
	if o.order, err = hex.DecodeString(order); err != nil {
		fmt.Fprintln(os.Stderr, "order:", err)
		os.Exit(2)
	}
	if o.tokens, err = readTokens(tokens); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	run := map[string]func(options) (map[string]any, error){
		"unary": unary, "stream": stream, "paced": paced, "hostile": hostile,
	}[os.Args[1]]
	if run == nil {
		fmt.Fprintln(os.Stderr, "usage: load unary|stream ...")
		os.Exit(2)
	}
	before, began := cpuSeconds(), time.Now()
	result, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	result["generator_cores"] = (cpuSeconds() - before) / time.Since(began).Seconds()
	_ = json.NewEncoder(os.Stdout).Encode(result)
}

type options struct {
	target, method, prefix string
	orderMethod            string
	requestsFile           string
	request, order         []byte
	tokens                 []string
	inFlight, streams      int
	stalled                int
	clients, perConnection int
	garbage                bool
	seconds, warm, rate    float64
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
