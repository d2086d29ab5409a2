// TLS and mTLS by files.

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
)

// TLSFiles name what the server shows, and what it asks of clients, all PEM. With ClientCA, only
// clients with a certificate of that authority are let in (mTLS).
type TLSFiles struct {
	Cert     string
	Key      string
	ClientCA string
}

// Config returns settings that follow the files: they are read again for every new connection, of
// which a proxy opens few. Files that cannot be used then leave the last good ones in force, and a
// warning in the log. It fails where they cannot be used now.
func (f TLSFiles) Config(log *slog.Logger) (*tls.Config, error) {
	first, err := f.read()
	if err != nil {
		return nil, err
	}
	var good atomic.Pointer[tls.Config]
	good.Store(first)
	config := first.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if fresh, err := f.read(); err != nil {
			log.Warn("TLS files: the last good ones stay in force", "error", err)
		} else {
			good.Store(fresh)
		}
		return good.Load(), nil
	}
	return config, nil
}

func (f TLSFiles) read() (*tls.Config, error) {
	chain, err := readFile(f.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readFile(f.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("wanted a PEM certificate chain and its unencrypted private key, "+
			"got %s and %s: %w", f.Cert, f.Key, err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
		// A resumed session would not ask for a certificate of the authority in force now.
		SessionTicketsDisabled: true,
	}
	if f.ClientCA == "" {
		return config, nil
	}
	authority, err := readFile(f.ClientCA)
	if err != nil {
		return nil, err
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("wanted PEM certificates of an authority, got none in %s", f.ClientCA)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}

// readFile words its error as those of the flags are.
func readFile(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if failure, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("wanted a readable file, got %s: %w", path, failure.Err)
	}
	return content, err
}
