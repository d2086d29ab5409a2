package com.example.reservations;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.google.protobuf.Timestamp;
import com.google.protobuf.util.Timestamps;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import jicofo.reservation.v1.Conference;
import jicofo.reservation.v1.CreateConferenceRequest;
import jicofo.reservation.v1.CreateConferenceResponse;
import jicofo.reservation.v1.ReservationServiceGrpc.ReservationServiceBlockingStub;
import jicofo.reservation.v1.Room;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@DisplayName("The command line")
final class MainTest {
    private static final String LINE = "wanted a single line of printable text, got an empty"
            + " file, several lines or control characters in ";

    @TempDir private static Path folder;

    private final Backend backend = new Backend();
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();

    @BeforeAll
    static void makeFiles() throws Exception {
        new Authority(folder).issue("localhost");
        write("empty", "");
        write("two-lines", "one\ntwo\n");
        write("not-ascii", "caf\u00e9\n");
        write("blank", "key \n");
        write("long", "\u00e9".repeat(128));
        write("good", "hunter2\n");
        write("password", "open s\u00e9same\r\n");
        Files.write(folder.resolve("latin1"), "caf\u00e9\n".getBytes(StandardCharsets.ISO_8859_1));
    }

    private static void write(String name, String text) throws Exception {
        Files.writeString(folder.resolve(name), text);
    }

    @AfterEach
    void stop() throws InterruptedException {
        backend.stop();
    }

    /** Runs the command with these flags ("%" is the folder) until {@code meanwhile} returns. */
    private int run(String flags, Consumer<String> meanwhile)
            throws Exception {
        String[] args = flags.isEmpty()
                ? new String[0]
                : flags.replace("%", folder + "/").split(" ");
        return Main.run(args, print(out), print(err), () -> {
            meanwhile.accept(text(out).split(" ")[2]);
        });
    }

    private ReservationServiceBlockingStub stub(String address) {
        return Backend.stub(backend.dial(address));
    }

    private static PrintStream print(ByteArrayOutputStream stream) {
        return new PrintStream(stream, true, StandardCharsets.UTF_8);
    }

    private static String text(ByteArrayOutputStream stream) {
        return stream.toString(StandardCharsets.UTF_8).replace(folder + "/", "%");
    }

    private static boolean hasIpv6() {
        try (ServerSocket probe = new ServerSocket(0, 1, InetAddress.getByName("::1"))) {
            return probe.isBound();
        } catch (IOException error) {
            return false;
        }
    }

    private static CreateConferenceResponse create(
            ReservationServiceBlockingStub stub, String room) {
        Timestamp now = Timestamps.fromMillis(System.currentTimeMillis());
        return stub.createConference(CreateConferenceRequest.newBuilder()
                .setRequestId("for " + room)
                .setRoom(Room.newBuilder().setRaw(room).setName(room))
                .setStartTime(now)
                .build());
    }

    @Test
    @DisplayName("It writes its address, serves until the stop event, and returns 0")
    void serves() throws Exception {
        var granted = new AtomicReference<Conference>();
        assertEquals(0, run("--listen 127.0.0.1:0", address ->
                granted.set(create(stub(address), "board").getConference())));
        assertTrue(
                text(out).matches("listening on 127\\.0\\.0\\.1:[1-9][0-9]* \\(plaintext\\)\n"),
                text(out));
        assertEquals("", text(err));
        assertFalse(granted.get().hasDuration());
        assertFalse(granted.get().hasLobby());
        assertFalse(granted.get().hasPassword());
    }

