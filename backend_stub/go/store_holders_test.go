package main

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"
)

const (
	proxy1 = "proxy 1"
	proxy2 = "proxy 2"
	// Without a ledger on a disk, a proxy has no holder.
	noHolder = ""
)

// ways holds the two ways to name a conference in a deletion.
var ways = map[string]func(Conference, Row) Deletion{
	"by id":      func(c Conference, row Row) Deletion { return Deletion{ID: c.ID, Row: row} },
	"withdrawal": func(c Conference, row Row) Deletion { return Deletion{Room: c.Room, Row: row} },
}

// deleteFunc deletes a conference for this row, and fails the test unless the deletion has this
// effect.
type deleteFunc func(Conference, Row, Effect)

// forEachWay runs the test with a deleteFunc that deletes by id, and with one that withdraws.
func forEachWay(t *testing.T, test func(*testing.T, *fakeClock, *MemoryStore, deleteFunc)) {
	t.Helper()
	for name, deletion := range ways {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			store := newStore(clock)
			test(t, clock, store, func(conference Conference, row Row, effect Effect) {
				t.Helper()
				wantRemoval(t, store, deletion(conference, row), Removal{effect, conference.ID})
			})
		})
	}
}

func wantRemoval(t *testing.T, store *MemoryStore, deletion Deletion, expected Removal) {
	t.Helper()
	if got := remove(t, store, deletion); got != expected {
		t.Errorf("%+v: wanted %+v, got %+v", deletion, expected, got)
	}
}

func wantExists(t *testing.T, store *MemoryStore, conference Conference, expected bool) {
	t.Helper()
	if got := exists(t, store, conference.ID); got != expected {
		t.Errorf("conference %s exists: wanted %t, got %t", conference.ID, expected, got)
	}
}

// A deletion removes the row of its holder only. The conference and the other rows stay until the
// last row is removed. The empty holder is a holder like any other.
func TestTheConferenceStaysUntilItsLastRowIsRemoved(t *testing.T) {
	forEachWay(t, func(t *testing.T, clock *fakeClock, store *MemoryStore, del deleteFunc) {
		booking := booked(clock, "r1", "board", 0)
		rows := []Row{{proxy1, 5}, {noHolder, 0}, {proxy2, 3}}
		var held Conference
		for _, row := range rows {
			held = createFor(t, store, booking, row).Conference
		}
		for _, row := range rows[:2] {
			del(held, row, Released)
			del(held, row, NoRow)
			wantExists(t, store, held, true)
		}
		del(held, rows[2], Deleted)
		wantExists(t, store, held, false)
		if next := granted(t, store, booked(clock, "r1", "board", 0)); next.ID == held.ID {
			t.Errorf("wanted another conference, got %+v", next)
		}
	})
}

// A deletion removes a row with its own hold or a smaller one, and does not remove a row with a greater
// hold.
func TestADeletionDoesNotRemoveARowWithAGreaterHold(t *testing.T) {
	forEachWay(t, func(t *testing.T, clock *fakeClock, store *MemoryStore, del deleteFunc) {
		for _, hold := range []int64{5, 6} {
			held := createFor(t, store, booked(clock, "r1", "board", 0), Row{proxy1, 5}).Conference
			del(held, Row{proxy1, 4}, GreaterHold)
			wantExists(t, store, held, true)
			del(held, Row{proxy1, hold}, Deleted)
			wantExists(t, store, held, false)
		}
	})
}

// A deletion of a holder without a row changes nothing, even if its hold is greater than all holds.
func TestADeletionOfAHolderWithoutARowChangesNothing(t *testing.T) {
	forEachWay(t, func(t *testing.T, clock *fakeClock, store *MemoryStore, del deleteFunc) {
		first := createFor(t, store, booked(clock, "r1", "board", 0), Row{proxy1, 5}).Conference
		del(first, Row{proxy2, 9}, NoRow)
		del(first, Row{noHolder, 0}, NoRow)
		wantExists(t, store, first, true)
		second := createFor(t, store, booked(clock, "r2", "hall", 0), Row{noHolder, 0}).Conference
		del(second, Row{proxy1, 9}, NoRow)
		wantExists(t, store, second, true)
	})
}

// Every answer with a conference sets the row of the holder that asks to the greater hold, and returns
// the hold of this row. A deletion shows that the store keeps this hold.
func TestEveryAnswerWithAConferenceRaisesTheRow(t *testing.T) {
	for name, test := range map[string]struct {
		requestID string
		row       Row
		verdict   Verdict
		hold      int64
	}{
		"repeat":                     {"r1", Row{proxy1, 7}, Granted, 7},
		"repeat that arrives late":   {"r1", Row{proxy1, 4}, Granted, 5},
		"repeat of another holder":   {"r1", Row{proxy2, 3}, Granted, 3},
		"repeat without a holder":    {"r1", Row{noHolder, 0}, Granted, 0},
		"conflict":                   {"r2", Row{proxy1, 7}, Held, 7},
		"conflict that arrives late": {"r2", Row{proxy1, 4}, Held, 5},
		"conflict of another holder": {"r2", Row{proxy2, 3}, Held, 3},
		"conflict without a holder":  {"r2", Row{noHolder, 0}, Held, 0},
	} {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			store := newStore(clock)
			first := createFor(t, store, booked(clock, "r1", "board", 0), Row{proxy1, 5})
			held := first.Conference
			if first != (Outcome{Granted, held, 5}) {
				t.Errorf("wanted a grant with the hold 5, got %+v", first)
			}
			got := createFor(t, store, booked(clock, test.requestID, "board", 0), test.row)
			if expected := (Outcome{test.verdict, held, test.hold}); got != expected {
				t.Errorf("wanted %+v, got %+v", expected, got)
			}
			smaller := Deletion{ID: held.ID, Row: Row{test.row.Holder, test.hold - 1}}
			wantRemoval(t, store, smaller, Removal{GreaterHold, held.ID})
			if test.row.Holder != proxy1 {
				other := Deletion{ID: held.ID, Row: Row{proxy1, 5}}
				wantRemoval(t, store, other, Removal{Released, held.ID})
			}
			last := Deletion{ID: held.ID, Row: Row{test.row.Holder, test.hold}}
			wantRemoval(t, store, last, Removal{Deleted, held.ID})
		})
	}
}

