package main

import (
	"fmt"
	"testing"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
)

// A pattern matches the whole decoded name, in upper or lower case; only * and ? are special.
func TestDeniedNames(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		denied        bool
	}{
		{"board-*", "board-1", true},
		{"Board-*", "board-1", true},
		{"board-*", "keyboard-1", false},
		{"board", "board-1", false},
		{"board", "board\n", false},
		{"café", "cafÉ", true},
		{"room?", "room1", true},
		{"room?", "room", false},
		{"*", "a/b\nc", true},
		{"a.c", "abc", false},
		{"[ab]", "a", false},
		{"[ab]", "[AB]", true},
		{`\*`, "*", false},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			pattern, err := ParseNamePattern(test.pattern)
			if err != nil || pattern.Matches(test.name) != test.denied {
				t.Errorf("wanted Matches to return %v and no error, got %v", test.denied, err)
			}
		})
	}
}

// A denial has a message and a reason, even if the caller sends only the raw room.
func TestDenial(t *testing.T) {
	other, _ := ParseNamePattern("other")
	board, _ := ParseNamePattern("board")
	b := newBackend(t, Policy{Deny: []NamePattern{other, board}}, nil)
	raw := wanted("r2", "board")
	raw.Room.Name = ""
	for _, request := range []*pb.CreateConferenceRequest{wanted("r1", "board"), raw} {
		wantEqual(t, b.create(request).GetDenial(), &pb.Denial{
			Message: "Rooms of this name are not available.",
			Reason:  pb.DenialReason_DENIAL_REASON_INVALID_ROOM,
		})
	}
}
