package com.example.reservations;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import com.google.protobuf.util.Timestamps;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.FutureTask;
import jicofo.reservation.v1.Conference;
import jicofo.reservation.v1.CreateConferenceRequest;
import jicofo.reservation.v1.Room;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@DisplayName("The jar, as a process")
final class JarIT {
    @TempDir private Path folder;

    private Process start(String... flags) throws Exception {
        var java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        var command = new ProcessBuilder(
                java, "-Xmx64m", "-XX:+UseSerialGC", "-jar", System.getProperty("stub.jar"));
        command.command().addAll(List.of(flags));
        return command.redirectError(folder.resolve("log").toFile()).start();
    }

    private static int exitCode(Process process) throws InterruptedException {
        return Timeouts.exitCode(process, "the process of the jar did not end");
    }

    private static String firstLine(BufferedReader out) throws InterruptedException {
        var line = new FutureTask<>(out::readLine);
        new Thread(line).start();
        return Timeouts.get(line, "the process of the jar wrote no first line");
    }

    /** Returns whether this process, and so its children, ignore SIGINT, as background jobs do. */
    private static boolean ignoresSigint() throws IOException {
        Path status = Path.of("/proc/self/status");
        return Files.exists(status)
                && Files.readAllLines(status).stream()
                        .filter(line -> line.startsWith("SigIgn:"))
                        .map(line -> line.substring("SigIgn:".length()).strip())
                        .anyMatch(mask -> (Long.parseUnsignedLong(mask, 16) & 1 << 1) != 0);
    }

    @ParameterizedTest
    @DisplayName("It writes its port, logs one line for a call, and exits with 0 after a signal")
    @ValueSource(strings = {"TERM", "INT"})
    void serves(String signal) throws Exception {
        assumeFalse(signal.equals("INT") && ignoresSigint(), "the jar would ignore SIGINT");
        Backend backend = new Backend();
        Process process = start("--listen", "127.0.0.1:0");
        Conference granted;
        try (BufferedReader out = process.inputReader()) {
            String first = firstLine(out);
            assertTrue(first != null && first.startsWith("listening on "), first);
            String address = first.split(" ")[2];
            var stub = Backend.with(
                    Backend.stub(backend.dial(address)), "x-incident-id", "inc-17");
            granted = stub.createConference(CreateConferenceRequest.newBuilder()
                            .setRequestId("r1")
                            .setRoom(Room.newBuilder().setRaw("caf\u00e9"))
                            .setStartTime(Timestamps.fromMillis(System.currentTimeMillis()))
                            .build())
                    .getConference();
            var kill = new ProcessBuilder("kill", "-" + signal, Long.toString(process.pid()));
            assertEquals(0, Timeouts.exitCode(kill.start(), "the kill command did not end"));
            assertEquals(0, exitCode(process));
            assertEquals(null, out.readLine());
        } finally {
            process.destroyForcibly();
            backend.stop();
        }
        List<String> log = Files.readAllLines(folder.resolve("log"));
        assertEquals(1, log.size(), log::toString);
        assertTrue(
                log.get(0).endsWith(" INFO com.example.reservations.ReservationService:"
                        + " incident='inc-17' create room='caf\u00e9': granted id="
                        + granted.getId()),
                log::toString);
    }

    @ParameterizedTest
    @DisplayName("It exits with 2 if a flag is not valid")
    @ValueSource(strings = {"--listen=nowhere", "--unknown"})
    void badFlags(String flag) throws Exception {
        assertEquals(2, exitCode(start(flag)));
        assertEquals(1, Files.readAllLines(folder.resolve("log")).size());
    }
}