    @Test
    @DisplayName("The flags set the rules of the policy and the maximum number of conferences")
    void decides() throws Exception {
        String flags = "--listen 127.0.0.1:0 --duration 90.5 --max-occupants 7 --lobby"
                + " --deny exec-* --deny hall --password-file %password --max-conferences 1";
        assertEquals(0, run(flags, address -> {
            var stub = stub(address);
            Conference granted = create(stub, "board").getConference();
            assertEquals(90, granted.getDuration().getSeconds());
            assertEquals(500_000_000, granted.getDuration().getNanos());
            assertEquals(7, granted.getMaxOccupants());
            assertTrue(granted.getLobby());
            assertEquals("open s\u00e9same", granted.getPassword());
            assertTrue(create(stub, "exec-1").hasDenial());
            assertTrue(create(stub, "HALL").hasDenial());
            assertEquals(
                    "the store is full: it holds 1 conferences, its maximum number",
                    Backend.fault(() -> create(stub, "other")).getDescription());
        }));
    }

    @Test
    @DisplayName("The server reads the key from its file, and expects it in the header of the flag")
    void key() throws Exception {
        String flags = "--listen 127.0.0.1:0 --api-key-file %good --api-key-header X-Key";
        assertEquals(0, run(flags, address ->
                assertTrue(create(Backend.with(stub(address), "x-key", "hunter2"), "board")
                        .hasConference())));
    }

    @ParameterizedTest
    @DisplayName("Plaintext needs loopback or --insecure; the first line names the protection")
    @CsvSource({
        "--listen localhost:0, localhost:[1-9]\\d* \\(plaintext\\)",
        "--listen 0.0.0.0:0 --insecure, 0\\.0\\.0\\.0:[1-9]\\d* \\(plaintext\\)",
        "--listen [::1]:0, \\[::1]:[1-9]\\d* \\(plaintext\\)",
        "--listen unix:%s, unix:%s \\(plaintext\\)",
        "--listen 0.0.0.0:0 --tls-cert %localhost.pem --tls-key %localhost.key, .* \\(TLS\\)",
        "--listen 127.0.0.1:0 --tls-cert %localhost.pem --tls-key %localhost.key"
                + " --client-ca %ca.pem, .* \\(mTLS\\)",
    })
    void whereItListens(String flags, String line) throws Exception {
        assumeTrue(!flags.contains("[::1]") || hasIpv6(), "the machine has no IPv6");
        assertEquals(0, run(flags, address -> {}), () -> text(err));
        assertTrue(text(out).matches("listening on " + line + "\n"), text(out));
    }

    @Test
    @DisplayName("If the port is in use, the error says what to do, and the exit code is 3")
    void takenPort() throws Exception {
        String address = backend.serve(Backend.options());
        assertEquals(3, run("--listen " + address, other -> {}));
        assertEquals("", text(out));
        assertEquals(
                "jicofo-reservation-stub: error: --listen: " + address
                        + ": wanted a free address of this machine, but could not listen there;"
                        + " stop the server that uses the address, or choose another one"
                        + " (port 0: any free port)\n",
                text(err));
    }

