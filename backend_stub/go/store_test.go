package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func newStore(clock *fakeClock) *MemoryStore {
	return NewMemoryStore(DefaultMaxConferences, clock.Now)
}

// booked returns a booking that starts now; a duration of zero means no limit.
func booked(clock *fakeClock, requestID, room string, lasts time.Duration) Booking {
	booking := Booking{RequestID: requestID, Room: room, Start: clock.Now()}
	if lasts != 0 {
		booking.End = booking.Start.Add(lasts)
	}
	return booking
}

// create requests a conference without a holder.
func create(t *testing.T, store *MemoryStore, booking Booking) Outcome {
	t.Helper()
	return createFor(t, store, booking, Row{})
}

func createFor(t *testing.T, store *MemoryStore, booking Booking, row Row) Outcome {
	t.Helper()
	outcome, err := store.Create(t.Context(), booking, row)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// granted returns the conference that the store grants.
func granted(t *testing.T, store *MemoryStore, booking Booking) Conference {
	t.Helper()
	outcome := create(t, store, booking)
	if outcome.Verdict != Granted {
		t.Fatalf("wanted a grant of %s, got %+v", booking.Room, outcome)
	}
	return outcome.Conference
}

func exists(t *testing.T, store *MemoryStore, id string) bool {
	t.Helper()
	conference, err := store.Get(t.Context(), id)
	if err != nil && !errors.Is(err, ErrNoConference) {
		t.Fatal(err)
	}
	return conference.ID == id
}

// deleted returns whether a deletion without a holder deletes the conference.
func deleted(t *testing.T, store *MemoryStore, id string) bool {
	t.Helper()
	return remove(t, store, Deletion{ID: id}).Effect == Deleted
}

func remove(t *testing.T, store *MemoryStore, deletion Deletion) Removal {
	t.Helper()
	removal, err := store.Delete(t.Context(), deletion)
	if err != nil {
		t.Fatal(err)
	}
	return removal
}

// A repeated request gets its conference again while that exists, even if it names another room.
func TestSameRequestGetsItsConferenceAgain(t *testing.T) {
	clock := newClock()
	store := newStore(clock)
	first := granted(t, store, booked(clock, "r1", "board", 0))
	for _, room := range []string{"board", "hall"} {
		if again := granted(t, store, booked(clock, "r1", room, 0)); again != first {
			t.Errorf("wanted %+v again, got %+v", first, again)
		}
	}
	if store.Len() != 1 {
		t.Errorf("wanted one conference, got %d", store.Len())
	}
}

// The store does not grant a held room to another request. Another spelling is another room.
func TestAnotherRequestGetsTheConferenceOfTheRoom(t *testing.T) {
	clock := newClock()
	store := newStore(clock)
	first := granted(t, store, booked(clock, "r1", "board", 0))
	if got := create(t, store, booked(clock, "r2", "board", 0)); got != (Outcome{Held, first, 0}) {
		t.Errorf("wanted the room to be held by %+v, got %+v", first, got)
	}
	granted(t, store, booked(clock, "r3", "Board", 0))
}

// After its conference is deleted, the same request creates another conference with another id.
func TestRequestIsNewAfterItsDeletion(t *testing.T) {
	clock := newClock()
	store := newStore(clock)
	first := granted(t, store, booked(clock, "r1", "board", 0))
	if !deleted(t, store, first.ID) || exists(t, store, first.ID) {
		t.Error("wanted the conference to be gone")
	}
	if second := granted(t, store, booked(clock, "r1", "board", 0)); second.ID == first.ID {
		t.Errorf("id %s was used again", first.ID)
	}
}

// A second deletion of an id does not affect the later conference of the room.
func TestDeleteDeletesOnlyTheNamedConference(t *testing.T) {
	clock := newClock()
	store := newStore(clock)
	first := granted(t, store, booked(clock, "r1", "board", 0))
	deleted(t, store, first.ID)
	second := granted(t, store, booked(clock, "r2", "board", 0))
	if deleted(t, store, first.ID) || !exists(t, store, second.ID) {
		t.Error("wanted the later conference to stay")
	}
}

// A conference exists until its end, and not after it, exact to the nanosecond.
func TestAConferenceEnds(t *testing.T) {
	clock := newClock()
	store := newStore(clock)
	first := granted(t, store, booked(clock, "r1", "board", time.Minute))
	clock.Advance(time.Minute - time.Nanosecond)
	if !exists(t, store, first.ID) {
		t.Error("wanted the conference to last until its end")
	}
	clock.Advance(time.Nanosecond)
	if exists(t, store, first.ID) || deleted(t, store, first.ID) || store.Len() != 0 {
		t.Error("wanted the conference to be gone after its end")
	}
}

// After a conference is over, its request is a new one, and its room is free for other requests.
func TestRequestAndRoomAreFreeAfterTheEnd(t *testing.T) {
	clock := newClock()
	store := newStore(clock)
	ids := map[string]bool{}
	for _, requestID := range []string{"r1", "r1", "r2"} {
		ids[granted(t, store, booked(clock, requestID, "board", time.Minute)).ID] = true
		clock.Advance(time.Minute)
	}
	if len(ids) != 3 {
		t.Errorf("wanted three ids, got %v", ids)
	}
}

// A booking has the right end even if the end is far away. A booking without a limit has no end.
func TestEndsFarAway(t *testing.T) {
	start := newClock().Now()
	for name, test := range map[string]struct {
		start, end time.Time
		overBy     time.Time
	}{
		"no limit":     {start, time.Time{}, time.Time{}},
		"300 years":    {start, start.AddDate(300, 0, 0), start.AddDate(300, 0, 0)},
		"10,000 years": {start, start.AddDate(10_000, 0, 0), start.AddDate(10_000, 0, 0)},
		"year 19,999": {
			time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
			time.Date(19_999, 12, 31, 23, 59, 59, 0, time.UTC),
			time.Date(19_999, 12, 31, 23, 59, 59, 0, time.UTC),
		},
	} {
		t.Run(name, func(t *testing.T) {
			booking := Booking{Start: test.start, End: test.end}
			if booking.IsOver(start) || booking.IsOver(start.AddDate(299, 0, 0)) {
				t.Error("wanted the booking not to be over before its end")
			}
			if !test.overBy.IsZero() && !booking.IsOver(test.overBy) {
				t.Error("wanted the booking to be over at its end")
			}
		})
	}
}

// A booking whose end has already passed does not hold the room.
func TestABookingOfThePastDoesNotHoldTheRoom(t *testing.T) {
	clock := newClock()
	store := newStore(clock)
	booking := booked(clock, "r1", "board", time.Minute)
	clock.Advance(time.Minute)
	if got := create(t, store, booking); got != (Outcome{Verdict: TooLate}) || store.Len() != 0 {
		t.Errorf("wanted the verdict TooLate, got %+v", got)
	}
}

// A full store refuses new conferences, but still answers repeated requests and conflicts, and still
// deletes.
func TestAFullStoreRefusesOnlyNewConferences(t *testing.T) {
	clock := newClock()
	store := NewMemoryStore(1, clock.Now)
	first := granted(t, store, booked(clock, "r1", "board", 0))
	_, err := store.Create(t.Context(), booked(clock, "r2", "hall", 0), Row{})
	if !errors.Is(err, ErrStoreFull) ||
		!strings.Contains(err.Error(), "it holds 1 conferences, its maximum number") {
		t.Errorf("wanted the store to be full, got %v", err)
	}
	if granted(t, store, booked(clock, "r1", "board", 0)) != first {
		t.Error("wanted the repeat to be granted")
	}
	if got := create(t, store, booked(clock, "r2", "board", 0)); got != (Outcome{Held, first, 0}) {
		t.Errorf("wanted a conflict, got %+v", got)
	}
	deleted(t, store, first.ID)
	granted(t, store, booked(clock, "r2", "hall", 0))
}

// A full store drops the conferences that are over before it refuses a new one.
func TestAFullStoreDropsConferencesThatAreOver(t *testing.T) {
	clock := newClock()
	store := NewMemoryStore(3, clock.Now)
	for number, lasts := range []time.Duration{time.Minute, time.Minute, 0} {
		name := strconv.Itoa(number)
		granted(t, store, booked(clock, name, name, lasts))
	}
	clock.Advance(time.Minute)
	granted(t, store, booked(clock, "r9", "room9", 0))
	if store.Len() != 2 {
		t.Errorf("wanted two conferences, got %d", store.Len())
	}
}

// A call whose context is done while it waits for the lock changes nothing.
func TestACallThatWasGivenUpDoesNothing(t *testing.T) {
	clock := newClock()
	store := newStore(clock)
	first := granted(t, store, booked(clock, "r1", "board", 0))
	ctx, cancel := context.WithCancel(t.Context())
	store.mu.Lock()
	failures := make(chan error, 3)
	go func() { _, err := store.Delete(ctx, Deletion{ID: first.ID}); failures <- err }()
	go func() { _, err := store.Get(ctx, first.ID); failures <- err }()
	go func() { _, err := store.Create(ctx, booked(clock, "r2", "hall", 0), Row{}); failures <- err }()
	cancel()
	store.mu.Unlock()
	for range cap(failures) {
		err := receive(t, failures, "a call that was given up did not return")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("wanted the error of the context, got %v", err)
		}
	}
	if !exists(t, store, first.ID) || store.Len() != 1 {
		t.Error("wanted the store to hold the first conference and no other")
	}
}

