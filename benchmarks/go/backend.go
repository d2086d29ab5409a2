package main

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
)

// backend grants each request a new conference, after a delay. It stores nothing.
type backend struct {
	pb.UnimplementedReservationServiceServer
	delay   time.Duration
	numbers atomic.Int64
}

func serveBackend(delay time.Duration) error {
	listener, err := listen("0")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	pb.RegisterReservationServiceServer(server, &backend{delay: delay})
	go func() {
		<-ended()
		server.Stop()
	}()
	return server.Serve(listener)
}

func (b *backend) CreateConference(
	_ context.Context, request *pb.CreateConferenceRequest,
) (*pb.CreateConferenceResponse, error) {
	time.Sleep(b.delay)
	conference := &pb.Conference{
		Id:        strconv.FormatInt(b.numbers.Add(1), 10),
		Room:      request.GetRoom().GetRaw(),
		Owner:     request.GetOwner().GetRaw(),
		StartTime: request.GetStartTime(),
	}
	outcome := &pb.CreateConferenceResponse_Conference{Conference: conference}
	return &pb.CreateConferenceResponse{Outcome: outcome}, nil
}

func (b *backend) GetConference(
	_ context.Context, request *pb.GetConferenceRequest,
) (*pb.GetConferenceResponse, error) {
	time.Sleep(b.delay)
	conference := &pb.Conference{Id: request.GetConferenceId()}
	return &pb.GetConferenceResponse{Conference: conference}, nil
}

func (b *backend) DeleteConference(
	context.Context, *pb.DeleteConferenceRequest,
) (*pb.DeleteConferenceResponse, error) {
	time.Sleep(b.delay)
	return &pb.DeleteConferenceResponse{}, nil
}
