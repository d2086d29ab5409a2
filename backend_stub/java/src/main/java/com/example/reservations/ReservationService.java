package com.example.reservations;

import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Status;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.Optional;
import java.util.function.Supplier;
import java.util.logging.Level;
import java.util.logging.Logger;
import jicofo.reservation.v1.CreateConferenceRequest;
import jicofo.reservation.v1.CreateConferenceResponse;
import jicofo.reservation.v1.DeleteConferenceRequest;
import jicofo.reservation.v1.DeleteConferenceResponse;
import jicofo.reservation.v1.Denial;
import jicofo.reservation.v1.GetConferenceRequest;
import jicofo.reservation.v1.GetConferenceResponse;
import jicofo.reservation.v1.ReservationServiceGrpc;

/**
 * The service of the contract, on a store and by a policy.
 *
 * <p>It logs one line for each call, under the incident id that the proxy logs too.
 */
final class ReservationService extends ReservationServiceGrpc.ReservationServiceImplBase {
    private static final Logger LOGGER = Logger.getLogger(ReservationService.class.getName());

    private final Store store;
    private final Policy policy;

    ReservationService(Store store, Policy policy) {
        this.store = store;
        this.policy = policy;
    }

    /** Grants the room, or says which conference holds it, or why nobody gets it. */
    @Override
    public void createConference(
            CreateConferenceRequest request, StreamObserver<CreateConferenceResponse> observer) {
        String subject = "create room=" + Text.quoted(request.getRoom().getRaw());
        answer(subject, observer, () -> {
            Booking booking = policy.terms(Messages.booking(request));
            LOGGER.fine(() -> line(subject, "client=" + request.getClientValue() + " wants "
                    + Text.quoted(booking.toString())));
            Optional<Denial> denial = policy.denial(request);
            CreateConferenceResponse response = denial.isPresent()
                    ? CreateConferenceResponse.newBuilder().setDenial(denial.get()).build()
                    : Messages.response(store.create(booking));
            return new Answer<>(response, summary(response));
        });
    }

    /** Returns the conference; NOT_FOUND where it is unknown, deleted or over. */
    @Override
    public void getConference(
            GetConferenceRequest request, StreamObserver<GetConferenceResponse> observer) {
        String subject = "get id=" + Text.quoted(request.getConferenceId());
        answer(subject, observer, () -> {
            String id = Messages.conferenceId(request.getConferenceId());
            Conference conference = store.get(id)
                    .orElseThrow(() -> new Fault(Status.Code.NOT_FOUND, "no such conference"));
            var response = GetConferenceResponse.newBuilder()
                    .setConference(Messages.message(conference));
            return new Answer<>(response.build(), "found");
        });
    }

    /** Frees the room of this conference; OK as well where there is no such conference. */
    @Override
    public void deleteConference(
            DeleteConferenceRequest request, StreamObserver<DeleteConferenceResponse> observer) {
        String subject = "delete id=" + Text.quoted(request.getConferenceId())
                + " reason=" + request.getReasonValue();
        answer(subject, observer, () -> {
            String id = Messages.conferenceId(request.getConferenceId());
            String result = switch (store.delete(id, ReservationService::isGivenUp)) {
                case DELETED -> "deleted";
                case NOTHING_TO_DELETE -> "nothing to delete";
                // People may be meeting under the conference again.
                case GIVEN_UP -> throw Fault.givenUp();
            };
            return new Answer<>(DeleteConferenceResponse.getDefaultInstance(), result);
        });
    }

    /** What a call is answered with, and what the log says of it. */
    private record Answer<R>(R response, String result) {}

    private static <R> void answer(
            String subject, StreamObserver<R> observer, Supplier<Answer<R>> work) {
        // With a handler, gRPC does not throw where the caller gives up before the answer is there.
        ((ServerCallStreamObserver<R>) observer).setOnCancelHandler(() -> {});
        R response;
        try {
            if (isGivenUp()) {
                throw Fault.givenUp();
            }
            Answer<R> answer = work.get();
            LOGGER.info(() -> line(subject, answer.result()));
            response = answer.response();
        } catch (Fault fault) {
            LOGGER.info(() -> line(subject, fault.status().getCode() + ": " + fault.getMessage()));
            observer.onError(fault.status().asRuntimeException());
            return;
        } catch (RuntimeException error) {
            // The caller learns that something broke, the log what it was.
            LOGGER.log(Level.SEVERE, error, () -> line(subject, "INTERNAL"));
            observer.onError(
                    Status.INTERNAL.withDescription("see the backend's log").asRuntimeException());
            return;
        }
        observer.onNext(response);
        observer.onCompleted();
    }

    /** Tells whether nobody waits any more for the answer of the call that this thread works on. */
    private static boolean isGivenUp() {
        Deadline deadline = Context.current().getDeadline();
        // The timer that cancels the context at its deadline may be late on a busy machine.
        return Context.current().isCancelled() || (deadline != null && deadline.isExpired());
    }

    private static String line(String subject, String result) {
        return "incident=" + Text.quoted(Incident.current()) + " " + subject + ": " + result;
    }

    private static String summary(CreateConferenceResponse response) {
        return switch (response.getOutcomeCase()) {
            case CONFERENCE -> "granted id=" + response.getConference().getId();
            case CONFLICT -> "conflict with id=" + response.getConflict().getConference().getId();
            case DENIAL -> "denied: " + response.getDenial().getMessage();
            case OUTCOME_NOT_SET ->
                    throw new IllegalStateException("a response without an outcome");
        };
    }
}
