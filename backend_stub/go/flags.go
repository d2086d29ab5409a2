// The flags of the command line, and what they may be.

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	program = "jicofo-reservation-stub"
	// A duration in the contract's messages ends at 10,000 years.
	durationSecondsMax = 315_576_000_000
	// The contract's limit of Conference.password.
	passwordBytesMax = 255
)

// Settings are what the flags say.
type Settings struct {
	Listen         string
	TLS            TLSFiles
	Insecure       bool
	APIKey         Secret
	APIKeyHeader   string
	Grace          time.Duration
	Verbose        bool
	MaxConferences int
	Policy         Policy
}

// Kind names what is spoken: "plaintext", "TLS" or "mTLS".
func (s *Settings) Kind() string {
	switch {
	case s.TLS.Cert == "":
		return "plaintext"
	case s.TLS.ClientCA == "":
		return "TLS"
	default:
		return "mTLS"
	}
}

// ParseFlags returns what the arguments say. It fails with an error that names the flag, what was
// wanted and what was got, or with flag.ErrHelp after it has written the help to that writer.
func ParseFlags(arguments []string, help io.Writer) (*Settings, error) {
	p := &parser{set: flag.NewFlagSet(program, flag.ContinueOnError)}
	settings := p.define()
	p.set.SetOutput(io.Discard)
	err := p.set.Parse(arguments)
	switch {
	case errors.Is(err, flag.ErrHelp):
		p.help(help)
		return nil, err
	case p.fault != nil:
		return nil, p.fault
	case err != nil:
		return nil, err
	case p.set.NArg() > 0:
		return nil, fmt.Errorf("unrecognized arguments: %s", strings.Join(p.set.Args(), " "))
	}
	return settings, settings.check()
}

// parser is a flag.FlagSet that keeps the error of a value in its own words.
type parser struct {
	set   *flag.FlagSet
	fault error
}

func (p *parser) define() *Settings {
	s := &Settings{Listen: "127.0.0.1:50051", Grace: DefaultGrace}
	s.MaxConferences = DefaultMaxConferences
	value(p, &s.Listen, address, "listen",
		"`ADDRESS`: host:port, where port 0 is any free one, or unix:/path (default: "+s.Listen+")")
	p.set.StringVar(&s.TLS.Cert, "tls-cert", "", "`FILE`: serve TLS: the certificate chain, PEM")
	p.set.StringVar(&s.TLS.Key, "tls-key", "", "`FILE`: its private key, PEM")
	p.set.StringVar(&s.TLS.ClientCA, "client-ca", "",
		"`FILE`: let in only clients with a certificate of this authority (mTLS), PEM")
	p.set.BoolVar(&s.Insecure, "insecure", false,
		"allow plaintext on an address that is not loopback")
	value(p, &s.APIKey, apiKeyFile, "api-key-file",
		"`FILE`: let in only calls with the key in this file; health and reflection need none")
	value(p, &s.APIKeyHeader, header, "api-key-header",
		"`NAME`: the metadata key that brings the API key (default: "+DefaultAPIKeyHeader+")")
	value(p, &s.Grace, grace, "grace",
		fmt.Sprintf("`SECONDS`: how long running calls may take when the server stops (default: %g)",
			s.Grace.Seconds()))
	p.set.BoolVar(&s.Verbose, "verbose", false, "log what was asked for as well, not only answers")
	p.set.Func("deny", "`PATTERN`: deny rooms of this name; * and ? as in a shell, repeatable",
		func(text string) error {
			pattern, err := ParseNamePattern(text)
			s.Policy.Deny = append(s.Policy.Deny, pattern)
			return p.keep("deny", err)
		})
	value(p, &s.Policy.Longest, longest, "duration",
		"`SECONDS`: the longest that a conference lasts (default: without limit)")
	value(p, &s.Policy.MaxOccupants, positive[int32], "max-occupants",
		"`N`: how many people may be in a room (default: not said)")
	p.set.BoolVar(&s.Policy.Lobby, "lobby", false, "let people wait in a lobby (default: not said)")
	value(p, &s.Policy.Password, passwordFile, "password-file",
		"`FILE`: protect every room with the password in this file")
	value(p, &s.MaxConferences, positive[int], "max-conferences",
		fmt.Sprintf("`N`: how many conferences may be held at once (default: %d)", s.MaxConferences))
	return s
}

// value defines a flag whose text has to be parsed.
func value[T any](p *parser, target *T, parse func(string) (T, error), name, usage string) {
	p.set.Func(name, usage, func(text string) (err error) {
		*target, err = parse(text)
		return p.keep(name, err)
	})
}

func (p *parser) keep(name string, err error) error {
	if err != nil {
		p.fault = fmt.Errorf("argument --%s: %w", name, err)
	}
	return err
}

