package com.example.reservations;

import static com.example.reservations.Backend.stub;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Status;
import io.grpc.TlsChannelCredentials;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

@DisplayName("TLS and mTLS")
final class TlsTest {
    @TempDir private static Path goodFolder;
    @TempDir private static Path otherFolder;
    private static Authority authority;
    private static Authority otherAuthority;
    private static Authority.Pair server;

    private final Backend backend = new Backend();

    @BeforeAll
    static void makeCertificates() throws Exception {
        authority = new Authority(goodFolder);
        otherAuthority = new Authority(otherFolder);
        server = authority.issue("localhost");
    }

    @AfterEach
    void stop() throws InterruptedException {
        backend.stop();
    }

    private String serveTls(boolean isMutual) throws Exception {
        var ca = isMutual ? Optional.of(authority.file) : Optional.<Path>empty();
        Tls tls = Tls.fromFiles(server.cert(), server.key(), ca);
        return backend.serve(Backend.options(Optional.of(tls), Optional.empty()));
    }

    /** Returns the status of a call over TLS; NOT_FOUND means that the server accepted it. */
    private Status.Code call(String address, Path ca, Optional<Authority.Pair> client)
            throws Exception {
        var credentials = TlsChannelCredentials.newBuilder().trustManager(ca.toFile());
        if (client.isPresent()) {
            credentials.keyManager(client.get().cert().toFile(), client.get().key().toFile());
        }
        return Backend.get(stub(backend.dial(address, credentials.build())));
    }

    private static String localhost(String address) {
        return address.replace("127.0.0.1", "localhost");
    }

    @Test
    @DisplayName("With TLS, a client must trust the authority and use the name of the server")
    void tls() throws Exception {
        String address = serveTls(false);
        assertEquals(
                Status.Code.NOT_FOUND,
                call(localhost(address), authority.file, Optional.empty()));
        assertEquals(
                Status.Code.UNAVAILABLE,
                call(localhost(address), otherAuthority.file, Optional.empty()));
        assertEquals(
                Status.Code.UNAVAILABLE, call(address, authority.file, Optional.empty()));
        assertEquals(Status.Code.UNAVAILABLE, Backend.get(stub(backend.dial(address))));
    }

    @Test
    @DisplayName("With mTLS, only a client with a certificate of the authority can call")
    void mutualTls() throws Exception {
        String address = localhost(serveTls(true));
        assertEquals(
                Status.Code.NOT_FOUND,
                call(address, authority.file, Optional.of(authority.issue("client"))));
        assertEquals(
                Status.Code.UNAVAILABLE, call(address, authority.file, Optional.empty()));
        assertEquals(
                Status.Code.UNAVAILABLE,
                call(address, authority.file, Optional.of(otherAuthority.issue("client"))));
    }

    @Test
    @DisplayName("The error for a missing TLS file names the file")
    void missingFile() {
        Path missing = goodFolder.resolve("missing.pem");
        var error = assertThrows(
                Tls.CredentialsException.class,
                () -> Tls.fromFiles(server.cert(), server.key(), Optional.of(missing)));
        assertEquals(
                "wanted a readable file, got " + missing + ": No such file or directory",
                error.getMessage());
    }

    @Test
    @DisplayName("If a TLS file is not valid, the error appears before the first handshake")
    void unusablePair() throws Exception {
        Path broken = Files.writeString(goodFolder.resolve("broken.pem"), "no PEM");
        authority.openssl(
                List.of(), "ec -aes256 -passout pass:x -in localhost.key -out locked.key");
        authority.openssl(List.of(), "genrsa -out rsa.key 2048");
        Path damaged = Files.writeString(
                goodFolder.resolve("damaged.key"),
                "-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----\n");
        Path truncated = Files.writeString(
                goodFolder.resolve("truncated.key"),
                "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n");
        List<Authority.Pair> pairs = List.of(
                new Authority.Pair(broken, server.key()),
                new Authority.Pair(server.cert(), damaged),
                new Authority.Pair(server.cert(), truncated),
                new Authority.Pair(server.cert(), broken),
                new Authority.Pair(server.cert(), goodFolder.resolve("locked.key")),
                new Authority.Pair(server.cert(), goodFolder.resolve("rsa.key")),
                new Authority.Pair(server.cert(), authority.issue("client").key()));
        for (Authority.Pair pair : pairs) {
            var error = assertThrows(
                    Tls.CredentialsException.class,
                    () -> Tls.fromFiles(pair.cert(), pair.key(), Optional.empty()));
            String start = "wanted a PEM certificate chain and its unencrypted private key, got "
                    + pair.cert() + " and " + pair.key() + ": ";
            assertTrue(error.getMessage().startsWith(start), error::getMessage);
        }
        var error = assertThrows(
                Tls.CredentialsException.class,
                () -> Tls.fromFiles(server.cert(), server.key(), Optional.of(broken)));
        assertTrue(
                error.getMessage().startsWith(
                        "wanted PEM certificates of an authority, got " + broken),
                error::getMessage);
    }

    @Test
    @DisplayName("The error for a key of another type names the types that the server supports")
    void unknownKindOfKey() throws Exception {
        authority.openssl(
                List.of(),
                "req -x509 -newkey ed25519 -nodes -days 1 -subj /CN=localhost"
                        + " -keyout ed25519.key -out ed25519.pem");
        var error = assertThrows(
                Tls.CredentialsException.class,
                () -> Tls.fromFiles(
                        goodFolder.resolve("ed25519.pem"),
                        goodFolder.resolve("ed25519.key"),
                        Optional.empty()));
        assertTrue(
                error.getMessage().endsWith(
                        ": wanted a certificate with a key of RSA or EC, got a key of EdDSA"),
                error::getMessage);
    }
}
