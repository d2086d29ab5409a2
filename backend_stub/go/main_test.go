package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
)

// TestMain runs the command instead of the tests if a test started this binary as the command.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_AS_COMMAND") != "" {
		main()
	}
	os.Exit(m.Run())
}

// runStopped runs the command with flags and a context that is done from the beginning.
func runStopped(t *testing.T, flags ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var out, errors bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, flags, &out, &errors) }()
	code = receive(t, ended, "the command did not end, although its context was done")
	return code, out.String(), errors.String()
}

// The first line contains the real address, and whether the server uses plaintext, TLS or mTLS.
func TestFirstLine(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("localhost")
	withTLS := []string{"--tls-cert", cert, "--tls-key", key}
	socket := "unix:" + filepath.Join(a.folder, "s")
	for _, test := range []struct {
		line  string
		flags []string
	}{
		{`localhost:[1-9]\d* \(plaintext\)`, []string{"--listen", "localhost:0"}},
		{`0\.0\.0\.0:[1-9]\d* \(plaintext\)`, []string{"--listen", "0.0.0.0:0", "--insecure"}},
		{`0\.0\.0\.0:[1-9]\d* \(TLS\)`, append(withTLS, "--listen", "0.0.0.0:0")},
		{`.*:[1-9]\d* \(mTLS\)`, append(withTLS, "--listen", "127.0.0.1:0", "--client-ca", a.file)},
		{regexp.QuoteMeta(socket) + ` \(plaintext\)`, []string{"--listen", socket}},
	} {
		code, out, errors := runStopped(t, test.flags...)
		if code != 0 || !regexp.MustCompile("^listening on "+test.line+"\n$").MatchString(out) {
			t.Errorf("%v: got %d, %s%s", test.flags, code, out, errors)
		}
	}
}

// With --help, the command writes the help to stdout and exits with 0.
func TestHelpIsNoError(t *testing.T) {
	code, out, errors := runStopped(t, "--help")
	if code != 0 || !strings.HasPrefix(out, "usage: jicofo-reservation-stub") || errors != "" {
		t.Errorf("got %d, %s%s", code, out, errors)
	}
}

// If a flag or its file is not valid, the command writes an error to stderr and exits with 2.
func TestUnusableFlags(t *testing.T) {
	for _, test := range []struct{ flags, text string }{
		{"--grace x", "argument --grace: wanted a number of seconds"},
		{"--tls-cert none --tls-key none", "--tls-cert, --tls-key, --client-ca: wanted a readable"},
	} {
		code, out, errors := runStopped(t, strings.Fields(test.flags)...)
		if code != 2 || out != "" ||
			!strings.HasPrefix(errors, "jicofo-reservation-stub: error: "+test.text) {
			t.Errorf("%s: got %d, %s%s", test.flags, code, out, errors)
		}
	}
}

// If the port is in use, the command writes an error that names the flag, and exits with 3.
func TestTakenPort(t *testing.T) {
	address := serve(t, Options{})
	code, out, errors := runStopped(t, "--listen", address)
	wanted := "jicofo-reservation-stub: error: --listen: " + address + ": wanted a free address"
	if code != 3 || out != "" || !strings.HasPrefix(errors, wanted) {
		t.Errorf("got %d, %s%s", code, out, errors)
	}
}

// The process uses its flags, writes its port in the first line, and exits with 0 after a signal.
func TestAsAProcess(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			password := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(password, []byte("open sesame\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			command := exec.CommandContext(testContext(t), os.Args[0],
				"--listen", "127.0.0.1:0", "--password-file", password, "--verbose")
			command.Env = append(os.Environ(), "RUN_AS_COMMAND=1")
			var log bytes.Buffer
			command.Stderr = &log
			stdout, err := command.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			reader := bufio.NewReader(stdout)
			line, err := reader.ReadString('\n')
			fields := strings.Fields(line)
			if err != nil || len(fields) != 4 {
				t.Fatalf("wanted the first line within %v, got %q, %v", timeout, line, err)
			}
			client := pb.NewReservationServiceClient(dial(t, fields[2], nil))
			response, err := client.CreateConference(testContext(t), wanted("r1", "board"))
			if err != nil || response.GetConference().GetPassword() != "open sesame" {
				t.Errorf("got %v, %v", response, err)
			}
			if err := command.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			rest, _ := io.ReadAll(reader)
			if err := command.Wait(); err != nil || len(rest) != 0 {
				t.Errorf("wanted exit code 0 within %v of the start and one line, got %v, %s",
					timeout, err, rest)
			}
			if text := log.String(); strings.Count(text, "result=granted") != 1 ||
				!strings.Contains(text, "level=DEBUG") || strings.Contains(text, "sesame") {
				t.Errorf("got %s", text)
			}
		})
	}
}
