// The conferences, in memory. Replace MemoryStore with a store that uses your database.
//
// This file does not use gRPC or its messages. The service calls only the three methods of [Store]:
// write them for your database, and nothing else has to change. In SQL:
//
//   - The maps byID, byRoom and byRequest become the table of conferences with a unique index on room
//     and one on request_id.
//   - The map holds becomes a table with the columns conference, holder and hold, and the primary key
//     (conference, holder). When you add this table to a backend that has conferences already, add a
//     row for each of them: the empty holder with the hold 0.
//   - The mutex becomes a transaction that locks the conference (SELECT ... FOR UPDATE): Create and
//     Delete lock the conference before they read or change its rows. Without this lock, two deletions
//     at the same time would each see the row of the other one. Both would keep the conference, which
//     would then have no rows, so no later deletion could end it.
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
// A conference exists from its creation until it is deleted or over. It has one row for each holder
// that got it. A row never keeps a conference after its end. If its context is done, a method returns
// the error of the context. With a database, pass the context to each statement.
type Store interface {
	// Create grants the room, unless the conference of another request holds it. A repeated request
	// gets its conference again while that conference exists. Create returns ErrStoreFull if the room
	// is free, but the store is full.
	//
	// If Create returns a conference, granted or held, it sets the row of this conference and of
	// row.Holder to row.Hold, unless that row has a greater hold. If there is no such row, Create adds
	// it. So a deletion that was sent earlier does not remove the row when it arrives.
	Create(ctx context.Context, booking Booking, row Row) (Outcome, error)
	// Get returns a conference, or ErrNoConference.
	Get(ctx context.Context, id string) (Conference, error)
	// Delete removes the row of one holder from one conference, unless the hold of this row is greater
	// than the hold of the deletion. If this was the last row, Delete deletes the conference.
	//
	// Delete checks the context while it holds the lock, which Create uses too. The reason: after the
	// caller has given up, Create may return the same conference to a client again, and then the
	// deletion must not happen (the contract, DeleteConference). Only the empty holder needs this
	// check: the row of another holder then has a greater hold than the deletion.
	//
	// With a database, keep this order: lock the conference, check the context, delete, commit. Create
	// must lock the conference too, before it returns it. A check before the conference is locked is
	// too early.
	Delete(ctx context.Context, deletion Deletion) (Removal, error)
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

// Row says that a holder has a conference. A holder is a proxy. A later request of the same holder
// has a greater hold. A proxy without a holder has the empty holder, which has no rules of its own.
type Row struct {
	Holder string
	Hold   int64
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

// Outcome is a verdict and, unless the verdict is TooLate, the conference that holds the room and the
// hold of the row of the holder that asked.
type Outcome struct {
	Verdict    Verdict
	Conference Conference
	Hold       int64
}

// Deletion names a conference and the row to remove. If ID is empty, the deletion is a withdrawal,
// and the conference is the one that holds Room.
type Deletion struct {
	ID   string
	Room string
	Row
}

// Effect is what a deletion did.
type Effect int

const (
	// Deleted says that the deletion removed the last row, and so the conference.
	Deleted Effect = iota + 1
	// Released says that the deletion removed the row of its holder. Other holders have the
	// conference.
	Released
	// NoConference says that the id is unknown, that its conference is deleted or over, or that no
	// conference holds the room. Nothing changed.
	NoConference
	// NoRow says that the holder of the deletion has no row. Nothing changed.
	NoRow
	// GreaterHold says that the row has a greater hold than the deletion: its holder asked for the
	// conference again later. Nothing changed.
	GreaterHold
)

// Removal is the effect of a deletion and, unless the effect is NoConference, the id of the
// conference.
type Removal struct {
	Effect Effect
	ID     string
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
	// holds has the rows: by the id of the conference, and then by the holder.
	holds map[string]map[string]int64
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
		holds:     map[string]map[string]int64{},
	}
}

// Create implements Store.
func (s *MemoryStore) Create(
	ctx context.Context, booking Booking, row Row,
) (Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Outcome{}, err
	}
	now := s.now()
	if mine, exists := s.find(s.byRequest, booking.RequestID, now); exists {
		return Outcome{Granted, mine, s.raise(mine, row)}, nil
	}
	if other, exists := s.find(s.byRoom, booking.Room, now); exists {
		return Outcome{Held, other, s.raise(other, row)}, nil
	}
	if booking.IsOver(now) {
		return Outcome{Verdict: TooLate}, nil
	}
	if err := s.makeSpace(now); err != nil {
		return Outcome{}, err
	}
	conference := s.add(booking, now)
	return Outcome{Granted, conference, s.raise(conference, row)}, nil
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
func (s *MemoryStore) Delete(ctx context.Context, deletion Deletion) (Removal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// This check comes after the lock, because the caller may give up while Delete waits for the lock.
	if err := ctx.Err(); err != nil {
		return Removal{}, err
	}
	index, key := s.byID, deletion.ID
	if deletion.ID == "" {
		index, key = s.byRoom, deletion.Room
	}
	conference, exists := s.find(index, key, s.now())
	if !exists {
		return Removal{Effect: NoConference}, nil
	}
	return Removal{s.remove(conference, deletion.Row), conference.ID}, nil
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

// raise sets the row of this holder, unless the row has a greater hold, and returns the hold of the
// row. The create request of a greater hold may have arrived first.
func (s *MemoryStore) raise(conference Conference, row Row) int64 {
	holds := s.holds[conference.ID]
	holds[row.Holder] = max(row.Hold, holds[row.Holder])
	return holds[row.Holder]
}

// remove removes the row of this holder, unless the row has a greater hold, and deletes the
// conference if it has no more rows.
func (s *MemoryStore) remove(conference Conference, row Row) Effect {
	holds := s.holds[conference.ID]
	hold, exists := holds[row.Holder]
	if !exists {
		return NoRow
	}
	if hold > row.Hold {
		return GreaterHold
	}
	delete(holds, row.Holder)
	if len(holds) > 0 {
		return Released
	}
	s.drop(conference)
	return Deleted
}

func (s *MemoryStore) add(booking Booking, now time.Time) Conference {
	conference := Conference{s.ids.next(now), booking}
	s.byID[conference.ID] = conference
	s.byRoom[booking.Room] = conference
	s.byRequest[booking.RequestID] = conference
	s.holds[conference.ID] = map[string]int64{}
	return conference
}

func (s *MemoryStore) drop(conference Conference) {
	delete(s.byID, conference.ID)
	delete(s.byRoom, conference.Room)
	delete(s.byRequest, conference.RequestID)
	delete(s.holds, conference.ID)
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
