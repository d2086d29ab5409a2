package main

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

// serveTLS starts a server with these files, and returns its address.
func serveTLS(t *testing.T, files TLSFiles, log *slog.Logger) string {
	t.Helper()
	config, err := files.Config(log)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, Options{TLS: config})
}

// serverFiles returns the files of a server with the name localhost.
func (a *authority) serverFiles(clientCA string) TLSFiles {
	cert, key := a.issue("localhost")
	return TLSFiles{Cert: cert, Key: key, ClientCA: clientCA}
}

// wantAccepted calls the server, and fails the test unless the server accepts or refuses the client
// as the test wants.
func wantAccepted(t *testing.T, address string, client *tls.Config, accepted bool) {
	t.Helper()
	expected := codes.Unavailable
	if accepted {
		expected = codes.NotFound
	}
	if code := get(testContext(t), dial(t, address, client)); code != expected {
		t.Errorf("wanted %v, got %v", expected, code)
	}
}

// Only a client that trusts the authority, expects the server's name and uses TLS 1.2 or newer can
// call the server.
func TestTLS(t *testing.T) {
	good, other := newAuthority(t), newAuthority(t)
	address := serveTLS(t, good.serverFiles(""), quiet)
	wantAccepted(t, address, good.trusting(), true)
	wantAccepted(t, address, other.trusting(), false)
	wantAccepted(t, address, nil, false)
	otherName := good.trusting()
	otherName.ServerName = "other.example.com"
	wantAccepted(t, address, otherName, false)
	old := good.trusting()
	old.MinVersion, old.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	wantAccepted(t, address, old, false)
}

// With mTLS, only a client with a certificate of the authority can call the server.
func TestMTLS(t *testing.T) {
	good, other := newAuthority(t), newAuthority(t)
	address := serveTLS(t, good.serverFiles(good.file), quiet)
	wantAccepted(t, address, good.trusting(good.issue("client")), true)
	wantAccepted(t, address, good.trusting(), false)
	wantAccepted(t, address, good.trusting(other.issue("client")), false)
}

// The server reads the TLS files again for a new connection. If they are not valid, it uses the last
// valid ones and logs a warning.
func TestTLSFilesAreReadAgain(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	files := before.serverFiles(before.file)
	var log output
	address := serveTLS(t, files, slog.New(slog.NewTextHandler(&log, nil)))
	old := before.trusting(before.issue("client"))
	wantAccepted(t, address, old, true)

	replaced := after.serverFiles(after.file)
	for from, to := range map[string]string{
		replaced.Cert: files.Cert, replaced.Key: files.Key, replaced.ClientCA: files.ClientCA,
	} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	wantAccepted(t, address, old, false)
	after.file = files.ClientCA
	fresh := after.trusting(after.issue("client"))
	wantAccepted(t, address, fresh, true)
	if log.String() != "" {
		t.Errorf("wanted no warning, got %s", log.String())
	}

	if err := os.WriteFile(files.Cert, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantAccepted(t, address, fresh, true)
	if !strings.Contains(log.String(), "the TLS files are not valid, the server uses the last valid") {
		t.Errorf("wanted a warning, got %s", log.String())
	}
}

// If a TLS file is not valid, Config returns an error that names the file. So the error appears
// before the first handshake.
func TestUnusableTLSFiles(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("localhost")
	_, otherKey := a.issue("client")
	broken, encrypted := filepath.Join(a.folder, "broken"), filepath.Join(a.folder, "encrypted")
	write(t, broken, "NOTHING", nil)
	write(t, encrypted, "ENCRYPTED PRIVATE KEY", []byte("not a key"))
	const pair = "wanted a PEM certificate chain and its unencrypted private key, got "
	const missing = "wanted a readable file, got missing: no such file or directory"
	for _, test := range []struct {
		files TLSFiles
		text  string
	}{
		{TLSFiles{"missing", key, ""}, missing},
		{TLSFiles{cert, "missing", ""}, missing},
		{TLSFiles{cert, key, "missing"}, missing},
		{TLSFiles{broken, key, ""}, pair + broken + " and " + key + ": "},
		{TLSFiles{cert, broken, ""}, pair + cert + " and " + broken + ": "},
		{TLSFiles{cert, otherKey, ""}, pair + cert + " and " + otherKey + ": "},
		{TLSFiles{cert, encrypted, ""}, pair + cert + " and " + encrypted + ": "},
		{TLSFiles{cert, key, broken}, "wanted PEM certificates of an authority, got none in " + broken},
	} {
		_, err := test.files.Config(quiet)
		if err == nil || !strings.HasPrefix(err.Error(), test.text) {
			t.Errorf("wanted %q, got %v", test.text, err)
		}
	}
}
