package main

import (
	"net/http"
	"sync/atomic"
	"time"
)

// httpBackend is the backend with the HTTP API of Jitsi's handbook: it grants
// each request a new conference, after a delay. It stores nothing.
type httpBackend struct {
	delay   time.Duration
	numbers atomic.Int64
}

func serveHTTPBackend(delay time.Duration) error {
	b := &httpBackend{delay: delay}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /conference", b.create)
	mux.HandleFunc("GET /conference/{id}", b.get)
	mux.HandleFunc("DELETE /conference/{id}", b.delete)
	return serveHTTP("0", mux)
}

func (b *httpBackend) create(w http.ResponseWriter, r *http.Request) {
	time.Sleep(b.delay)
	answer(w, map[string]any{
		"id":         b.numbers.Add(1),
		"name":       r.FormValue("name"),
		"mail_owner": r.FormValue("mail_owner"),
		"start_time": r.FormValue("start_time"),
		"duration":   -1,
	})
}

func (b *httpBackend) get(w http.ResponseWriter, r *http.Request) {
	time.Sleep(b.delay)
	answer(w, map[string]any{"id": r.PathValue("id"), "start_time": now(".000Z")})
}

func (b *httpBackend) delete(w http.ResponseWriter, _ *http.Request) {
	time.Sleep(b.delay)
	answer(w, map[string]any{})
}
