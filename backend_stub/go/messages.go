// The messages of the contract: this file checks a request and converts a conference to a message.

package main

import (
	"time"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// The contract's limit for Room.raw.
const roomBytesMax = 1023

// check returns INVALID_ARGUMENT if the request breaks the contract; the text names the field.
func check(request *pb.CreateConferenceRequest) error {
	room, start, duration := request.GetRoom().GetRaw(), request.GetStartTime(), request.GetDuration()
	holder, hold := request.GetHolder(), request.GetHold()
	switch {
	case request.GetRequestId() == "":
		return missing("request_id")
	case room == "":
		return missing("room.raw")
	case len(room) > roomBytesMax:
		return invalid("room.raw: wanted at most %d bytes, got %d", roomBytesMax, len(room))
	case request.GetOwner() != nil && request.GetOwner().GetRaw() == "":
		return missing("owner.raw")
	case holder == "" && hold != 0:
		return invalid("hold: wanted 0, because holder is empty, got %d", hold)
	case holder != "" && hold <= 0:
		return invalid("hold: wanted a positive number, because holder is set, got %d", hold)
	case start == nil:
		return invalid("start_time: wanted a time, got none")
	case !start.IsValid():
		return invalid("start_time: wanted a valid time in the years 1 to 9999, "+
			"got %d s and %d ns", start.GetSeconds(), start.GetNanos())
	case duration != nil && !(duration.IsValid() && isPositive(duration)):
		return invalid("duration: wanted a positive duration of at most 10,000 years, or none, "+
			"got %d s and %d ns", duration.GetSeconds(), duration.GetNanos())
	}
	return nil
}

// checkDeletion returns INVALID_ARGUMENT if the request names no conference.
func checkDeletion(request *pb.DeleteConferenceRequest) error {
	if request.GetConferenceId() == "" && request.GetRoom() == "" {
		return missing("conference_id or room")
	}
	return nil
}

// isWithdrawal returns whether the request is for the conference that holds its room. If the request
// has an id, the room does not count.
func isWithdrawal(request *pb.DeleteConferenceRequest) bool {
	return request.GetConferenceId() == ""
}

func missing(field string) error {
	return invalid("%s: wanted a value, got none", field)
}

func invalid(format string, values ...any) error {
	return status.Errorf(codes.InvalidArgument, format, values...)
}

// after returns start plus the duration, or the zero Time if there is no duration. It does not use
// start.Add, because a time.Duration holds at most 292 years.
func after(start time.Time, duration *durationpb.Duration) time.Time {
	if duration == nil {
		return time.Time{}
	}
	seconds := start.Unix() + duration.GetSeconds()
	return time.Unix(seconds, int64(start.Nanosecond())+int64(duration.GetNanos())).UTC()
}

// between returns the duration from start to end, or nil if end is the zero Time.
func between(start, end time.Time) *durationpb.Duration {
	if end.IsZero() {
		return nil
	}
	seconds, nanos := end.Unix()-start.Unix(), int32(end.Nanosecond()-start.Nanosecond())
	if nanos < 0 {
		seconds, nanos = seconds-1, nanos+1e9
	}
	return &durationpb.Duration{Seconds: seconds, Nanos: nanos}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func isPositive(duration *durationpb.Duration) bool {
	return duration.GetSeconds() > 0 || duration.GetNanos() > 0
}

func denied(denial *pb.Denial) *pb.CreateConferenceResponse {
	return &pb.CreateConferenceResponse{Outcome: &pb.CreateConferenceResponse_Denial{Denial: denial}}
}

func message(conference Conference) *pb.Conference {
	return &pb.Conference{
		Id:           conference.ID,
		Room:         conference.Room,
		Owner:        conference.Owner,
		StartTime:    timestamppb.New(conference.Start),
		Duration:     between(conference.Start, conference.End),
		MaxOccupants: optional(conference.MaxOccupants),
		Lobby:        optional(conference.Lobby),
		Password:     optional(string(conference.Password)),
	}
}

// optional returns the value of an optional field: nil, which means not set, for the zero value.
func optional[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}