    @ParameterizedTest
    @DisplayName("If a flag is not valid, the error names the flag, and the exit code is 2")
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '"',
            value = {
                "--listen 50051 | argument --listen: wanted host:port or unix:/path, got '50051';",
                "--listen :50051 | argument --listen: wanted host:port or unix:/path, got ':50051'",
                "--listen localhost:65536 | argument --listen: wanted host:port",
                "--listen localhost:\u0665 | argument --listen: wanted host:port",
                "--listen unix: | argument --listen: wanted host:port or unix:/path, got 'unix:'",
                "--listen 0.0.0.0:50051 | --listen: wanted a loopback address or a Unix socket,"
                        + " since there is no TLS, got 0.0.0.0:50051; add --tls-cert and --tls-key,"
                        + " or add",
                "--listen host.example.com:1 | --listen: wanted a loopback address",
                "--listen [::]:1 | --listen: wanted a loopback address",
                "--tls-cert x | --tls-cert and --tls-key: wanted both flags or neither, got only"
                        + " one",
                "--tls-key x | --tls-cert and --tls-key: wanted both flags or neither, got only"
                        + " one",
                "--client-ca x | --client-ca: wanted --tls-cert and --tls-key as well, got neither",
                "--insecure --tls-cert x --tls-key x | --insecure: wanted no TLS flags, got"
                        + " --tls-cert; remove one of the two flags",
                "--tls-cert none --tls-key x | --tls-cert, --tls-key, --client-ca: wanted a"
                        + " readable file, got none: No such file or directory",
                "--tls-cert %localhost.pem --tls-key %good | --tls-cert, --tls-key, --client-ca:"
                        + " wanted a PEM certificate chain",
                "--api-key-header x | --api-key-header: wanted --api-key-file as well, got none",
                "--api-key-header grpc-x | argument --api-key-header: wanted letters, digits",
                "--api-key-header x-bin | argument --api-key-header: wanted letters, digits",
                "--api-key-header x:y | argument --api-key-header: wanted letters, digits",
                "--api-key-file none | argument --api-key-file: wanted a readable file, got none",
                "--api-key-file %empty | argument --api-key-file: " + LINE + "%empty",
                "--api-key-file %two-lines | argument --api-key-file: " + LINE + "%two-lines",
                "--api-key-file %latin1 | argument --api-key-file: wanted UTF-8 text, got bytes",
                "--api-key-file %not-ascii | argument --api-key-file: wanted ASCII characters",
                "--api-key-file %blank | argument --api-key-file: wanted ASCII characters without",
                "--password-file %long | argument --password-file: wanted at most 255 bytes, got"
                        + " 256 bytes in %long",
                "--password-file %two-lines | argument --password-file: " + LINE + "%two-lines",
                "--duration 0 | argument --duration: wanted a number of seconds from 1 to"
                        + " 315576000000, got '0'",
                "--duration nan | argument --duration: wanted a number of seconds from 1",
                "--duration 1h | argument --duration: wanted a number of seconds from 1",
                "--duration 1e300 | argument --duration: wanted a number of seconds from 1",
                "--duration 1e999999999 | argument --duration: wanted a number of seconds from 1",
                "--grace 3601 | argument --grace: wanted a number of seconds from 0 to 3600, got"
                        + " '3601'",
                "--grace=-1 | argument --grace: wanted a number of seconds from 0 to 3600, got"
                        + " '-1'",
                "--max-occupants 0 | argument --max-occupants: wanted a whole number from 1 to"
                        + " 2147483647, got '0'",
                "--max-occupants 2147483648 | argument --max-occupants: wanted a whole number",
                "--max-conferences 1.5 | argument --max-conferences: wanted a whole number",
                "--lob | Unknown option: '--lob'",
                "@file | Unmatched argument at index 0: '@file'",
            })
    void badFlags(String flags, String error) throws Exception {
        assertEquals(2, run(flags, address -> {}));
        assertTrue(text(err).startsWith("jicofo-reservation-stub: error: " + error), text(err));
        assertEquals(1, text(err).lines().count());
        assertEquals("", text(out));
    }

    @Test
    @DisplayName("The README lists the same flags as the help")
    void readme() throws Exception {
        assertEquals(0, run("--help", address -> {}));
        Set<String> inHelp = found("--[a-z-]+(?: [A-Z]+|=[A-Z]+)?", text(out).lines()
                .filter(line -> line.strip().startsWith("-"))
                .map(line -> line.strip().replaceFirst("  .*", "").replace('=', ' ')));
        inHelp.remove("--help");
        Set<String> inReadme = found("--[a-z-]+(?: [A-Z]+)?", Files.readString(Path.of("README.md"))
                .lines()
                .filter(line -> line.startsWith("| `--"))
                .map(line -> line.split("\\|")[1]));
        assertEquals(inHelp, inReadme);
    }

    private static Set<String> found(String pattern, Stream<String> lines) {
        return lines
                .flatMap(line -> Pattern.compile(pattern).matcher(line).results())
                .map(MatchResult::group)
                .collect(Collectors.toSet());
    }
}
