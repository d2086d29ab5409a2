// The conferences, held in memory: this is the place to put a database.
//
// Nothing here knows of gRPC or of its messages, and the service asks no more than [Store] offers:
// write those three methods for your database, and nothing else has to change. In SQL, the maps
// become one table with a unique index on room and one on request_id; the mutex becomes a
// transaction that locks the row it reads (SELECT ... FOR UPDATE), in Create before it names a
// conference and in Delete; the ids come from a sequence.

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// DefaultMaxConferences is how many conferences a store holds where nothing else is said.
const DefaultMaxConferences = 10_000

var (
	// ErrStoreFull says that the room is free, but that the store holds as much as it may.
	ErrStoreFull = errors.New("the store is full")
	// ErrNoConference says that an id is unknown, or its conference deleted or over.
	ErrNoConference = errors.New("no such conference")
)

// Store holds all conferences that exist, at most one for each room. It is safe for goroutines.
//
// A conference exists from its creation until it is deleted or over. Every method gives up with
// the error of its context when that is done; a database is given the context with each statement.
type Store interface {
	// Create grants the room, unless the conference of another request holds it. A request whose
	// conference exists gets that conference again. It fails with ErrStoreFull.
	Create(ctx context.Context, booking Booking) (Outcome, error)
	// Get returns a conference. It fails with ErrNoConference.
	Get(ctx context.Context, id string) (Conference, error)
	// Delete deletes this conference and no other, and tells whether it was there.
	//
	// It must not delete once the context is done: by then the conference may have been handed out
	// again (the contract, DeleteConference). So a database locks the row, as Create does before it
	// names a conference, then looks whether the context is done, then deletes and commits. To look
	// before the row is locked is too early.
	Delete(ctx context.Context, id string) (bool, error)
}

// Secret is a text that no log line shows by accident.
type Secret string

// String hides the text from fmt.
func (Secret) String() string { return "[secret]" }

// MarshalText hides the text from slog and encoding/json.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Booking is what a conference is to be: who gets which room, when and with what.
//
// The zero value of End is without limit; those of the fields below it say nothing.
type Booking struct {
	RequestID    string
	Room         string
	Owner        string
	Start        time.Time
	End          time.Time
	MaxOccupants int32
	Lobby        bool
	Password     Secret
}

// IsOver tells whether the end has come; a booking without limit has none.
func (b Booking) IsOver(now time.Time) bool {
	return !b.End.IsZero() && !now.Before(b.End)
}

// Conference is a booking that was granted, under the id that it got.
type Conference struct {
	ID string
	Booking
}

// Verdict is what became of a booking.
type Verdict int

const (
	// Granted says that the room is held by the conference, which the same request created.
	Granted Verdict = iota + 1
	// Held says that the room is held already, by the conference of another request.
	Held
	// TooLate says that the booking was over before it was made; nothing is held.
	TooLate
)

// Outcome is a verdict, and the conference that holds the room unless the verdict is TooLate.
type Outcome struct {
	Verdict    Verdict
	Conference Conference
}

// MemoryStore is a Store that forgets everything when the process ends.
type MemoryStore struct {
	max int
	now func() time.Time

	mu        sync.Mutex
	ids       clockIDs
	byID      map[string]Conference
	byRoom    map[string]Conference
	byRequest map[string]Conference
}

// NewMemoryStore returns an empty store for at most that many conferences, on that clock.
func NewMemoryStore(max int, now func() time.Time) *MemoryStore {
	return &MemoryStore{
		max:       max,
		now:       now,
		byID:      map[string]Conference{},
		byRoom:    map[string]Conference{},
		byRequest: map[string]Conference{},
	}
}

// Create is documented at Store.
func (s *MemoryStore) Create(ctx context.Context, booking Booking) (Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Outcome{}, err
	}
	now := s.now()
	if mine, exists := s.find(s.byRequest, booking.RequestID, now); exists {
		return Outcome{Granted, mine}, nil
	}
	if holder, exists := s.find(s.byRoom, booking.Room, now); exists {
		return Outcome{Held, holder}, nil
	}
	if booking.IsOver(now) {
		return Outcome{Verdict: TooLate}, nil
	}
	if err := s.makeSpace(now); err != nil {
		return Outcome{}, err
	}
	return Outcome{Granted, s.add(booking, now)}, nil
}

// Get is documented at Store.
func (s *MemoryStore) Get(ctx context.Context, id string) (Conference, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Conference{}, err
	}
	conference, exists := s.find(s.byID, id, s.now())
	if !exists {
		return Conference{}, ErrNoConference
	}
	return conference, nil
}

// Delete is documented at Store.
func (s *MemoryStore) Delete(ctx context.Context, id string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Only now: the call may have been given up while it waited for the lock.
	if err := ctx.Err(); err != nil {
		return false, err
	}
	conference, exists := s.find(s.byID, id, s.now())
	if exists {
		s.drop(conference)
	}
	return exists, nil
}

// Len returns how many conferences take up memory, some of which may be over.
func (s *MemoryStore) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}

// find looks a conference up, but drops it if it is over.
func (s *MemoryStore) find(
	index map[string]Conference, key string, now time.Time,
) (Conference, bool) {
	conference, exists := index[key]
	if exists && conference.IsOver(now) {
		s.drop(conference)
		return Conference{}, false
	}
	return conference, exists
}

// makeSpace looks through all conferences only when the store is full: that keeps every other
// call short, and the memory bounded all the same.
func (s *MemoryStore) makeSpace(now time.Time) error {
	if len(s.byID) < s.max {
		return nil
	}
	for _, conference := range s.byID {
		if conference.IsOver(now) {
			s.drop(conference)
		}
	}
	if len(s.byID) >= s.max {
		return fmt.Errorf("%w: it holds %d conferences, its maximum", ErrStoreFull, len(s.byID))
	}
	return nil
}

func (s *MemoryStore) add(booking Booking, now time.Time) Conference {
	conference := Conference{s.ids.next(now), booking}
	s.byID[conference.ID] = conference
	s.byRoom[booking.Room] = conference
	s.byRequest[booking.RequestID] = conference
	return conference
}

func (s *MemoryStore) drop(conference Conference) {
	delete(s.byID, conference.ID)
	delete(s.byRoom, conference.Room)
	delete(s.byRequest, conference.RequestID)
}

// clockIDs gives ids that are never used again, as plain integers of 14 digits.
//
// An id is the time in units of 0.1 ms since 1970, or the last id plus one when that is more. So a
// restarted process goes on above the ids of its predecessor, without a file, as long as the clock
// is not set back and fewer than 10,000 conferences a second are created for long. Jicofo takes
// nothing but numbers for ids; 14 digits pass through the proxy as they are, and these stay below
// 90000000000000 until the year 2255.
//
// Several processes behind one address need ids from what they share: a database.
type clockIDs struct {
	last int64
}

func (c *clockIDs) next(now time.Time) string {
	c.last = max(c.last+1, now.UnixMicro()/100)
	return strconv.FormatInt(c.last, 10)
}
