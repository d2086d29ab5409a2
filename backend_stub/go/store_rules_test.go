package main

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// history holds all conferences that a store ever returned, and the rows that each of them must have
// now, by its id and then by holder.
type history struct {
	conferences map[string]Conference
	holds       map[string]map[string]int64
}

// After each step of a random sequence of calls, each room and each request has at most one
// conference, no id was used twice, and the store returns a conference exactly if it has rows and is
// not over.
func TestTheRulesHold(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, math.MaxUint64))
		clock := newClock()
		store := NewMemoryStore(2, clock.Now)
		past := history{map[string]Conference{}, map[string]map[string]int64{}}
		for range 40 {
			randomStep(t, random, clock, store, past)
			rooms, requests := map[string]bool{}, map[string]bool{}
			live := 0
			for id, known := range past.conferences {
				conference, err := store.Get(t.Context(), id)
				expected := len(past.holds[id]) > 0 && !known.IsOver(clock.Now())
				if (err == nil) != expected {
					t.Fatalf("seed %d: %+v exists: wanted %t, got %v", seed, known, expected, err)
				}
				if err == nil {
					live++
					rooms[conference.Room], requests[conference.RequestID] = true, true
					if conference != known {
						t.Fatalf("seed %d: the store returned %+v", seed, conference)
					}
				}
			}
			if len(rooms) != live || len(requests) != live || store.Len() != live || live > 2 {
				t.Fatalf("seed %d: %d live, %v, %v", seed, live, rooms, requests)
			}
		}
	}
}

func randomStep(
	t *testing.T, random *rand.Rand, clock *fakeClock, store *MemoryStore, past history,
) {
	t.Helper()
	row := Row{[]string{noHolder, proxy1, proxy2}[random.IntN(3)], random.Int64N(4)}
	switch random.IntN(4) {
	case 0:
		clock.Advance(time.Duration(1+random.IntN(2)) * time.Second)
	case 1:
		for _, id := range slices.Sorted(maps.Keys(past.conferences)) {
			if random.IntN(3) == 0 {
				randomDeletion(t, random, store, past, id, row)
			}
		}
	default:
		randomRequest(t, random, clock, store, past, row)
	}
}

// randomDeletion deletes by id or by room, and checks the effect.
func randomDeletion(
	t *testing.T, random *rand.Rand, store *MemoryStore, past history, id string, row Row,
) {
	t.Helper()
	deletion := Deletion{ID: id, Row: row}
	if exists(t, store, id) && random.IntN(2) == 0 {
		deletion = Deletion{Room: past.conferences[id].Room, Row: row}
	}
	holds, expected := past.holds[id], Removal{Deleted, id}
	hold, hasRow := holds[row.Holder]
	switch {
	case !exists(t, store, id):
		expected = Removal{Effect: NoConference}
	case !hasRow:
		expected.Effect = NoRow
	case hold > row.Hold:
		expected.Effect = GreaterHold
	case len(holds) > 1:
		expected.Effect = Released
	}
	wantRemoval(t, store, deletion, expected)
	if expected.Effect == Deleted || expected.Effect == Released {
		delete(holds, row.Holder)
	}
}

// randomRequest requests a conference, and checks its id, the verdict and the hold.
func randomRequest(
	t *testing.T, random *rand.Rand, clock *fakeClock, store *MemoryStore, past history, row Row,
) {
	t.Helper()
	requestID, room := string("abcd"[random.IntN(4)]), string("xyz"[random.IntN(3)])
	lasts := time.Duration(1+random.IntN(3)) * time.Second
	outcome, err := store.Create(t.Context(), booked(clock, requestID, room, lasts), row)
	if errors.Is(err, ErrStoreFull) {
		return
	}
	seen := outcome.Conference
	if known, used := past.conferences[seen.ID]; !used {
		past.conferences[seen.ID], past.holds[seen.ID] = seen, map[string]int64{}
	} else if known != seen {
		t.Fatalf("id %s was used again", seen.ID)
	}
	holds := past.holds[seen.ID]
	holds[row.Holder] = max(row.Hold, holds[row.Holder])
	if (seen.RequestID == requestID) != (outcome.Verdict == Granted) {
		t.Fatalf("request %s got %+v", requestID, outcome)
	}
	if outcome.Hold != holds[row.Holder] {
		t.Fatalf("wanted the hold %d, got %+v", holds[row.Holder], outcome)
	}
}
