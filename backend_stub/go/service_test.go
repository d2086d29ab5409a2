package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// backend is a running server with a client.
type backend struct {
	t     *testing.T
	clock *fakeClock
	log   output
	pb.ReservationServiceClient
}

// newBackend serves an empty store for ten conferences with this policy. If wrap is not nil, the
// server uses the store that wrap returns.
func newBackend(t *testing.T, policy Policy, wrap func(Store) Store) *backend {
	t.Helper()
	b := &backend{t: t, clock: newClock()}
	var store Store = NewMemoryStore(10, b.clock.Now)
	if wrap != nil {
		store = wrap(store)
	}
	log := slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	connection := dial(t, start(t, NewService(store, policy, log), Options{}, log), nil)
	b.ReservationServiceClient = pb.NewReservationServiceClient(connection)
	return b
}

func (b *backend) ctx() context.Context {
	return metadata.AppendToOutgoingContext(testContext(b.t), "x-incident-id", "inc-17")
}

func (b *backend) create(request *pb.CreateConferenceRequest) *pb.CreateConferenceResponse {
	b.t.Helper()
	response, err := b.CreateConference(b.ctx(), request)
	if err != nil {
		b.t.Fatal(err)
	}
	return response
}

func (b *backend) get(id string) (*pb.Conference, error) {
	response, err := b.GetConference(b.ctx(), &pb.GetConferenceRequest{ConferenceId: id})
	return response.GetConference(), err
}

func (b *backend) delete(id string) {
	b.t.Helper()
	request := &pb.DeleteConferenceRequest{
		ConferenceId: id, Reason: pb.DeleteReason_DELETE_REASON_EXPIRED,
	}
	if _, err := b.DeleteConference(b.ctx(), request); err != nil {
		b.t.Fatal(err)
	}
}

// wantLines fails the test unless the log has exactly these lines at level INFO.
func (b *backend) wantLines(expected string) {
	b.t.Helper()
	got := "\n"
	for line := range strings.Lines(b.log.String()) {
		if _, line, found := strings.Cut(line, "level=INFO "); found {
			got += line
		}
	}
	if got != expected {
		b.t.Errorf("wanted%s got%s", expected, got)
	}
}

func wantEqual(t *testing.T, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("wanted %v, got %v", want, got)
	}
}

// The conference has the room, the owner and the times of the request, an id, and nothing else.
func TestGrantedConferenceEchoesTheRequest(t *testing.T) {
	b := newBackend(t, Policy{}, nil)
	request := wanted("r1", "[acme]caf%c3%a9")
	request.StartTime.Nanos = 123_000_000
	request.Duration = &durationpb.Duration{Seconds: 60, Nanos: 900_000_000}
	conference := b.create(request).GetConference()
	expected := &pb.Conference{
		Id:        conference.GetId(),
		Room:      "[acme]caf%c3%a9",
		Owner:     "juliet@example.com",
		StartTime: request.StartTime,
		Duration:  request.Duration,
	}
	if conference.GetId() == "" {
		t.Error("wanted an id")
	}
	wantEqual(t, conference, expected)
	found, err := b.get(conference.GetId())
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, found, expected)
}

// A request without an owner, as from Jitsi without authentication, gets an empty owner.
func TestNoOwnerIsAnEmptyOwner(t *testing.T) {
	b := newBackend(t, Policy{}, nil)
	request := wanted("r1", "board")
	request.Owner = nil
	if conference := b.create(request).GetConference(); conference == nil || conference.Owner != "" {
		t.Errorf("got %v", conference)
	}
}

// A repeated request_id gets a grant with the same conference, not a conflict.
func TestRepeatedRequestIsGrantedTheSame(t *testing.T) {
	b := newBackend(t, Policy{}, nil)
	wantEqual(t, b.create(wanted("r1", "board")), b.create(wanted("r1", "board")))
}

// Another request for the room gets a conflict with the whole conference, even for the same owner.
func TestConflictCarriesTheWholeConference(t *testing.T) {
	b := newBackend(t, Policy{MaxOccupants: 5, Lobby: true, Password: "open sesame"}, nil)
	held := b.create(wanted("r1", "board")).GetConference()
	if held.GetPassword() != "open sesame" || !held.GetLobby() || held.GetMaxOccupants() != 5 {
		t.Errorf("wanted the options of the policy, got %v", held)
	}
	for _, owner := range []string{"juliet@example.com", "romeo@example.com"} {
		request := wanted("r2", "board")
		request.Owner.Raw = owner
		wantEqual(t, b.create(request).GetConflict().GetConference(), held)
	}
}

// Two rooms are the same only if their Room.raw is the same: another tenant or another spelling is
// another room.
func TestRoomsAreTheSameWhenTheirRawValuesAre(t *testing.T) {
	b := newBackend(t, Policy{}, nil)
	for _, room := range []string{"board", "[acme]board", "[globex]board", "BOARD", "bo%61rd"} {
		if b.create(wanted("for "+room, room)).GetConference() == nil {
			t.Errorf("%s: wanted a grant", room)
		}
	}
}

