// The flags of the command line, and the check of their values.

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
	// The maximum of google.protobuf.Duration, about 10,000 years.
	durationSecondsMax = 315_576_000_000
	// The contract's limit for Conference.password.
	passwordBytesMax = 255
)

// Settings holds the values of the flags.
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

// Kind returns how the server protects its connections: "plaintext", "TLS" or "mTLS".
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

// ParseFlags returns the settings from the arguments. If a flag is not valid, the error names the
// flag, the wanted value and the given value. For --help, ParseFlags writes the help to the writer
// and returns flag.ErrHelp.
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

// parser holds a flag.FlagSet, and the error of a value that is not valid. The FlagSet returns this
// error with its own words around it.
type parser struct {
	set   *flag.FlagSet
	fault error
}

func (p *parser) define() *Settings {
	s := &Settings{Listen: "127.0.0.1:50051", Grace: DefaultGrace}
	s.MaxConferences = DefaultMaxConferences
	value(p, &s.Listen, address, "listen",
		"`ADDRESS`: the address to listen on: host:port (port 0: any free port) or unix:/path "+
			"(default: "+s.Listen+")")
	p.set.StringVar(&s.TLS.Cert, "tls-cert", "",
		"`FILE`: serve TLS with the certificate chain in this file (PEM)")
	p.set.StringVar(&s.TLS.Key, "tls-key", "",
		"`FILE`: the private key of the certificate (PEM, not encrypted)")
	p.set.StringVar(&s.TLS.ClientCA, "client-ca", "",
		"`FILE`: accept only clients with a certificate of this authority (mTLS, PEM)")
	p.set.BoolVar(&s.Insecure, "insecure", false,
		"allow plaintext on an address that is not loopback")
	value(p, &s.APIKey, apiKeyFile, "api-key-file",
		"`FILE`: accept only calls with the API key in this file; health checks and reflection need "+
			"no key")
	value(p, &s.APIKeyHeader, header, "api-key-header",
		"`NAME`: the metadata key that carries the API key (default: "+DefaultAPIKeyHeader+")")
	value(p, &s.Grace, grace, "grace",
		fmt.Sprintf("`SECONDS`: how long the running calls may continue after a stop signal "+
			"(default: %g)", s.Grace.Seconds()))
	p.set.BoolVar(&s.Verbose, "verbose", false, "log each create request, in addition to its answer")
	p.set.Func("deny",
		"`PATTERN`: deny rooms whose name matches this pattern (* and ? as in a shell); may be repeated",
		func(text string) error {
			pattern, err := ParseNamePattern(text)
			s.Policy.Deny = append(s.Policy.Deny, pattern)
			return p.keep("deny", err)
		})
	value(p, &s.Policy.Longest, longest, "duration",
		"`SECONDS`: the maximum duration of a conference (default: no limit)")
	value(p, &s.Policy.MaxOccupants, positive[int32], "max-occupants",
		"`N`: the maximum number of people in a room (default: not set)")
	p.set.BoolVar(&s.Policy.Lobby, "lobby", false,
		"turn on the lobby in every room (default: not set)")
	value(p, &s.Policy.Password, passwordFile, "password-file",
		"`FILE`: protect every room with the password in this file")
	value(p, &s.MaxConferences, positive[int], "max-conferences",
		fmt.Sprintf("`N`: the maximum number of conferences in the store (default: %d)",
			s.MaxConferences))
	return s
}

// value defines a flag. The function parse converts the text of the flag to its value.
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
		// The usage of a flag with a value begins with its metavar in quotes.
		usage = strings.TrimPrefix(usage, metavar+": ")
		fmt.Fprintf(out, "  %-24s %s\n", "--"+f.Name+" "+metavar, usage)
	})
	fmt.Fprintf(out, "\nexit codes:\n"+
		"  %d  stopped by SIGTERM or SIGINT; --grace limits the time that running calls get\n"+
		"  %d  the value of a flag, or the file that a flag names, is not valid\n"+
		"  %d  the server could not listen on the address\n", exitOK, exitUsage, exitListen)
}

// check returns an error if flags contradict each other. It also sets the default of APIKeyHeader.
func (s *Settings) check() error {
	withTLS := s.TLS.Cert != ""
	switch {
	case withTLS != (s.TLS.Key != ""):
		return errors.New("--tls-cert and --tls-key: wanted both flags or neither, got only one")
	case s.TLS.ClientCA != "" && !withTLS:
		return errors.New("--client-ca: wanted --tls-cert and --tls-key as well, got neither")
	case s.APIKeyHeader != "" && s.APIKey == "":
		return errors.New("--api-key-header: wanted --api-key-file as well, got none")
	case s.Insecure && withTLS:
		return errors.New("--insecure: wanted no TLS flags, got --tls-cert; remove one of the two flags")
	case !withTLS && !s.Insecure && !isLocal(s.Listen):
		return fmt.Errorf("--listen: wanted a loopback address or a Unix socket, since there is no TLS, "+
			"got %s; add --tls-cert and --tls-key, or add --insecure if you trust the network", s.Listen)
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
	// This comparison also rejects NaN, which ParseFloat accepts.
	if err != nil || !(least <= number && number <= most) {
		return 0, fmt.Errorf("wanted a number of seconds from %.0f to %.0f, got '%s'",
			least, most, text)
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

// The characters that gRPC allows in metadata keys.
var headerName = regexp.MustCompile(`^[0-9a-z_.-]+$`)

func header(text string) (string, error) {
	name := strings.ToLower(text)
	// Keys that end in "-bin" have binary values, and gRPC reserves keys that begin with "grpc-".
	if !headerName.MatchString(name) ||
		strings.HasPrefix(name, "grpc-") || strings.HasSuffix(name, "-bin") {
		return "", fmt.Errorf("wanted letters, digits, '-', '_' and '.', without 'grpc-' at the start "+
			"or '-bin' at the end, got '%s'", text)
	}
	return name, nil
}

// line returns the single line of a file, without the line ending.
func line(path string) (string, error) {
	content, err := readFile(path)
	if err != nil {
		return "", err
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if !utf8.ValidString(text) {
		return "", fmt.Errorf("wanted UTF-8 text, got bytes that are not valid UTF-8 in %s", path)
	}
	if text == "" || strings.ContainsFunc(text, isNotPrintable) {
		return "", fmt.Errorf("wanted a single line of printable text, got an empty file, "+
			"several lines or control characters in %s", path)
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
		// gRPC accepts only printable ASCII in a metadata value, and may strip spaces at its ends.
		return "", fmt.Errorf("wanted ASCII characters without spaces at the start or the end, "+
			"got other characters in %s", path)
	}
	return Secret(key), nil
}

func passwordFile(path string) (Secret, error) {
	password, err := line(path)
	if err == nil && len(password) > passwordBytesMax {
		return "", fmt.Errorf("wanted at most %d bytes, got %d bytes in %s",
			passwordBytesMax, len(password), path)
	}
	return Secret(password), err
}
