// The service of the contract: it passes a request to Policy and to Store, and answers it.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Service is the reservation service: it applies a policy to a request and asks a store. It logs one
// line for each call, with the incident id that the proxy logs too.
type Service struct {
	pb.UnimplementedReservationServiceServer
	store  Store
	policy Policy
	log    *slog.Logger
}

// NewService returns a service with this store and this policy.
func NewService(store Store, policy Policy, log *slog.Logger) *Service {
	return &Service{store: store, policy: policy, log: log}
}

// CreateConference returns the granted conference, a conflict with the conference that holds the
// room, or a denial.
func (s *Service) CreateConference(
	ctx context.Context, request *pb.CreateConferenceRequest,
) (*pb.CreateConferenceResponse, error) {
	log := s.logger(ctx).With("room", request.GetRoom().GetRaw(),
		"holder", request.GetHolder(), "hold", request.GetHold())
	log.DebugContext(ctx, "create wanted", "request", request.GetRequestId(),
		"client", request.GetClient(), "owner", request.GetOwner().GetRaw(),
		"start", request.GetStartTime().AsTime(), "duration", request.GetDuration())
	response, err := s.create(ctx, request)
	if err != nil {
		return nil, failed(ctx, log, "create", err)
	}
	switch outcome := response.GetOutcome().(type) {
	case *pb.CreateConferenceResponse_Conference:
		log.InfoContext(ctx, "create", "result", "granted", "id", outcome.Conference.GetId())
	case *pb.CreateConferenceResponse_Conflict:
		log.InfoContext(ctx, "create", "result", "conflict",
			"id", outcome.Conflict.GetConference().GetId())
	case *pb.CreateConferenceResponse_Denial:
		log.InfoContext(ctx, "create", "result", "denied", "reason", outcome.Denial.GetReason())
	}
	return response, nil
}

// GetConference returns the conference. It answers NOT_FOUND if the conference is unknown, deleted
// or over.
func (s *Service) GetConference(
	ctx context.Context, request *pb.GetConferenceRequest,
) (*pb.GetConferenceResponse, error) {
	log := s.logger(ctx).With("id", request.GetConferenceId())
	if request.GetConferenceId() == "" {
		return nil, failed(ctx, log, "get", missing("conference_id"))
	}
	conference, err := s.store.Get(ctx, request.GetConferenceId())
	if err != nil {
		return nil, failed(ctx, log, "get", err)
	}
	log.InfoContext(ctx, "get", "result", "found")
	return &pb.GetConferenceResponse{Conference: message(conference)}, nil
}

// DeleteConference removes the row of the holder, and deletes the conference if that was the last row.
// It answers OK even if it changes nothing.
func (s *Service) DeleteConference(
	ctx context.Context, request *pb.DeleteConferenceRequest,
) (*pb.DeleteConferenceResponse, error) {
	log := s.logger(ctx).With(target(request), "reason", request.GetReason(),
		"holder", request.GetHolder(), "hold", request.GetHold())
	removal, err := s.delete(ctx, request)
	if err != nil {
		return nil, failed(ctx, log, "delete", err)
	}
	if isWithdrawal(request) {
		log = log.With("id", removal.ID)
	}
	log.InfoContext(ctx, "delete", "result", effects[removal.Effect])
	return &pb.DeleteConferenceResponse{}, nil
}

// effects holds the text of the log for each effect of a deletion.
var effects = map[Effect]string{
	Deleted:      "deleted",
	Released:     "released; other holders have it",
	NoConference: "not changed: no such conference",
	NoRow:        "not changed: this holder does not have it",
	GreaterHold:  "not changed: this holder asked for it again with a greater hold",
}

// target returns the field of the request that names the conference, for the log.
func target(request *pb.DeleteConferenceRequest) slog.Attr {
	if isWithdrawal(request) {
		return slog.String("room", request.GetRoom())
	}
	return slog.String("id", request.GetConferenceId())
}