// After a deletion, the id gets NOT_FOUND, the room is free, and the request is a new one. Deleting
// the id again, or an unknown id, is OK.
func TestDeletedConferenceIsGone(t *testing.T) {
	b := newBackend(t, Policy{}, nil)
	first := b.create(wanted("r1", "board")).GetConference()
	b.delete(first.GetId())
	_, err := b.get(first.GetId())
	wantCode(t, err, codes.NotFound, "no such conference")
	second := b.create(wanted("r1", "board")).GetConference()
	b.delete(first.GetId())
	b.delete("no-such-id")
	if found, err := b.get(second.GetId()); err != nil || first.GetId() == second.GetId() {
		t.Errorf("wanted the later conference with an id of its own, got %v, %v", found, err)
	}
}

// After start_time + duration, the id gets NOT_FOUND, and another request gets the room.
func TestConferenceThatIsOverIsGone(t *testing.T) {
	b := newBackend(t, Policy{}, nil)
	request := wanted("r1", "board")
	request.Duration = durationpb.New(time.Minute)
	first := b.create(request).GetConference()
	b.clock.Advance(time.Minute)
	_, err := b.get(first.GetId())
	wantCode(t, err, codes.NotFound, "")
	if second := b.create(wanted("r2", "board")).GetConference(); second.GetId() == first.GetId() {
		t.Errorf("wanted another conference, got %v", second)
	}
}

// A request whose end has already passed gets a denial.
func TestRequestForThePastIsDenied(t *testing.T) {
	b := newBackend(t, Policy{}, nil)
	request := wanted("r1", "board")
	request.Duration = durationpb.New(time.Minute)
	b.clock.Advance(time.Minute)
	wantEqual(t, b.create(request).GetDenial(), &pb.Denial{
		Message: "The time of this meeting is over already.",
		Reason:  pb.DenialReason_DENIAL_REASON_TOO_LATE,
	})
}

// A full store answers RESOURCE_EXHAUSTED until a conference is deleted.
func TestFullStoreIsAnError(t *testing.T) {
	b := newBackend(t, Policy{}, nil)
	var last *pb.Conference
	for number := range 10 {
		name := fmt.Sprint(number)
		last = b.create(wanted(name, name)).GetConference()
	}
	_, err := b.CreateConference(b.ctx(), wanted("r2", "two"))
	wantCode(t, err, codes.ResourceExhausted,
		"the store is full: it holds 10 conferences, its maximum number")
	b.delete(last.GetId())
	b.create(wanted("r2", "two"))
}

// The server refuses a request that is too large.
func TestOversizedRequestIsRefused(t *testing.T) {
	b := newBackend(t, Policy{}, nil)
	request := wanted("r1", "board")
	request.Owner.Raw = strings.Repeat("j", 300_000)
	_, err := b.CreateConference(b.ctx(), request)
	wantCode(t, err, codes.ResourceExhausted, "")
}

// If many callers request a room at the same time, exactly one of them gets it.
func TestOneOfSimultaneousCallsIsGranted(t *testing.T) {
	const callers, rooms = 8, 10
	b := newBackend(t, Policy{}, nil)
	var mu sync.Mutex
	grants := map[string]int{}
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for number := range rooms {
				room := fmt.Sprint("room", number)
				request := wanted(fmt.Sprint(caller, room), room)
				response, err := b.CreateConference(b.ctx(), request)
				mu.Lock()
				if err == nil && response.GetConference() != nil {
					grants[room]++
				}
				mu.Unlock()
			}
		})
	}
	finish(t, &group, "the calls did not all return")
	for number := range rooms {
		if room := fmt.Sprint("room", number); grants[room] != 1 {
			t.Errorf("%s: wanted one grant, got %d", room, grants[room])
		}
	}
}

// The log has one line for each call with the incident id, the request and the result, and never a
// password.
func TestOneLineForEachCall(t *testing.T) {
	denied, _ := ParseNamePattern("denied")
	b := newBackend(t, Policy{Password: "open sesame", Deny: []NamePattern{denied}}, nil)
	request := wanted("r1", "two\nlines")
	request.ExtraFields = map[string]string{"x-pass": "hunter2"}
	id := b.create(request).GetConference().GetId()
	b.create(wanted("r2", "two\nlines"))
	b.create(wanted("r3", "denied"))
	_, _ = b.get(id)
	_, _ = b.get("")
	b.delete(id)
	b.wantLines(fmt.Sprintf(`
msg=create incident=inc-17 room="two\nlines" holder="" hold=0 result=granted id=%[1]s
msg=create incident=inc-17 room="two\nlines" holder="" hold=0 result=conflict id=%[1]s
msg=create incident=inc-17 room=denied holder="" hold=0 result=denied reason=DENIAL_REASON_INVALID_ROOM
msg=get incident=inc-17 id=%[1]s result=found
msg=get incident=inc-17 id="" result=InvalidArgument error="conference_id: wanted a value, got none"
msg=delete incident=inc-17 id=%[1]s reason=DELETE_REASON_EXPIRED holder="" hold=0 result=deleted
`, id))
	whole := b.log.String()
	if !strings.Contains(whole, "owner=juliet@example.com") {
		t.Error("wanted the owner at level DEBUG")
	}
	if strings.Contains(whole, "sesame") || strings.Contains(whole, "hunter2") {
		t.Error("wanted no secret in the log, got one")
	}
}

// The generated code has the service name of the contract, which backend teams and probes use.
func TestServiceIsNamedAsInTheContract(t *testing.T) {
	var description grpc.ServiceDesc = pb.ReservationService_ServiceDesc
	if description.ServiceName != "jicofo.reservation.v1.ReservationService" {
		t.Errorf("got %s", description.ServiceName)
	}
}