// If many requests for a room arrive at the same time, the store grants it to one of them, and the
// other requests get that conference.
func TestOneOfManyCallsGetsTheRoom(t *testing.T) {
	const callers, rooms = 8, 200
	clock := newClock()
	store := newStore(clock)
	outcomes := make([][rooms]Outcome, callers)
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for room := range rooms {
				booking := booked(clock, fmt.Sprintf("%d-%d", caller, room), strconv.Itoa(room), 0)
				outcomes[caller][room], _ = store.Create(context.Background(), booking, Row{})
			}
		})
	}
	finish(t, &group, "the calls did not all return")
	for room := range rooms {
		grants, ids := 0, map[string]bool{}
		for caller := range callers {
			outcome := outcomes[caller][room]
			ids[outcome.Conference.ID] = true
			if outcome.Verdict == Granted {
				grants++
			}
		}
		if grants != 1 || len(ids) != 1 {
			t.Fatalf("room %d: wanted one grant of one conference, got %d of %v", room, grants, ids)
		}
	}
}

// The text, the JSON and the log line of a booking do not contain its password.
func TestPasswordIsNotShown(t *testing.T) {
	conference := Conference{ID: "1", Booking: Booking{Room: "board", Password: "hunter2"}}
	asJSON, err := json.Marshal(conference)
	if err != nil {
		t.Fatal(err)
	}
	var log output
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "c", conference, "p", conference.Password)
	shown := fmt.Sprintf("%v %+v %s %s", conference, conference, asJSON, log.String())
	if strings.Contains(shown, "hunter2") || !strings.Contains(shown, "[secret]") {
		t.Errorf("wanted no password, got %s", shown)
	}
}

// An id has 14 digits, and is below 90000000000000 until the year 2255.
func TestIDsAreNumbersThatEveryClientAccepts(t *testing.T) {
	var ids clockIDs
	if id := ids.next(time.Unix(8_999_999_999, 0)); id != "89999999990000" {
		t.Errorf("got %s", id)
	}
	id, err := strconv.ParseInt(granted(t, NewMemoryStore(1, time.Now), Booking{}).ID, 10, 64)
	if err != nil || id < 1 || id > 99_999_999_999_999 {
		t.Errorf("got %d, %v", id, err)
	}
}

// The ids rise even if the clock stands still or goes back. The ids of a new process are larger than
// the ids of the process before.
func TestIDsRise(t *testing.T) {
	var ids clockIDs
	got := []string{}
	for _, microseconds := range []int64{1_000_000, 1_000_000, 500_000, 2_000_000} {
		got = append(got, ids.next(time.UnixMicro(microseconds)))
	}
	if fmt.Sprint(got) != "[10000 10001 10002 20000]" {
		t.Errorf("got %v", got)
	}
	var restarted clockIDs
	if id := restarted.next(time.UnixMicro(3_000_000)); id != "30000" {
		t.Errorf("got %s", id)
	}
}
