// The rules of this backend: your own go here.

package main

import (
	"fmt"
	"regexp"
	"strings"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Policy is what this backend decides by, the same for everybody. The zero value grants every room
// to whoever asks first.
type Policy struct {
	// Deny are the names of rooms that nobody gets.
	Deny []NamePattern
	// Longest limits every conference, also one that asks for longer; nil does not. It is not a
	// time.Duration, which ends at 292 years: the contract goes to 10,000.
	Longest *durationpb.Duration
	// These are given to every conference as they are; the zero values say nothing.
	MaxOccupants int32
	Lobby        bool
	Password     Secret
}

// Denial returns why nobody gets this room, or nil where there is no such rule.
func (p Policy) Denial(room *pb.Room) *pb.Denial {
	name := room.GetName()
	if name == "" {
		// A caller that does not take rooms apart, unlike the proxy, must not get past a rule.
		name = room.GetRaw()
	}
	for _, pattern := range p.Deny {
		if pattern.Matches(name) {
			return &pb.Denial{
				Message: "Rooms of this name are not available.",
				Reason:  pb.DenialReason_DENIAL_REASON_INVALID_ROOM,
			}
		}
	}
	return nil
}

// NamePattern is a pattern for the whole name of a room: * is any text, ? any one character, in
// either case. path.Match is not used for it, to which a slash and brackets are special.
type NamePattern struct {
	compiled *regexp.Regexp
}

// ParseNamePattern fails where the text is not UTF-8, or too long for a pattern.
func ParseNamePattern(text string) (NamePattern, error) {
	quoted := regexp.QuoteMeta(text)
	expression := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(quoted)
	compiled, err := regexp.Compile(`(?is)^` + expression + `$`)
	if err != nil {
		return NamePattern{}, fmt.Errorf("wanted a name with * and ? in UTF-8, got %q", text)
	}
	return NamePattern{compiled}, nil
}

// Matches tells whether the pattern is one for this name.
func (p NamePattern) Matches(name string) bool {
	return p.compiled.MatchString(name)
}
