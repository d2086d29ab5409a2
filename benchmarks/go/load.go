package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
)

// patience is longer than any answer takes, so a broken run ends.
const patience = 10 * time.Second

// Job keeps a number of calls in flight, either for some time or until each
// connection has made a number of calls. Way is "kept" (one connection, as
// Jicofo), "new" (a new connection for each call, as Prosody) or "life" (a POST
// and then a DELETE, on one connection). Speaks is "form" (of Jicofo and
// Prosody), "json" (the contract as JSON) or "grpc" (without a bridge). Rooms is
// the beginning of the rooms' names.
type Job struct {
	Way         string  `json:"way"`
	Speaks      string  `json:"speaks"`
	Port        int     `json:"port"`
	Connections int     `json:"connections"`
	Seconds     float64 `json:"seconds"`
	Calls       int     `json:"calls"`
	Rooms       string  `json:"rooms"`
}

// Result has the time of each call in microseconds, how many calls were answered
// in time for each second, and the share of a core that this client used.
type Result struct {
	LatenciesUS      []float64 `json:"latencies_us"`
	AnswersPerSecond float64   `json:"answers_per_second"`
	ClientCores      float64   `json:"client_cores"`
}

// caller makes one call after the other.
type caller interface {
	call() error
	close()
}

// rooms gives each call another room, which no other run has used.
type rooms struct {
	run     uint32
	numbers atomic.Int64
}

func (r *rooms) next(prefix string) string {
	return fmt.Sprintf("%s-%08x-%08d", prefix, r.run, r.numbers.Add(1))
}

func doJobs(jobs io.Reader, results io.Writer) error {
	names := &rooms{run: rand.Uint32()}
	decoder, encoder := json.NewDecoder(jobs), json.NewEncoder(results)
	for {
		var job Job
		if err := decoder.Decode(&job); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		result, err := job.run(names)
		if err != nil {
			return err
		}
		if err := encoder.Encode(result); err != nil {
			return err
		}
	}
}

func (j Job) run(names *rooms) (*Result, error) {
	callers := make([]caller, j.Connections)
	for n := range callers {
		made, err := j.caller(names)
		if err != nil {
			return nil, err
		}
		defer made.close()
		callers[n] = made
	}
	used, began := processorTime(), time.Now()
	latencies, err := j.measure(callers, began)
	if err != nil {
		return nil, err
	}
	took := time.Since(began).Seconds()
	seconds := j.Seconds
	if seconds == 0 {
		seconds = took
	}
	return &Result{
		LatenciesUS:      latencies,
		AnswersPerSecond: float64(len(latencies)) / seconds,
		ClientCores:      (processorTime() - used).Seconds() / took,
	}, nil
}

// measure lets all callers call until the job is done. It waits for the last
// answers too, but does not count those that come after the time.
func (j Job) measure(callers []caller, began time.Time) ([]float64, error) {
	var wait sync.WaitGroup
	all := make([][]float64, len(callers))
	failures := make([]error, len(callers))
	for n, each := range callers {
		wait.Go(func() { all[n], failures[n] = j.calls(each, began) })
	}
	wait.Wait()
	var latencies []float64
	for _, some := range all {
		latencies = append(latencies, some...)
	}
	return latencies, errors.Join(failures...)
}

func (j Job) calls(each caller, began time.Time) ([]float64, error) {
	var latencies []float64
	end := began.Add(time.Duration(j.Seconds * float64(time.Second)))
	for j.Calls == 0 || len(latencies) < j.Calls {
		start := time.Now()
		if err := each.call(); err != nil {
			return nil, err
		}
		now := time.Now()
		if j.Calls == 0 && now.After(end) {
			break
		}
		latencies = append(latencies, float64(now.Sub(start).Nanoseconds())/1000)
	}
	return latencies, nil
}

func (j Job) caller(names *rooms) (caller, error) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(j.Port))
	next := func() string { return names.next(j.Rooms) }
	switch j.Speaks + " " + j.Way {
	case "form kept":
		return &keptCaller{room: next, request: jicofoRequest, address: address}, nil
	case "json kept":
		return &keptCaller{room: next, request: jsonRequest, address: address}, nil
	case "form new":
		return &newCaller{room: next, request: prosodyRequest, address: address}, nil
	case "json new":
		return &newCaller{room: next, request: jsonRequest, address: address}, nil
	case "form life":
		kept := keptCaller{room: next, request: jicofoRequest, address: address}
		return &lifeCaller{kept}, nil
	case "grpc kept":
		return newDirectCaller(next, address)
	}
	return nil, fmt.Errorf("cannot do a job that speaks %q in the way %q", j.Speaks, j.Way)
}

// connection sends requests and reads the answers.
type connection struct {
	net.Conn
	reader *bufio.Reader
}

func dial(address string) (*connection, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	return &connection{conn, bufio.NewReader(conn)}, nil
}

