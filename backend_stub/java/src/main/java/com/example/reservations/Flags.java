package com.example.reservations;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** The flags of the command line, and the options of the server, the policy and the store. */
@Command(
        name = Flags.PROGRAM,
        description = "A reservation backend that keeps its conferences in memory.",
        sortOptions = false,
        usageHelpAutoWidth = true,
        footerHeading = "%nexit codes:%n",
        footer = {
            "  0  stopped by SIGTERM or SIGINT; --grace limits the time that running calls get",
            "  2  the value of a flag, or the file that a flag names, is not valid",
            "  3  the server could not listen on the address"
        })
final class Flags {
    static final String PROGRAM = "jicofo-reservation-stub";

    /** Flags that contradict each other, or a TLS file that is not valid; the text names them. */
    static final class ConflictException extends Exception {
        ConflictException(String text) {
            super(text);
        }
    }

    @Option(
            names = {"-h", "--help"},
            usageHelp = true,
            description = "show this help and exit")
    boolean help;

    @ArgGroup(validate = false, heading = "%noptions of the server:%n", order = 1)
    private final ServerOptions server = new ServerOptions();

    @ArgGroup(validate = false, heading = "%nrules of the backend:%n", order = 2)
    private final Rules rules = new Rules();

    private static final class ServerOptions {
        @Option(
                names = "--listen",
                paramLabel = "ADDRESS",
                defaultValue = "127.0.0.1:50051",
                converter = Values.Address.class,
                description =
                        "the address to listen on: host:port (port 0: any free port) or unix:/path"
                                + " (default: ${DEFAULT-VALUE})")
        private ListenAddress listen;

        @Option(
                names = "--tls-cert",
                paramLabel = "FILE",
                description = "serve TLS with the certificate chain in this file (PEM)")
        private Path tlsCert;

        @Option(
                names = "--tls-key",
                paramLabel = "FILE",
                description =
                        "the private key of the certificate (PEM, PKCS #8, not encrypted)")
        private Path tlsKey;

        @Option(
                names = "--client-ca",
                paramLabel = "FILE",
                description =
                        "accept only clients with a certificate of this authority (mTLS, PEM)")
        private Path clientCa;

        @Option(
                names = "--insecure",
                description = "allow plaintext on an address that is not loopback")
        private boolean insecure;

        @Option(
                names = "--api-key-file",
                paramLabel = "FILE",
                converter = Values.KeyFile.class,
                description =
                        "accept only calls with the API key in this file;"
                                + " health checks and reflection need no key")
        private Secret apiKey;

        @Option(
                names = "--api-key-header",
                paramLabel = "NAME",
                converter = Values.Header.class,
                description =
                        "the metadata key that carries the API key (default: "
                                + ApiKey.DEFAULT_HEADER + ")")
        private String apiKeyHeader;

        @Option(
                names = "--grace",
                paramLabel = "SECONDS",
                converter = Values.Grace.class,
                description =
                        "how long the running calls may continue after a stop signal"
                                + " (default: 5)")
        private Duration grace = ReservationServer.DEFAULT_GRACE;

        @Option(
                names = "--verbose",
                description = "log each create request, in addition to its answer")
        private boolean verbose;
    }

    private static final class Rules {
        @Option(
                names = "--deny",
                paramLabel = "PATTERN",
                description =
                        "deny rooms whose name matches this pattern (* and ? as in a shell);"
                                + " may be repeated")
        private List<String> deny = List.of();

        @Option(
                names = "--duration",
                paramLabel = "SECONDS",
                converter = Values.Longest.class,
                description = "the maximum duration of a conference (default: no limit)")
        private Duration duration;

        @Option(
                names = "--max-occupants",
                paramLabel = "N",
                converter = Values.Positive.class,
                description = "the maximum number of people in a room (default: not set)")
        private Integer maxOccupants;

        @Option(
                names = "--lobby",
                description = "turn on the lobby in every room (default: not set)")
        private boolean lobby;

        @Option(
                names = "--password-file",
                paramLabel = "FILE",
                converter = Values.PasswordFile.class,
                description = "protect every room with the password in this file")
        private Secret password;

        @Option(
                names = "--max-conferences",
                paramLabel = "N",
                converter = Values.Positive.class,
                description =
                        "the maximum number of conferences in the store (default: "
                                + Store.DEFAULT_MAX_CONFERENCES + ")")
        private int maxConferences = Store.DEFAULT_MAX_CONFERENCES;
    }

    boolean verbose() {
        return server.verbose;
    }

    int maxConferences() {
        return rules.maxConferences;
    }

    Policy policy() {
        var occupants = rules.maxOccupants;
        return new Policy(
                rules.deny.stream().map(Glob::new).toList(),
                Optional.ofNullable(rules.duration),
                new RoomOptions(
                        occupants == null ? OptionalInt.empty() : OptionalInt.of(occupants),
                        rules.lobby,
                        Optional.ofNullable(rules.password)));
    }

    /**
     * Returns the options of the server.
     *
     * @throws ConflictException if flags contradict each other, or if a TLS file is not valid
     */
    ReservationServer.Options options() throws ConflictException {
        check(
                (server.tlsCert == null) == (server.tlsKey == null),
                "--tls-cert and --tls-key: wanted both flags or neither, got only one");
        check(
                server.clientCa == null || server.tlsCert != null,
                "--client-ca: wanted --tls-cert and --tls-key as well, got neither");
        check(
                server.apiKeyHeader == null || server.apiKey != null,
                "--api-key-header: wanted --api-key-file as well, got none");
        check(
                !server.insecure || server.tlsCert == null,
                "--insecure: wanted no TLS flags, got --tls-cert; remove one of the two flags");
        check(
                server.tlsCert != null || server.insecure || server.listen.isLocal(),
                "--listen: wanted a loopback address or a Unix socket, since there is no TLS, got "
                        + server.listen.text()
                        + "; add --tls-cert and --tls-key,"
                        + " or add --insecure if you trust the network");
        String header = Optional.ofNullable(server.apiKeyHeader).orElse(ApiKey.DEFAULT_HEADER);
        return new ReservationServer.Options(
                server.listen,
                tls(),
                Optional.ofNullable(server.apiKey).map(key -> new ApiKey(header, key)),
                server.grace);
    }

    private Optional<Tls> tls() throws ConflictException {
        if (server.tlsCert == null) {
            return Optional.empty();
        }
        try {
            var clientCa = Optional.ofNullable(server.clientCa);
            return Optional.of(Tls.fromFiles(server.tlsCert, server.tlsKey, clientCa));
        } catch (Tls.CredentialsException error) {
            throw new ConflictException(
                    "--tls-cert, --tls-key, --client-ca: " + error.getMessage());
        }
    }

    private static void check(boolean isGood, String problem) throws ConflictException {
        if (!isGood) {
            throw new ConflictException(problem);
        }
    }
}
