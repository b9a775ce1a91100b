// Command load calls a gRPC server as fast as it answers, without parsing more than it must, so that the server
// and not the generator is what a benchmark measures. It prints one JSON object.
//
//	load unary  -target HOST:PORT -method /pkg.Service/Rpc -request HEX [-marker HEX] [-in-flight 16] [-seconds 2]
//	load stream -target HOST:PORT -method /pkg.Service/Rpc -request HEX [-streams 100] [-warm 1] [-seconds 3]
//
// With -marker, each request carries another number where the marker (a run of '@') stands: a fresh key.
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
	var request string
	flags.StringVar(&o.target, "target", "127.0.0.1:50051", "HOST:PORT")
	flags.StringVar(&o.method, "method", "", "/package.Service/Rpc")
	flags.StringVar(&request, "request", "", "the request's bytes, in hex")
	flags.StringVar(&o.prefix, "prefix", "", "put before the number at the marker")
	flags.IntVar(&o.inFlight, "in-flight", 16, "calls at once")
	flags.IntVar(&o.streams, "streams", 100, "streams, each on a connection of its own")
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
	run := map[string]func(options) (map[string]any, error){"unary": unary, "stream": stream}[os.Args[1]]
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
	request                []byte
	inFlight, streams      int
	seconds, warm          float64
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