func (p *parser) help(out io.Writer) {
	fmt.Fprintf(out, "usage: %s [flags]\n\n"+
		"A reservation backend that keeps its conferences in memory.\n\nflags:\n", program)
	p.set.VisitAll(func(f *flag.Flag) {
		metavar, usage := flag.UnquoteUsage(f)
		// A usage begins with its metavar, which is quoted, where the flag takes a value.
		usage = strings.TrimPrefix(usage, metavar+": ")
		fmt.Fprintf(out, "  %-24s %s\n", "--"+f.Name+" "+metavar, usage)
	})
	fmt.Fprintf(out, "\nexit codes:\n"+
		"  %d  stopped by SIGTERM or SIGINT, after the calls that were running\n"+
		"  %d  a flag, or the file that it names, cannot be used\n"+
		"  %d  could not listen on the address\n", exitOK, exitUsage, exitListen)
}

// check refuses flags that do not go together.
func (s *Settings) check() error {
	withTLS := s.TLS.Cert != ""
	switch {
	case withTLS != (s.TLS.Key != ""):
		return errors.New("--tls-cert and --tls-key: wanted both or neither, got one")
	case s.TLS.ClientCA != "" && !withTLS:
		return errors.New("--client-ca: wanted --tls-cert and --tls-key as well, got neither")
	case s.APIKeyHeader != "" && s.APIKey == "":
		return errors.New("--api-key-header: wanted --api-key-file as well, got none")
	case s.Insecure && withTLS:
		return errors.New("--insecure: wanted plaintext, got --tls-cert; leave one of them out")
	case !withTLS && !s.Insecure && !isLocal(s.Listen):
		return fmt.Errorf("--listen: wanted a loopback address or a Unix socket without TLS, got %s; "+
			"give --tls-cert and --tls-key, or --insecure where the network is trusted", s.Listen)
	}
	if s.APIKeyHeader == "" {
		s.APIKeyHeader = DefaultAPIKeyHeader
	}
	return nil
}

func isLocal(listen string) bool {
	if _, ok := unixPath(listen); ok {
		return true
	}
	host, _, _ := net.SplitHostPort(listen)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func address(text string) (string, error) {
	if path, ok := unixPath(text); ok && path != "" {
		return text, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || host == "" {
		return "", fmt.Errorf(
			"wanted host:port or unix:/path, got '%s'; for example 127.0.0.1:50051", text)
	}
	return text, nil
}

func positive[T int | int32](text string) (T, error) {
	number, err := strconv.ParseUint(text, 10, 31)
	if err != nil || number == 0 {
		return 0, fmt.Errorf("wanted a whole number from 1 to %d, got '%s'", math.MaxInt32, text)
	}
	return T(number), nil
}

func seconds(text string, least, most float64) (float64, error) {
	number, err := strconv.ParseFloat(text, 64)
	// NaN, which ParseFloat reads too, fails this comparison.
	if err != nil || !(least <= number && number <= most) {
		return 0, fmt.Errorf("wanted seconds from %.0f to %.0f, got '%s'", least, most, text)
	}
	return number, nil
}

func grace(text string) (time.Duration, error) {
	number, err := seconds(text, 0, 3600)
	return time.Duration(number * float64(time.Second)), err
}

func longest(text string) (*durationpb.Duration, error) {
	number, err := seconds(text, 1, durationSecondsMax)
	whole, fraction := math.Modf(number)
	return &durationpb.Duration{Seconds: int64(whole), Nanos: int32(fraction * 1e9)}, err
}

// What gRPC allows in metadata keys.
var headerName = regexp.MustCompile(`^[0-9a-z_.-]+$`)

func header(text string) (string, error) {
	name := strings.ToLower(text)
	// Those in "-bin" are binary, those of "grpc-" its own.
	if !headerName.MatchString(name) ||
		strings.HasPrefix(name, "grpc-") || strings.HasSuffix(name, "-bin") {
		return "", fmt.Errorf(
			"wanted letters, digits, '-', '_' and '.', no grpc-… or …-bin, got '%s'", text)
	}
	return name, nil
}

// line returns the one line of a file, without its end.
func line(path string) (string, error) {
	content, err := readFile(path)
	if err != nil {
		return "", err
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if !utf8.ValidString(text) {
		return "", fmt.Errorf("wanted one line of UTF-8, got other bytes in %s", path)
	}
	if text == "" || strings.ContainsFunc(text, isNotPrintable) {
		return "", fmt.Errorf("wanted one line of printable text, got something else in %s", path)
	}
	return text, nil
}

func isNotPrintable(char rune) bool { return !unicode.IsPrint(char) }

func isNotASCII(char rune) bool { return char > unicode.MaxASCII }

func apiKeyFile(path string) (Secret, error) {
	key, err := line(path)
	if err != nil {
		return "", err
	}
	if strings.ContainsFunc(key, isNotASCII) || key != strings.TrimSpace(key) {
		// HTTP/2 carries nothing else in a header.
		return "", fmt.Errorf("wanted ASCII without blanks around it, got something else in %s", path)
	}
	return Secret(key), nil
}

func passwordFile(path string) (Secret, error) {
	password, err := line(path)
	if err == nil && len(password) > passwordBytesMax {
		return "", fmt.Errorf("wanted at most %d bytes, got %d in %s",
			passwordBytesMax, len(password), path)
	}
	return Secret(password), err
}
