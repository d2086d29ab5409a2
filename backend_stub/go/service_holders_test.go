package main

import (
	"fmt"
	"testing"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
)

// wantedBy returns a request with the holder and the hold of this row.
func wantedBy(requestID, room string, row Row) *pb.CreateConferenceRequest {
	request := wanted(requestID, room)
	request.Holder, request.Hold = row.Holder, row.Hold
	return request
}

func (b *backend) deleteFor(request *pb.DeleteConferenceRequest, row Row) {
	b.t.Helper()
	request.Holder, request.Hold = row.Holder, row.Hold
	request.Reason = pb.DeleteReason_DELETE_REASON_ENDED
	if _, err := b.DeleteConference(b.ctx(), request); err != nil {
		b.t.Fatal(err)
	}
}

func (b *backend) wantHeld(id string, expected bool) {
	b.t.Helper()
	if _, err := b.get(id); (err == nil) != expected {
		b.t.Errorf("conference %s exists: wanted %t, got %v", id, expected, err)
	}
}

// A grant, a repeat and a conflict carry the hold of the row of the holder that asks. It is 0 for the
// empty holder and in a denial.
func TestAnswersCarryTheHoldOfTheRow(t *testing.T) {
	denied, err := ParseNamePattern("denied")
	if err != nil {
		t.Fatal(err)
	}
	b := newBackend(t, Policy{Deny: []NamePattern{denied}}, nil)
	for _, test := range []struct {
		request *pb.CreateConferenceRequest
		hold    int64
	}{
		{wantedBy("r1", "board", Row{proxy1, 5}), 5},
		{wantedBy("r1", "board", Row{proxy1, 4}), 5},
		{wantedBy("r1", "board", Row{proxy2, 3}), 3},
		{wantedBy("r2", "board", Row{proxy2, 8}), 8},
		{wantedBy("r2", "board", Row{proxy2, 7}), 8},
		{wantedBy("r2", "board", Row{noHolder, 0}), 0},
		{wantedBy("r3", "denied", Row{proxy1, 9}), 0},
	} {
		if response := b.create(test.request); response.GetHold() != test.hold {
			t.Errorf("wanted the hold %d, got %v", test.hold, response)
		}
	}
}

// A proxy that deletes or withdraws the conference does not end the meeting of another proxy. The log
// says what each deletion did, and names the conference of a withdrawal.
func TestAProxyEndsOnlyItsOwnUseOfAConference(t *testing.T) {
	b := newBackend(t, Policy{}, nil)
	id := b.create(wantedBy("r1", "board", Row{proxy1, 5})).GetConference().GetId()
	byID := &pb.DeleteConferenceRequest{ConferenceId: id}
	byRoom := &pb.DeleteConferenceRequest{Room: "board"}
	b.create(wantedBy("r2", "board", Row{proxy2, 7}))
	b.deleteFor(byID, Row{proxy1, 4})
	b.deleteFor(byID, Row{proxy1, 5})
	b.deleteFor(byID, Row{proxy1, 5})
	b.deleteFor(byRoom, Row{proxy2, 6})
	b.wantHeld(id, true)
	b.deleteFor(byRoom, Row{proxy2, 7})
	b.wantHeld(id, false)
	b.deleteFor(byRoom, Row{proxy2, 7})
	b.deleteFor(byID, Row{proxy2, 7})
	_, _ = b.DeleteConference(b.ctx(), &pb.DeleteConferenceRequest{})
	b.wantLines(fmt.Sprintf(`
msg=create incident=inc-17 room=board holder="proxy 1" hold=5 result=granted id=%[1]s
msg=create incident=inc-17 room=board holder="proxy 2" hold=7 result=conflict id=%[1]s
msg=delete incident=inc-17 id=%[1]s reason=DELETE_REASON_ENDED holder="proxy 1" hold=4 result="not changed: this holder asked for it again with a greater hold"
msg=delete incident=inc-17 id=%[1]s reason=DELETE_REASON_ENDED holder="proxy 1" hold=5 result="released; other holders have it"
msg=delete incident=inc-17 id=%[1]s reason=DELETE_REASON_ENDED holder="proxy 1" hold=5 result="not changed: this holder does not have it"
msg=delete incident=inc-17 room=board reason=DELETE_REASON_ENDED holder="proxy 2" hold=6 id=%[1]s result="not changed: this holder asked for it again with a greater hold"
msg=get incident=inc-17 id=%[1]s result=found
msg=delete incident=inc-17 room=board reason=DELETE_REASON_ENDED holder="proxy 2" hold=7 id=%[1]s result=deleted
msg=get incident=inc-17 id=%[1]s result=NotFound error="no such conference"
msg=delete incident=inc-17 room=board reason=DELETE_REASON_ENDED holder="proxy 2" hold=7 id="" result="not changed: no such conference"
msg=delete incident=inc-17 id=%[1]s reason=DELETE_REASON_ENDED holder="proxy 2" hold=7 result="not changed: no such conference"
msg=delete incident=inc-17 room="" reason=DELETE_REASON_UNSPECIFIED holder="" hold=0 result=InvalidArgument error="conference_id or room: wanted a value, got none"
`, id))
}

// A deletion with an id and a room is for the conference with the id, and not for the conference that
// holds the room.
func TestTheIDCountsIfADeletionHasBoth(t *testing.T) {
	b := newBackend(t, Policy{}, nil)
	row := Row{proxy1, 5}
	board := b.create(wantedBy("r1", "board", row)).GetConference().GetId()
	hall := b.create(wantedBy("r2", "hall", row)).GetConference().GetId()
	b.deleteFor(&pb.DeleteConferenceRequest{ConferenceId: hall, Room: "board"}, row)
	b.wantHeld(board, true)
	b.wantHeld(hall, false)
}
