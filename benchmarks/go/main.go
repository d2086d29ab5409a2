// Command bench has the compiled ends of the benchmark: the backends, the load
// client, and a hand-written bridge as a contender. They need little processor
// time, so a figure shows the contender and not the benchmark.
//
//	bench backend grpc SECONDS    grant each request, after a delay such as 0.01
//	bench backend http SECONDS    the same with the HTTP API of Jitsi's handbook
//	bench bridge ADDRESS PORT     answer Jicofo by calling the backend at ADDRESS
//	bench load                    read jobs from stdin, write results to stdout
//
// With port 0, the bridge chooses a free port, as the backends always do.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(arguments []string) error {
	usage := fmt.Errorf(
		"wanted backend grpc|http SECONDS, bridge ADDRESS PORT or load, got %q", arguments)
	backends := map[string]func(time.Duration) error{"grpc": serveBackend, "http": serveHTTPBackend}
	switch {
	case len(arguments) == 3 && arguments[0] == "backend" && backends[arguments[1]] != nil:
		seconds, err := strconv.ParseFloat(arguments[2], 64)
		if err != nil {
			return err
		}
		return backends[arguments[1]](time.Duration(seconds * float64(time.Second)))
	case len(arguments) == 3 && arguments[0] == "bridge":
		return serveBridge(arguments[1], arguments[2])
	case len(arguments) == 1 && arguments[0] == "load":
		return doJobs(os.Stdin, os.Stdout)
	}
	return usage
}

// listen returns a listener on a port of the loopback interface, and prints the
// port, which the benchmark reads.
func listen(port string) (net.Listener, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, err
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	return listener, nil
}

// ended returns a channel that receives the signal that ends this process.
func ended() <-chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	return signals
}
