// TLS and mTLS with certificates and keys from files.

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

// TLSFiles holds the paths of three PEM files: the certificate chain of the server, its private
// key, and the authority of its clients. With ClientCA, the server accepts only clients with a
// certificate of that authority (mTLS).
type TLSFiles struct {
	Cert     string
	Key      string
	ClientCA string
}

// Config returns a TLS configuration, or an error if the files are not valid. The server reads the
// files again for every new connection; a proxy opens few connections. If the files are no longer
// valid, the server uses the last valid files and logs a warning.
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
			log.Warn("the TLS files are not valid, the server uses the last valid ones", "error", err)
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
		// Without session tickets, every connection has a full handshake. A full handshake checks the
		// client's certificate with the authority that is in the file now.
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

// readFile returns the content of a file. Its error has the same form as the errors of the flags.
func readFile(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if failure, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("wanted a readable file, got %s: %w", path, failure.Err)
	}
	return content, err
}