// A repeated request that names another room raises the row of its own conference, and no row of the
// conference that holds the room.
func TestARepeatRaisesTheRowOfItsOwnConference(t *testing.T) {
	clock := newClock()
	store := newStore(clock)
	board := createFor(t, store, booked(clock, "r1", "board", 0), Row{proxy1, 5}).Conference
	hall := createFor(t, store, booked(clock, "r2", "hall", 0), Row{proxy1, 6}).Conference
	createFor(t, store, booked(clock, "r1", "hall", 0), Row{proxy1, 7})
	row := Row{proxy1, 6}
	wantRemoval(t, store, Deletion{ID: board.ID, Row: row}, Removal{GreaterHold, board.ID})
	wantRemoval(t, store, Deletion{ID: hall.ID, Row: row}, Removal{Deleted, hall.ID})
}

// A deletion of an unknown id, a withdrawal from a free room, and a withdrawal from another room change
// nothing. If a deletion has an id, its room does not count.
func TestADeletionOfNoConferenceChangesNothing(t *testing.T) {
	clock := newClock()
	store := newStore(clock)
	row := Row{proxy1, 5}
	held := createFor(t, store, booked(clock, "r1", "board", 0), row).Conference
	for _, deletion := range []Deletion{
		{ID: "unknown", Row: row},
		{ID: "unknown", Room: "board", Row: row},
		{ID: "board", Row: row},
		{Room: "hall", Row: row},
		{Room: "Board", Row: row},
		{Room: held.ID, Row: row},
		{Row: row},
	} {
		wantRemoval(t, store, deletion, Removal{Effect: NoConference})
	}
	wantExists(t, store, held, true)
	idCounts := Deletion{ID: held.ID, Room: "hall", Row: row}
	wantRemoval(t, store, idCounts, Removal{Deleted, held.ID})
}

// A conference ends at its end, whatever rows it has. The next conference of its room, even of the same
// request, has none of these rows.
func TestRowsDoNotOutliveTheirConference(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *fakeClock, *MemoryStore, Conference){
		"its end passes": func(_ *testing.T, clock *fakeClock, _ *MemoryStore, _ Conference) {
			clock.Advance(time.Minute)
		},
		"its last row is removed": func(t *testing.T, _ *fakeClock, s *MemoryStore, c Conference) {
			for _, holder := range []string{proxy1, proxy2} {
				remove(t, s, Deletion{ID: c.ID, Row: Row{holder, 9}})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			store := newStore(clock)
			for _, row := range []Row{{proxy1, 5}, {proxy2, 5}} {
				createFor(t, store, booked(clock, "r1", "board", time.Minute), row)
			}
			first := create(t, store, booked(clock, "r1", "board", time.Minute)).Conference
			remove(t, store, Deletion{ID: first.ID})
			end(t, clock, store, first)
			wantExists(t, store, first, false)
			next := createFor(t, store, booked(clock, "r1", "board", 0), Row{proxy1, 4})
			if next.Hold != 4 || next.Conference.ID == first.ID {
				t.Errorf("wanted another conference and the hold 4, got %+v", next)
			}
			id := next.Conference.ID
			wantRemoval(t, store, Deletion{ID: id, Row: Row{proxy2, 9}}, Removal{NoRow, id})
			wantRemoval(t, store, Deletion{ID: id, Row: Row{proxy1, 4}}, Removal{Deleted, id})
			if len(store.holds) != 0 {
				t.Errorf("wanted no rows without a conference, got %v", store.holds)
			}
		})
	}
}

// If all holders delete a conference at the same time, exactly one of them removes the last row, and the
// conference is deleted.
func TestOneOfManyDeletionsRemovesTheLastRow(t *testing.T) {
	const holders, rooms = 8, 200
	clock := newClock()
	store := newStore(clock)
	for holder := range holders {
		for room := range rooms {
			name := strconv.Itoa(room)
			createFor(t, store, booked(clock, name, name, 0), Row{strconv.Itoa(holder), 1})
		}
	}
	seen := make([][rooms]Effect, holders)
	var group sync.WaitGroup
	for holder := range holders {
		group.Go(func() {
			for room := range rooms {
				row := Row{strconv.Itoa(holder), 1}
				deletion := Deletion{Room: strconv.Itoa(room), Row: row}
				removal, _ := store.Delete(context.Background(), deletion)
				seen[holder][room] = removal.Effect
			}
		})
	}
	finish(t, &group, "the deletions did not all return")
	for room := range rooms {
		count := map[Effect]int{}
		for holder := range holders {
			count[seen[holder][room]]++
		}
		if count[Deleted] != 1 || count[Released] != holders-1 {
			t.Fatalf("room %d: wanted one deletion of the last row, got %v", room, count)
		}
	}
	if store.Len() != 0 {
		t.Errorf("wanted an empty store, got %d conferences", store.Len())
	}
}
