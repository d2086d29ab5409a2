// The conferences, in memory. Replace MemoryStore with a store that uses your database.
//
// This file does not use gRPC or its messages. The service calls only the three methods of [Store]:
// write them for your database, and nothing else has to change. In SQL:
//
//   - The maps become one table with a unique index on room and one on request_id.
//   - The mutex becomes a transaction that locks the row of the conference (SELECT ... FOR UPDATE):
//     Create locks the row before it returns the conference, and Delete locks the row before it
//     deletes the conference.
//   - clockIDs becomes a sequence.

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// DefaultMaxConferences is the default of the maximum number of conferences in a store.
const DefaultMaxConferences = 10_000

var (
	// ErrStoreFull says that the room is free, but the store holds its maximum number of
	// conferences.
	ErrStoreFull = errors.New("the store is full")
	// ErrNoConference says that the id is unknown, or that its conference is deleted or over.
	ErrNoConference = errors.New("no such conference")
)

// Store holds all conferences that exist, at most one for each room. It must be safe for concurrent
// use.
//
// A conference exists from its creation until it is deleted or over. If its context is done, a
// method returns the error of the context. With a database, pass the context to each statement.
type Store interface {
	// Create grants the room, unless the conference of another request holds it. A repeated request
	// gets its conference again while that conference exists. Create returns ErrStoreFull if the room
	// is free, but the store is full.
	Create(ctx context.Context, booking Booking) (Outcome, error)
	// Get returns a conference, or ErrNoConference.
	Get(ctx context.Context, id string) (Conference, error)
	// Delete deletes this conference and no other, and returns whether it existed.
	//
	// Delete checks the context while it holds the lock, which Create uses too. The reason: after the
	// caller has given up, Create may return the same conference to a client again, and then the
	// deletion must not happen (the contract, DeleteConference).
	//
	// With a database, keep this order: lock the row, check the context, delete, commit. Create must
	// lock the row too, before it returns the conference. A check before the row is locked is too
	// early.
	Delete(ctx context.Context, id string) (bool, error)
}

// Secret is a password or an API key. No log line shows it by accident.
type Secret string

// String hides the text from fmt.
func (Secret) String() string { return "[secret]" }

// MarshalText hides the text from slog and encoding/json.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Booking holds the data of a conference to create: the owner, the room, the times and the options.
//
// The zero value of End means no limit. MaxOccupants, Lobby and Password are zero if the backend
// does not set them.
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

// IsOver returns whether the end has passed; a booking without a limit has no end.
func (b Booking) IsOver(now time.Time) bool {
	return !b.End.IsZero() && !now.Before(b.End)
}

// Conference is a booking that was granted, and the id of the conference.
type Conference struct {
	ID string
	Booking
}

// Verdict is the decision of the store about a booking.
type Verdict int

const (
	// Granted says that the request created the conference, which holds the room.
	Granted Verdict = iota + 1
	// Held says that the room is not free: the conference of another request holds it.
	Held
	// TooLate says that the end of the booking has already passed; the store created no conference.
	TooLate
)

// Outcome is a verdict and, unless the verdict is TooLate, the conference that holds the room.
type Outcome struct {
	Verdict    Verdict
	Conference Conference
}

// MemoryStore is a Store in memory. It forgets all conferences when the process ends.
type MemoryStore struct {
	max int
	now func() time.Time

	mu        sync.Mutex
	ids       clockIDs
	byID      map[string]Conference
	byRoom    map[string]Conference
	byRequest map[string]Conference
}

// NewMemoryStore returns an empty store that holds at most max conferences; now returns the current
// time.
func NewMemoryStore(max int, now func() time.Time) *MemoryStore {
	return &MemoryStore{
		max:       max,
		now:       now,
		byID:      map[string]Conference{},
		byRoom:    map[string]Conference{},
		byRequest: map[string]Conference{},
	}
}

// Create implements Store.
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

// Get implements Store.
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

// Delete implements Store.
func (s *MemoryStore) Delete(ctx context.Context, id string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// This check comes after the lock, because the caller may give up while Delete waits for the lock.
	if err := ctx.Err(); err != nil {
		return false, err
	}
	conference, exists := s.find(s.byID, id, s.now())
	if exists {
		s.drop(conference)
	}
	return exists, nil
}

// Len returns the number of conferences in memory; some of them may be over.
func (s *MemoryStore) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}

// find returns the conference, or drops it and returns false if it is over.
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

// makeSpace drops the conferences that are over if the store is full. It returns ErrStoreFull if the
// store is still full. It does not search a store that is not full, so most calls are fast.
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
		return fmt.Errorf("%w: it holds %d conferences, its maximum number",
			ErrStoreFull, len(s.byID))
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

// clockIDs returns ids: decimal numbers of 14 digits. It never returns the same id twice.
//
// An id is the time in units of 0.1 ms since 1970, or the last id plus one if that is larger. After
// a restart, the ids are larger than the ids of the process before, so the process does not have to
// store the last id. This is true if nobody sets the clock back, and if the backend does not create
// more than 10,000 conferences per second for a long time.
//
// Jicofo accepts only numbers as ids. A proxy with only this backend passes ids below 90000000000000
// to Jicofo unchanged. The ids stay below that number until the year 2255.
//
// Several processes behind one address need a common source of ids, such as a database sequence.
type clockIDs struct {
	last int64
}

func (c *clockIDs) next(now time.Time) string {
	c.last = max(c.last+1, now.UnixMicro()/100)
	return strconv.FormatInt(c.last, 10)
}