func (s *Service) create(
	ctx context.Context, request *pb.CreateConferenceRequest,
) (*pb.CreateConferenceResponse, error) {
	booking, err := s.booking(request)
	if err != nil {
		return nil, err
	}
	if denial := s.policy.Denial(request.GetRoom()); denial != nil {
		return denied(denial), nil
	}
	outcome, err := s.store.Create(ctx, booking, Row{request.GetHolder(), request.GetHold()})
	if err != nil {
		return nil, err
	}
	held := message(outcome.Conference)
	switch outcome.Verdict {
	case Granted:
		granted := &pb.CreateConferenceResponse_Conference{Conference: held}
		return &pb.CreateConferenceResponse{Outcome: granted, Hold: outcome.Hold}, nil
	case Held:
		conflict := &pb.CreateConferenceResponse_Conflict{Conflict: &pb.Conflict{Conference: held}}
		return &pb.CreateConferenceResponse{Outcome: conflict, Hold: outcome.Hold}, nil
	case TooLate:
		// If the service granted the room, Jitsi would close it at once, without a message to the
		// user.
		return denied(&pb.Denial{
			Message: "The time of this meeting is over already.",
			Reason:  pb.DenialReason_DENIAL_REASON_TOO_LATE,
		}), nil
	default:
		return nil, fmt.Errorf("the store returned an unknown verdict, %d", outcome.Verdict)
	}
}

func (s *Service) delete(
	ctx context.Context, request *pb.DeleteConferenceRequest,
) (Removal, error) {
	if err := checkDeletion(request); err != nil {
		return Removal{}, err
	}
	removal, err := s.store.Delete(ctx, Deletion{
		ID:   request.GetConferenceId(),
		Room: request.GetRoom(),
		Row:  Row{request.GetHolder(), request.GetHold()},
	})
	if err == nil && effects[removal.Effect] == "" {
		err = fmt.Errorf("the store returned an unknown effect, %d", removal.Effect)
	}
	return removal, err
}

// booking returns the booking to request from the store, or INVALID_ARGUMENT if the request breaks
// the contract.
func (s *Service) booking(request *pb.CreateConferenceRequest) (Booking, error) {
	if err := check(request); err != nil {
		return Booking{}, err
	}
	start := request.GetStartTime().AsTime()
	return Booking{
		RequestID:    request.GetRequestId(),
		Room:         request.GetRoom().GetRaw(),
		Owner:        request.GetOwner().GetRaw(),
		Start:        start,
		End:          earlier(after(start, request.GetDuration()), after(start, s.policy.Longest)),
		MaxOccupants: s.policy.MaxOccupants,
		Lobby:        s.policy.Lobby,
		Password:     s.policy.Password,
	}, nil
}

func (s *Service) logger(ctx context.Context) *slog.Logger {
	incident := ""
	if values := metadata.ValueFromIncomingContext(ctx, "x-incident-id"); len(values) > 0 {
		incident = values[0]
	}
	return s.log.With("incident", incident)
}

// failed logs a call that failed, and returns the error for the caller. The caller gets INTERNAL for
// an unexpected error, and only the log contains its text.
func failed(ctx context.Context, log *slog.Logger, call string, err error) error {
	level, answer := slog.LevelInfo, err
	switch {
	case status.Code(err) == codes.InvalidArgument:
	case errors.Is(err, ErrNoConference):
		answer = status.Error(codes.NotFound, err.Error())
	case errors.Is(err, ErrStoreFull):
		// This is an error and not a denial, because no rule denies this room.
		answer = status.Error(codes.ResourceExhausted, err.Error())
	case ctx.Err() != nil:
		// The code checks ctx and not err, because a database driver may return an error of its own.
		answer = status.FromContextError(ctx.Err()).Err()
	default:
		level = slog.LevelError
		answer = status.Error(codes.Internal, "the backend's log contains the cause")
	}
	log.Log(ctx, level, call,
		"result", status.Code(answer), "error", status.Convert(err).Message())
	return answer
}
