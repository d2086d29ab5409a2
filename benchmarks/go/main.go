// Command bench has the compiled ends of the benchmark: the backend, the load
// client, and a hand-written bridge as a contender. They need little processor
// time, so a figure shows the contender and not the benchmark.
//
//	bench backend [DELAY]    grant each request, after a delay such as 10ms
//	bench bridge ADDRESS     answer Jicofo by calling the backend at ADDRESS
//	bench load               read jobs from stdin, write results to stdout
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
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
	usage := fmt.Errorf("wanted backend [DELAY], bridge ADDRESS or load, got %q", arguments)
	switch {
	case len(arguments) == 1 && arguments[0] == "backend":
		return serveBackend(0)
	case len(arguments) == 2 && arguments[0] == "backend":
		delay, err := time.ParseDuration(arguments[1])
		if err != nil {
			return err
		}
		return serveBackend(delay)
	case len(arguments) == 2 && arguments[0] == "bridge":
		return serveBridge(arguments[1])
	case len(arguments) == 1 && arguments[0] == "load":
		return doJobs(os.Stdin, os.Stdout)
	}
	return usage
}

// listen returns a listener on a free port of the loopback interface, and
// prints the port, which the benchmark reads.
func listen() (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
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
