package main

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "example.com/jicofo-reservation-proxy/gen/jicofo/reservation/v1"
)

const noLimitSeconds = 3155760000

// bridge answers Jicofo as a team would write it by hand: the happy path, and
// 502 for everything else. A DELETE waits for the backend.
type bridge struct {
	stub pb.ReservationServiceClient
}

func serveBridge(address, port string) error {
	connection, err := grpc.NewClient(
		address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	b := &bridge{pb.NewReservationServiceClient(connection)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /conference", b.create)
	mux.HandleFunc("DELETE /conference/{id}", b.delete)
	return serveHTTP(port, mux)
}

// serveHTTP serves until a signal ends this process.
func serveHTTP(port string, handler http.Handler) error {
	listener, err := listen(port)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler}
	go func() {
		<-ended()
		server.Close()
	}()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func (b *bridge) create(w http.ResponseWriter, r *http.Request) {
	start, err := time.Parse(time.RFC3339, r.FormValue("start_time"))
	if err != nil {
		http.Error(w, `{"message": "start_time: wanted a time"}`, http.StatusBadRequest)
		return
	}
	name, owner := r.FormValue("name"), r.FormValue("mail_owner")
	granted, err := b.stub.CreateConference(r.Context(), &pb.CreateConferenceRequest{
		RequestId: name,
		Room:      &pb.Room{Raw: name, Name: name},
		Owner:     &pb.Owner{Raw: owner},
		StartTime: timestamppb.New(start),
	})
	if err != nil || granted.GetConference() == nil {
		http.Error(w, `{"message": "no conference"}`, http.StatusBadGateway)
		return
	}
	id, _ := strconv.ParseInt(granted.GetConference().GetId(), 10, 64)
	answer(w, map[string]any{
		"id":         id,
		"name":       name,
		"mail_owner": owner,
		"start_time": start.UTC().Format("2006-01-02T15:04:05.000Z"),
		"duration":   noLimitSeconds,
	})
}

func (b *bridge) delete(w http.ResponseWriter, r *http.Request) {
	request := &pb.DeleteConferenceRequest{ConferenceId: r.PathValue("id")}
	if _, err := b.stub.DeleteConference(r.Context(), request); err != nil {
		http.Error(w, `{"message": "not deleted"}`, http.StatusBadGateway)
		return
	}
	answer(w, map[string]any{})
}

func answer(w http.ResponseWriter, fields map[string]any) {
	body, err := json.Marshal(fields)
	if err != nil {
		http.Error(w, `{"message": "a fault"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}
