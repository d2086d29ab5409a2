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
 * The reservation service: it applies a policy to a request and asks a store.
 *
 * <p>The service logs one line for each call, with the incident id that the proxy logs too.
 */
final class ReservationService extends ReservationServiceGrpc.ReservationServiceImplBase {
    private static final Logger LOGGER = Logger.getLogger(ReservationService.class.getName());

    private final Store store;
    private final Policy policy;

    ReservationService(Store store, Policy policy) {
        this.store = store;
        this.policy = policy;
    }

    /** Answers with the granted conference, a conflict with the holder of the room, or a denial. */
    @Override
    public void createConference(
            CreateConferenceRequest request, StreamObserver<CreateConferenceResponse> observer) {
        String subject = "create room=" + Text.quoted(request.getRoom().getRaw())
                + shown(new Hold(request.getHolder(), request.getHold()));
        answer(subject, observer, () -> {
            Booking booking = policy.apply(Messages.booking(request));
            Hold hold = Messages.hold(request);
            LOGGER.fine(() -> line(subject, "client=" + request.getClientValue() + " wants "
                    + Text.quoted(booking.toString())));
            Optional<Denial> denial = policy.denial(request);
            CreateConferenceResponse response = denial.isPresent()
                    ? CreateConferenceResponse.newBuilder().setDenial(denial.get()).build()
                    : Messages.response(store.create(booking, hold));
            return new Answer<>(response, summary(response));
        });
    }

    /** Answers with the conference, or NOT_FOUND if it is unknown, deleted or over. */
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

    /** Deletes the conference for one holder. It answers OK even if nothing is to be deleted. */
    @Override
    public void deleteConference(
            DeleteConferenceRequest request, StreamObserver<DeleteConferenceResponse> observer) {
        Hold hold = new Hold(request.getHolder(), request.getHold());
        boolean isWithdrawal = request.getConferenceId().isEmpty() && !request.getRoom().isEmpty();
        String target = isWithdrawal
                ? "room=" + Text.quoted(request.getRoom())
                : "id=" + Text.quoted(request.getConferenceId());
        String subject =
                "delete " + target + " reason=" + request.getReasonValue() + shown(hold);
        answer(subject, observer, () -> {
            Store.Deletion deletion = isWithdrawal
                    ? store.withdraw(request.getRoom(), hold, ReservationService::isGivenUp)
                    : store.delete(
                            Messages.deletedId(request), hold, ReservationService::isGivenUp);
            String result = switch (deletion) {
                case DELETED -> "deleted";
                case RELEASED -> "released; other holders have the conference";
                case NOT_CHANGED ->
                        "not changed: the holder has no row, or a row with a greater hold";
                case NOTHING_TO_DELETE -> "nothing to delete";
                // A client may have the conference again, so the store did not delete it.
                case GIVEN_UP -> throw Fault.givenUp();
            };
            return new Answer<>(DeleteConferenceResponse.getDefaultInstance(), result);
        });
    }

    /** Returns the holder and the hold for the log, or "" if the caller has no holder. */
    private static String shown(Hold hold) {
        return hold.holder().isEmpty()
                ? ""
                : " holder=" + Text.quoted(hold.holder()) + " hold=" + hold.number();
    }

    /** The response to a call, and the result for its log line. */
    private record Answer<R>(R response, String result) {}

    private static <R> void answer(
            String subject, StreamObserver<R> observer, Supplier<Answer<R>> work) {
        // Without a handler, onNext throws an exception if the call was cancelled.
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
            // The caller gets only INTERNAL; the log contains the error.
            LOGGER.log(Level.SEVERE, error, () -> line(subject, "INTERNAL"));
            observer.onError(
                    Status.INTERNAL
                            .withDescription("the backend's log contains the cause")
                            .asRuntimeException());
            return;
        }
        observer.onNext(response);
        observer.onCompleted();
    }

    /** Returns whether the caller no longer waits for the call that this thread works on. */
    private static boolean isGivenUp() {
        Deadline deadline = Context.current().getDeadline();
        // On a busy machine, the timer that cancels the context at its deadline may be late.
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
