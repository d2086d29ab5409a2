package com.example.reservations;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** The flags of the command line, and what they make of the server, the policy and the store. */
@Command(
        name = Flags.PROGRAM,
        description = "A reservation backend that keeps its conferences in memory.",
        sortOptions = false,
        usageHelpAutoWidth = true,
        footerHeading = "%nexit codes:%n",
        footer = {
            "  0  stopped by SIGTERM or SIGINT, after the calls that were running",
            "  2  a flag, or the file that it names, cannot be used",
            "  3  could not listen on the address"
        })
final class Flags {
    static final String PROGRAM = "jicofo-reservation-stub";

    /** Flags that do not go together; the text names them. */
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

    @ArgGroup(validate = false, heading = "%nserving:%n", order = 1)
    private final Serving serving = new Serving();

    @ArgGroup(validate = false, heading = "%ndeciding:%n", order = 2)
    private final Deciding deciding = new Deciding();

    private static final class Serving {
        @Option(
                names = "--listen",
                paramLabel = "ADDRESS",
                defaultValue = "127.0.0.1:50051",
                converter = Values.Address.class,
                description =
                        "host:port, where port 0 is any free one, or unix:/path"
                                + " (default: ${DEFAULT-VALUE})")
        private ListenAddress listen;

        @Option(
                names = "--tls-cert",
                paramLabel = "FILE",
                description = "serve TLS: the certificate chain, PEM")
        private Path tlsCert;

        @Option(
                names = "--tls-key",
                paramLabel = "FILE",
                description = "its private key, PEM (PKCS #8)")
        private Path tlsKey;

        @Option(
                names = "--client-ca",
                paramLabel = "FILE",
                description =
                        "let in only clients with a certificate of this authority (mTLS), PEM")
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
                        "let in only calls with the key in this file;"
                                + " health and reflection need none")
        private Secret apiKey;

        @Option(
                names = "--api-key-header",
                paramLabel = "NAME",
                converter = Values.Header.class,
                description =
                        "the metadata key that brings the API key (default: "
                                + ApiKey.DEFAULT_HEADER + ")")
        private String apiKeyHeader;

        @Option(
                names = "--grace",
                paramLabel = "SECONDS",
                converter = Values.Grace.class,
                description =
                        "how long running calls may take when the server stops (default: 5)")
        private Duration grace = ReservationServer.DEFAULT_GRACE;

        @Option(
                names = "--verbose",
                description = "log what was asked for as well, not only answers")
        private boolean verbose;
    }

    private static final class Deciding {
        @Option(
                names = "--deny",
                paramLabel = "PATTERN",
                description = "deny rooms of this name; * and ? as in a shell, repeatable")
        private List<String> deny = List.of();

        @Option(
                names = "--duration",
                paramLabel = "SECONDS",
                converter = Values.Longest.class,
                description = "the longest that a conference lasts (default: without limit)")
        private Duration duration;

        @Option(
                names = "--max-occupants",
                paramLabel = "N",
                converter = Values.Positive.class,
                description = "how many people may be in a room (default: not said)")
        private Integer maxOccupants;

        @Option(
                names = "--lobby",
                description = "let people wait in a lobby (default: not said)")
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
                        "how many conferences may be held at once (default: "
                                + Store.DEFAULT_MAX_CONFERENCES + ")")
        private int maxConferences = Store.DEFAULT_MAX_CONFERENCES;
    }

    boolean verbose() {
        return serving.verbose;
    }

    int maxConferences() {
        return deciding.maxConferences;
    }

    Policy policy() {
        var occupants = deciding.maxOccupants;
        return new Policy(
                deciding.deny.stream().map(Glob::new).toList(),
                Optional.ofNullable(deciding.duration),
                new RoomOptions(
                        occupants == null ? OptionalInt.empty() : OptionalInt.of(occupants),
                        deciding.lobby,
                        Optional.ofNullable(deciding.password)));
    }

    /**
     * Returns how to serve, after a look at whether the flags go together.
     *
     * @throws ConflictException where they do not, or the files for TLS cannot be used
     */
    ReservationServer.Options options() throws ConflictException {
        check(
                (serving.tlsCert == null) == (serving.tlsKey == null),
                "--tls-cert and --tls-key: wanted both or neither, got one");
        check(
                serving.clientCa == null || serving.tlsCert != null,
                "--client-ca: wanted --tls-cert and --tls-key as well, got neither");
        check(
                serving.apiKeyHeader == null || serving.apiKey != null,
                "--api-key-header: wanted --api-key-file as well, got none");
        check(
                !serving.insecure || serving.tlsCert == null,
                "--insecure: wanted plaintext, got --tls-cert; leave one of them out");
        check(
                serving.tlsCert != null || serving.insecure || serving.listen.isLocal(),
                "--listen: wanted a loopback address or a Unix socket without TLS, got "
                        + serving.listen.text()
                        + "; give --tls-cert and --tls-key,"
                        + " or --insecure where the network is trusted");
        String header = Optional.ofNullable(serving.apiKeyHeader).orElse(ApiKey.DEFAULT_HEADER);
        return new ReservationServer.Options(
                serving.listen,
                tls(),
                Optional.ofNullable(serving.apiKey).map(key -> new ApiKey(header, key)),
                serving.grace);
    }

    private Optional<Tls> tls() throws ConflictException {
        if (serving.tlsCert == null) {
            return Optional.empty();
        }
        try {
            var clientCa = Optional.ofNullable(serving.clientCa);
            return Optional.of(Tls.fromFiles(serving.tlsCert, serving.tlsKey, clientCa));
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
