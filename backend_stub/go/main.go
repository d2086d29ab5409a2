// Command jicofo-reservation-stub is an example of a reservation backend for
// jicofo-reservation-proxy. It keeps its conferences in memory. Copy it; README.md says what to
// change.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	exitOK     = 0
	exitUsage  = 2
	exitListen = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	// After the first signal, stop restores the default action. So a second signal ends the process at
	// once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run serves until ctx is done, and returns the exit code.
func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	settings, err := ParseFlags(arguments, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		return fail(stderr, exitUsage, err)
	}
	level := slog.LevelInfo
	if settings.Verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	options := Options{
		APIKey: settings.APIKey, APIKeyHeader: settings.APIKeyHeader, Grace: settings.Grace,
	}
	if settings.TLS.Cert != "" {
		if options.TLS, err = settings.TLS.Config(log); err != nil {
			err = fmt.Errorf("--tls-cert, --tls-key, --client-ca: %w", err)
			return fail(stderr, exitUsage, err)
		}
	}
	listener, address, err := Listen(settings.Listen)
	if err != nil {
		return fail(stderr, exitListen, fmt.Errorf("--listen: %w", err))
	}
	fmt.Fprintf(stdout, "listening on %s (%s)\n", address, settings.Kind())
	store := NewMemoryStore(settings.MaxConferences, time.Now)
	server := NewServer(NewService(store, settings.Policy, log), options, log)
	if err := server.Serve(ctx, listener); err != nil {
		return fail(stderr, exitListen, fmt.Errorf("--listen: %s: %w", address, err))
	}
	return exitOK
}

func fail(stderr io.Writer, code int, err error) int {
	fmt.Fprintf(stderr, "%s: error: %v\n", program, err)
	return code
}
