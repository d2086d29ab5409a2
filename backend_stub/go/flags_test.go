package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// parse returns the settings from flags that are separated by spaces.
func parse(t *testing.T, words string) (*Settings, error) {
	t.Helper()
	return ParseFlags(strings.Fields(words), io.Discard)
}

// faultyFiles creates a good file, and one file for each fault, in a new folder. It makes this
// folder the current folder.
func faultyFiles(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{
		"empty":     "",
		"two-lines": "one\ntwo\n",
		"latin1":    "caf\xe9\n",
		"not-ascii": "café\n",
		"blank":     "key \n",
		"long":      strings.Repeat("é", 128),
		"good":      "hunter2\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// If a flag is not valid, the error names the flag, the wanted value and the given value.
func TestBadFlags(t *testing.T) {
	faultyFiles(t)
	const line = "wanted a single line of printable text, got an empty file, several lines or " +
		"control characters in "
	for _, test := range []struct{ words, text string }{
		{"--listen 50051", "argument --listen: wanted host:port or unix:/path, got '50051'"},
		{"--listen :50051", "argument --listen: wanted host:port or unix:/path, got ':50051'"},
		{"--listen localhost:65536", "argument --listen: wanted host:port"},
		{"--listen localhost:\u0665", "argument --listen: wanted host:port"},
		{"--listen localhost:", "argument --listen: wanted host:port"},
		{"--listen unix:", "argument --listen: wanted host:port or unix:/path, got 'unix:'"},
		{"--listen 0.0.0.0:50051", "got 0.0.0.0:50051; add --tls-cert and --tls-key, or add --insec"},
		{"--listen host.example.com:1", "--listen: wanted a loopback address"},
		{"--listen [::]:1", "--listen: wanted a loopback address"},
		{"--tls-cert x", "--tls-cert and --tls-key: wanted both flags or neither, got only one"},
		{"--tls-key x", "--tls-cert and --tls-key: wanted both flags or neither, got only one"},
		{"--client-ca x", "--client-ca: wanted --tls-cert and --tls-key as well, got neither"},
		{"--insecure --tls-cert x --tls-key x", "--insecure: wanted no TLS flags, got --tls-cert"},
		{"--api-key-header x", "--api-key-header: wanted --api-key-file as well, got none"},
		{"--api-key-header grpc-x", "argument --api-key-header: wanted letters, digits"},
		{"--api-key-header x-bin", "argument --api-key-header: wanted letters, digits"},
		{"--api-key-header x:y", "argument --api-key-header: wanted letters, digits"},
		{"--api-key-file none", "argument --api-key-file: wanted a readable file, got none: no such"},
		{"--api-key-file .", "argument --api-key-file: wanted a readable file, got .: is a dir"},
		{"--api-key-file empty", "argument --api-key-file: " + line + "empty"},
		{"--api-key-file two-lines", "argument --api-key-file: " + line + "two-lines"},
		{"--api-key-file latin1", "argument --api-key-file: wanted UTF-8 text, got bytes that"},
		{"--api-key-file not-ascii", "argument --api-key-file: wanted ASCII characters without"},
		{"--api-key-file blank", "argument --api-key-file: wanted ASCII characters without spaces"},
		{"--password-file long", "--password-file: wanted at most 255 bytes, got 256 bytes in"},
		{"--password-file two-lines", "argument --password-file: " + line + "two-lines"},
		{"--duration 0", "--duration: wanted a number of seconds from 1 to 315576000000, got '0'"},
		{"--duration nan", "argument --duration: wanted a number of seconds from 1"},
		{"--duration 1h", "argument --duration: wanted a number of seconds from 1"},
		{"--duration 1e300", "argument --duration: wanted a number of seconds from 1"},
		{"--grace 3601", "argument --grace: wanted a number of seconds from 0 to 3600, got '3601'"},
		{"--grace=-1", "argument --grace: wanted a number of seconds from 0 to 3600, got '-1'"},
		{"--max-occupants 0", "--max-occupants: wanted a whole number from 1 to 2147483647, got '0'"},
		{"--max-occupants 2147483648", "argument --max-occupants: wanted a whole number"},
		{"--max-conferences 1.5", "argument --max-conferences: wanted a whole number"},
		{"--deny \xff", "argument --deny: wanted a pattern in UTF-8 with * and ?"},
		{"--lob", "flag provided but not defined: -lob"},
		{"--listen", "flag needs an argument: -listen"},
		{"--lobby true --deny x", "unrecognized arguments: true --deny x"},
	} {
		_, err := parse(t, test.words)
		if err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: wanted %q, got %v", test.words, test.text, err)
		}
	}
}

// Every flag sets its field of the settings.
func TestGoodFlags(t *testing.T) {
	faultyFiles(t)
	if err := os.WriteFile("password", []byte("open sésame\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := parse(t, "--listen [::1]:0 --insecure --api-key-file good --api-key-header X-Key "+
		"--grace 2.5 --verbose --deny exec-* --deny hall --duration 90.5 --max-occupants 7 --lobby "+
		"--password-file password --max-conferences 3")
	if err != nil {
		t.Fatal(err)
	}
	p := s.Policy
	server := s.Listen == "[::1]:0" && s.Insecure && s.APIKey == "hunter2" &&
		s.APIKeyHeader == "x-key" && s.Grace == 2500*time.Millisecond && s.Verbose &&
		s.MaxConferences == 3
	rules := len(p.Deny) == 2 && p.Deny[0].Matches("exec-1") && p.Deny[1].Matches("hall") &&
		p.Longest.GetSeconds() == 90 && p.Longest.GetNanos() == 500_000_000 &&
		p.MaxOccupants == 7 && p.Lobby && p.Password == "open sésame"
	if !server || !rules {
		t.Errorf("got %+v", s)
	}
}

// Without flags, every setting has its default.
func TestNoFlags(t *testing.T) {
	s, err := parse(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if s.Listen != "127.0.0.1:50051" || s.Grace != 5*time.Second || s.MaxConferences != 10_000 ||
		s.APIKeyHeader != "x-api-key" || s.APIKey != "" || s.Policy.Longest != nil {
		t.Errorf("got %+v", s)
	}
}

// The stub allows plaintext only on addresses that other machines cannot reach, or with --insecure.
func TestPlaintextIsForLoopback(t *testing.T) {
	for _, words := range []string{
		"--listen localhost:1", "--listen 127.9.9.9:1", "--listen [::1]:1", "--listen unix:/s",
		"--listen 0.0.0.0:1 --insecure", "--listen 0.0.0.0:1 --tls-cert x --tls-key x",
	} {
		if _, err := parse(t, words); err != nil {
			t.Errorf("%s: %v", words, err)
		}
	}
}

// The help lists each exit code, and the README lists the same flags as the help.
func TestHelp(t *testing.T) {
	var help bytes.Buffer
	if _, err := ParseFlags([]string{"--help"}, &help); !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	for _, line := range []string{
		"  --lobby                  turn on the lobby in every room (default: not set)\n",
		"  --grace SECONDS          how long the running calls may continue after a stop signal " +
			"(default: 5)\n",
		"  --tls-key FILE           the private key of the certificate (PEM, not encrypted)\n",
	} {
		if !strings.Contains(help.String(), line) {
			t.Errorf("wanted %q, got %s", line, help.String())
		}
	}
	_, codes, _ := strings.Cut(help.String(), "exit codes:")
	if found := regexp.MustCompile(`(?m)^  \d  \w`).FindAllString(codes, -1); len(found) != 3 {
		t.Errorf("wanted the codes 0, 2 and 3, got %q", found)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	inHelp := names(`(?m)^  (--[a-z-]+)`, help.String())
	inReadme := names("(?m)^\\| `(--[a-z-]+)", string(readme))
	if len(inHelp) == 0 || !slices.Equal(inHelp, inReadme) {
		t.Errorf("help: %v\nREADME: %v", inHelp, inReadme)
	}
}

func names(pattern, text string) []string {
	found := []string{}
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	slices.Sort(found)
	return found
}
