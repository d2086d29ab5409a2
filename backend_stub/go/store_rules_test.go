package main

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// After each step of a random sequence of calls, each room and each request has at most one
// conference, no id was used twice, and the store does not return a conference that is over.
func TestTheRulesHold(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, math.MaxUint64))
		clock := newClock()
		store := NewMemoryStore(2, clock.Now)
		ever := map[string]Conference{}
		for range 40 {
			randomStep(t, random, clock, store, ever)
			rooms, requests := map[string]bool{}, map[string]bool{}
			live := 0
			for id := range ever {
				if conference, err := store.Get(t.Context(), id); err == nil {
					live++
					rooms[conference.Room], requests[conference.RequestID] = true, true
					if conference != ever[id] || conference.IsOver(clock.Now()) {
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
	t *testing.T, random *rand.Rand, clock *fakeClock, store *MemoryStore,
	ever map[string]Conference,
) {
	t.Helper()
	switch random.IntN(4) {
	case 0:
		clock.Advance(time.Duration(1+random.IntN(2)) * time.Second)
	case 1:
		for id := range ever {
			if random.IntN(3) == 0 && deleted(t, store, id) && exists(t, store, id) {
				t.Fatalf("%s exists after its deletion", id)
			}
		}
	default:
		requestID, room := string("abcd"[random.IntN(4)]), string("xyz"[random.IntN(3)])
		lasts := time.Duration(1+random.IntN(3)) * time.Second
		outcome, err := store.Create(t.Context(), booked(clock, requestID, room, lasts))
		if errors.Is(err, ErrStoreFull) {
			return
		}
		seen := outcome.Conference
		if known, used := ever[seen.ID]; used && known != seen {
			t.Fatalf("id %s was used again", seen.ID)
		}
		ever[seen.ID] = seen
		if (seen.RequestID == requestID) != (outcome.Verdict == Granted) {
			t.Fatalf("request %s got %+v", requestID, outcome)
		}
	}
}
