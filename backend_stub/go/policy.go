// The rules of this backend. Put your own rules here.

package main

import (
	"fmt"
	"regexp"
	"strings"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Policy holds the rules of this backend, the same for all owners. The zero value grants every room
// to the first request for it.
type Policy struct {
	// Deny holds patterns for the names of rooms that the backend denies to everybody.
	Deny []NamePattern
	// Longest is the maximum duration of every conference; nil means no maximum. It is not a
	// time.Duration, which holds at most 292 years: the contract allows 10,000 years.
	Longest *durationpb.Duration
	// Every conference gets these values unchanged; a zero value means that the option is not set.
	MaxOccupants int32
	Lobby        bool
	Password     Secret
}

// Denial returns a denial if a rule denies this room to everybody, otherwise nil.
func (p Policy) Denial(room *pb.Room) *pb.Denial {
	name := room.GetName()
	if name == "" {
		// The proxy always sets name. Another caller may set only raw, and the rules must apply to
		// that caller too.
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

// NamePattern is a pattern for the whole name of a room: * matches any text, ? matches any one
// character, and upper and lower case are the same. It does not use path.Match, which gives slashes
// and brackets a special meaning.
type NamePattern struct {
	compiled *regexp.Regexp
}

// ParseNamePattern returns the pattern, or an error if the text is not UTF-8 or is too long.
func ParseNamePattern(text string) (NamePattern, error) {
	quoted := regexp.QuoteMeta(text)
	expression := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(quoted)
	compiled, err := regexp.Compile(`(?is)^` + expression + `$`)
	if err != nil {
		return NamePattern{}, fmt.Errorf("wanted a pattern in UTF-8 with * and ?, got %q", text)
	}
	return NamePattern{compiled}, nil
}

// Matches returns whether the pattern matches this name.
func (p NamePattern) Matches(name string) bool {
	return p.compiled.MatchString(name)
}