// ask sends a request and returns the body of its answer, which must be a 200.
func (c *connection) ask(request string) ([]byte, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, request); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("wanted a 200, got %s %s", response.Status, body)
	}
	return body, err
}

// keptCaller sends its requests on one connection.
type keptCaller struct {
	room    func() string
	request func(room string) string
	address string
	conn    *connection
}

func (c *keptCaller) call() error {
	_, err := c.create()
	return err
}

// create returns the body of the answer.
func (c *keptCaller) create() ([]byte, error) {
	if c.conn == nil {
		conn, err := dial(c.address)
		if err != nil {
			return nil, err
		}
		c.conn = conn
	}
	return c.conn.ask(c.request(c.room()))
}

func (c *keptCaller) close() {
	if c.conn != nil {
		c.conn.Close()
	}
}

// lifeCaller opens a room and closes it again.
type lifeCaller struct{ keptCaller }

func (c *lifeCaller) call() error {
	body, err := c.create()
	if err != nil {
		return err
	}
	var granted struct {
		ID json.Number `json:"id"`
	}
	if err := json.Unmarshal(body, &granted); err != nil {
		return fmt.Errorf("wanted an answer with an id, got %s: %w", body, err)
	}
	_, err = c.conn.ask(jicofoDelete(granted.ID.String()))
	return err
}

// newCaller sends each request on a new connection.
type newCaller struct {
	room    func() string
	request func(room string) string
	address string
}

func (c *newCaller) call() error {
	conn, err := dial(c.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.ask(c.request(c.room()))
	return err
}

func (c *newCaller) close() {}

// directCaller calls the backend without a bridge.
type directCaller struct {
	room func() string
	conn *grpc.ClientConn
	stub pb.ReservationServiceClient
}

func newDirectCaller(room func() string, address string) (caller, error) {
	conn, err := grpc.NewClient(
		address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &directCaller{room, conn, pb.NewReservationServiceClient(conn)}, nil
}

func (c *directCaller) call() error {
	room := c.room()
	limited, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	granted, err := c.stub.CreateConference(limited, &pb.CreateConferenceRequest{
		RequestId: room,
		Room:      &pb.Room{Raw: room, Name: room},
		Owner:     &pb.Owner{Raw: owner},
		StartTime: timestamppb.Now(),
	})
	if err == nil && granted.GetConference() == nil {
		return errors.New("the backend did not grant the room")
	}
	return err
}

func (c *directCaller) close() { c.conn.Close() }

const owner = "juliet@example.com"

// jicofoRequest returns the POST of Jicofo's Apache client, byte for byte.
func jicofoRequest(room string) string {
	form := "name=" + url.QueryEscape(room) + "&mail_owner=" + url.QueryEscape(owner) +
		"&start_time=" + url.QueryEscape(now(".000Z")) + "&duration=-1"
	return "POST /conference HTTP/1.1\r\n" +
		"Content-Length: " + strconv.Itoa(len(form)) + "\r\n" +
		"Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n" +
		"Host: 127.0.0.1:7777\r\n" +
		"Connection: Keep-Alive\r\n" +
		"User-Agent: Apache-HttpClient/4.5.13 (Java/17)\r\n" +
		"Accept-Encoding: gzip,deflate\r\n\r\n" + form
}

// jicofoDelete returns the DELETE of the same client.
func jicofoDelete(id string) string {
	return "DELETE /conference/" + id + " HTTP/1.1\r\n" +
		"Host: 127.0.0.1:7777\r\n" +
		"Connection: Keep-Alive\r\n" +
		"User-Agent: Apache-HttpClient/4.5.13 (Java/17)\r\n" +
		"Accept-Encoding: gzip,deflate\r\n\r\n"
}

// prosodyRequest returns the POST of Prosody's mod_reservations.
func prosodyRequest(room string) string {
	form := "name=" + url.QueryEscape(room) + "&mail_owner=" + url.QueryEscape(owner) +
		"&start_time=" + url.QueryEscape(now("")+".000Z")
	return "POST /conference HTTP/1.1\r\n" +
		"Host: 127.0.0.1:7777\r\n" +
		"Connection: close\r\n" +
		"User-Agent: Prosody (0.12.3; posix)\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n" +
		"Content-Length: " + strconv.Itoa(len(form)) + "\r\n\r\n" + form
}

// jsonRequest returns the fields of CreateConference as JSON, for a transcoder.
func jsonRequest(room string) string {
	body := fmt.Sprintf(`{"requestId":%q,"room":{"raw":%q,"name":%q},"owner":{"raw":%q},`+
		`"startTime":%q}`, room, room, room, owner, now(".000Z"))
	return "POST /jicofo.reservation.v1.ReservationService/CreateConference HTTP/1.1\r\n" +
		"Host: 127.0.0.1:7777\r\n" +
		"Content-Type: application/json\r\n" +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

func now(fraction string) string {
	return time.Now().UTC().Format("2006-01-02T15:04:05" + fraction)
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
