package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const tenThousandYears = 315_576_000_000

// A conference gets the requested duration or the maximum duration, whichever is shorter, exact to
// the nanosecond. If both are missing, it has no limit.
func TestTheShorterDurationApplies(t *testing.T) {
	length := func(seconds int64, nanos int32) *durationpb.Duration {
		return &durationpb.Duration{Seconds: seconds, Nanos: nanos}
	}
	for _, test := range []struct{ asked, limit, given *durationpb.Duration }{
		{nil, nil, nil},
		{length(90, 0), nil, length(90, 0)},
		{nil, length(60, 0), length(60, 0)},
		{length(30, 0), length(60, 0), length(30, 0)},
		{length(60, 1), length(60, 0), length(60, 0)},
		{length(0, 1), length(60, 0), length(0, 1)},
		{length(10_000_000_000, 0), nil, length(10_000_000_000, 0)},
		{length(tenThousandYears, 0), nil, length(tenThousandYears, 0)},
		{nil, length(tenThousandYears, 0), length(tenThousandYears, 0)},
	} {
		for _, start := range []time.Time{
			time.Date(2030, 1, 2, 3, 4, 5, 999_000_000, time.UTC),
			time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		} {
			t.Run(fmt.Sprint(test, start.Year()), func(t *testing.T) {
				b := newBackend(t, Policy{Longest: test.limit}, nil)
				request := wanted("r1", "board")
				request.StartTime, request.Duration = timestamppb.New(start), test.asked
				wantEqual(t, b.create(request).GetConference().GetDuration(), test.given)
			})
		}
	}
}

// A request that breaks the contract gets INVALID_ARGUMENT with the name of the field, and does not
// hold the room.
func TestBrokenCreateIsAnInvalidArgument(t *testing.T) {
	b := newBackend(t, Policy{}, nil)
	type request = pb.CreateConferenceRequest
	lasts := func(seconds int64, nanos int32) func(*request) {
		return func(r *request) { r.Duration = &durationpb.Duration{Seconds: seconds, Nanos: nanos} }
	}
	starts := func(seconds int64, nanos int32) func(*request) {
		return func(r *request) {
			r.StartTime = &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos}
		}
	}
	for _, test := range []struct {
		text   string
		breaks func(*request)
	}{
		{"request_id: wanted a value, got none", func(r *request) { r.RequestId = "" }},
		{"room.raw: wanted a value, got none", func(r *request) { r.Room = nil }},
		{"room.raw: wanted a value, got none", func(r *request) { r.Room.Raw = "" }},
		{
			"room.raw: wanted at most 1023 bytes, got 1024",
			func(r *request) { r.Room.Raw = strings.Repeat("é", 512) },
		},
		{"owner.raw: wanted a value, got none", func(r *request) { r.Owner.Raw = "" }},
		{"hold: wanted 0, because holder is empty, got 7", func(r *request) { r.Hold = 7 }},
		{"hold: wanted 0, because holder is empty, got -1", func(r *request) { r.Hold = -1 }},
		{
			"hold: wanted a positive number, because holder is set, got 0",
			func(r *request) { r.Holder = "proxy 1" },
		},
		{
			"hold: wanted a positive number, because holder is set, got -1",
			func(r *request) { r.Holder, r.Hold = "proxy 1", -1 },
		},
		{"start_time: wanted a time, got none", func(r *request) { r.StartTime = nil }},
		{"start_time: wanted a valid time in the years 1 to 9999, got", starts(1e12, 0)},
		{"start_time: wanted a valid time in the years 1 to 9999, got", starts(0, -1)},
		{"duration: wanted a positive duration of at most 10,000 years, or none, got", lasts(0, 0)},
		{"duration: wanted a positive duration of at most 10,000 years, or none, got", lasts(-1, 0)},
		{"duration: wanted a positive duration of at most 10,000 years, or none, got", lasts(1, -1)},
		{
			"duration: wanted a positive duration of at most 10,000 years, or none, got",
			lasts(tenThousandYears+1, 0),
		},
		{"duration: wanted a positive duration of at most 10,000 years, or none, got", lasts(1<<62, 0)},
	} {
		broken := wanted("r1", "board")
		test.breaks(broken)
		_, err := b.CreateConference(b.ctx(), broken)
		wantCode(t, err, codes.InvalidArgument, test.text)
	}
	if b.create(wanted("r2", "board")).GetConference() == nil {
		t.Error("wanted the room to be free")
	}
}

// GetConference without an id, and DeleteConference without an id and a room, get INVALID_ARGUMENT.
func TestBrokenGetAndDeleteAreInvalidArguments(t *testing.T) {
	b := newBackend(t, Policy{}, nil)
	_, err := b.get("")
	wantCode(t, err, codes.InvalidArgument, "conference_id: wanted a value, got none")
	_, err = b.DeleteConference(b.ctx(), &pb.DeleteConferenceRequest{Holder: "proxy 1", Hold: 7})
	wantCode(t, err, codes.InvalidArgument, "conference_id or room: wanted a value, got none")
}
