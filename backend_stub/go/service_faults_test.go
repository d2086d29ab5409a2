package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
	"google.golang.org/grpc/codes"
)

// lateStore passes a deletion to its store only after the context of the call is done.
type lateStore struct {
	Store
	entered chan struct{}
	result  chan error
}

func (s lateStore) Delete(ctx context.Context, deletion Deletion) (Removal, error) {
	close(s.entered)
	select {
	case <-ctx.Done():
	case <-time.After(timeout / 2):
		// This wait is shorter than the wait of the test, so that the test reports this reason.
		s.result <- errStillWanted
		return Removal{}, errStillWanted
	}
	removal, err := s.Store.Delete(ctx, deletion)
	s.result <- err
	return removal, err
}

var errStillWanted = fmt.Errorf("waited %v: the context of the deletion was not done, although "+
	"its caller had given up", timeout/2)

// The store does not carry out a deletion that was cancelled or whose deadline has passed: a client
// may have the conference again.
func TestADeletionThatWasGivenUpIsNotCarriedOut(t *testing.T) {
	for name, giveUp := range map[string]func(context.Context) (context.Context, func()){
		"cancelled": func(ctx context.Context) (context.Context, func()) {
			return context.WithCancel(ctx)
		},
		"deadline": func(ctx context.Context) (context.Context, func()) {
			// Long enough for the call to reach the store on a busy machine.
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			return ctx, func() { <-ctx.Done(); cancel() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			late := lateStore{entered: make(chan struct{}), result: make(chan error, 1)}
			b := newBackend(t, Policy{}, func(s Store) Store { late.Store = s; return late })
			held := b.create(wanted("r1", "board")).GetConference()
			ctx, end := giveUp(b.ctx())
			answer := make(chan error, 1)
			go func() {
				request := &pb.DeleteConferenceRequest{ConferenceId: held.GetId()}
				_, err := b.DeleteConference(ctx, request)
				answer <- err
			}()
			receive(t, late.entered, "the deletion did not reach the store")
			end()
			if receive(t, answer, "the caller got no answer to its deletion") == nil {
				t.Error("wanted the deletion to fail for its caller, got OK")
			}
			switch err := receive(t, late.result, "the deletion did not leave the store"); err {
			case nil:
				t.Error("wanted the deletion to fail in the store, but the store carried it out")
			case errStillWanted:
				t.Error(err)
			}
			if _, err := b.get(held.GetId()); err != nil {
				t.Errorf("wanted the conference to exist, got %v", err)
			}
		})
	}
}

// If the context of a call is done, the service answers Canceled or DeadlineExceeded.
func TestCallsGetTheCodeOfTheirContext(t *testing.T) {
	service := NewService(newStore(newClock()), Policy{}, quiet)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	overdue, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	request := &pb.DeleteConferenceRequest{ConferenceId: "1"}
	_, err := service.DeleteConference(cancelled, request)
	wantCode(t, err, codes.Canceled, "")
	_, err = service.DeleteConference(overdue, request)
	wantCode(t, err, codes.DeadlineExceeded, "")
	_, err = service.CreateConference(overdue, wanted("r1", "board"))
	wantCode(t, err, codes.DeadlineExceeded, "")
}

// brokenStore returns an error, panics, or returns an outcome that is not valid.
type brokenStore struct{ Store }

func (brokenStore) Get(context.Context, string) (Conference, error) {
	return Conference{}, errors.New("password=hunter2 was refused")
}

func (brokenStore) Delete(_ context.Context, deletion Deletion) (Removal, error) {
	if deletion.ID == "1" {
		panic("nil map")
	}
	return Removal{}, nil
}

func (brokenStore) Create(context.Context, Booking, Row) (Outcome, error) { return Outcome{}, nil }

// If the store fails or panics, the caller gets INTERNAL without the cause. The log contains the
// cause, and the server continues to serve.
func TestOnlyTheLogContainsTheErrorsOfTheStore(t *testing.T) {
	b := newBackend(t, Policy{}, func(Store) Store { return brokenStore{} })
	for range 2 {
		_, err := b.get("1")
		wantCode(t, err, codes.Internal, "the backend's log contains the cause")
		for _, id := range []string{"1", "2"} {
			_, err = b.DeleteConference(b.ctx(), &pb.DeleteConferenceRequest{ConferenceId: id})
			wantCode(t, err, codes.Internal, "the backend's log contains the cause")
		}
		_, err = b.CreateConference(b.ctx(), wanted("r1", "board"))
		wantCode(t, err, codes.Internal, "the backend's log contains the cause")
	}
	for _, cause := range []string{"was refused", "nil map", "unknown verdict, 0", "unknown effect, 0"} {
		if !regexp.MustCompile("level=ERROR .*" + cause).MatchString(b.log.String()) {
			t.Errorf("wanted %q in the log, got %s", cause, b.log.String())
		}
	}
}
