package com.example.reservations;

import java.io.File;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** A certificate authority and its certificates, as files. It runs openssl as the README does. */
final class Authority {
    private static final List<String> NEW_KEY = List.of(
            "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes");

    private final Path folder;
    final Path file;

    Authority(Path folder) throws Exception {
        this.folder = folder;
        file = folder.resolve("ca.pem");
        openssl(NEW_KEY, "req -x509 -days 1 -subj /CN=test-CA -keyout ca.key -out ca.pem");
    }

    /** A certificate and its key. */
    record Pair(Path cert, Path key) {}

    /** Issues a certificate for a name. */
    Pair issue(String name) throws Exception {
        openssl(
                NEW_KEY,
                "req -subj /CN=%1$s -addext subjectAltName=DNS:%1$s -keyout %1$s.key -out %1$s.csr"
                        .formatted(name));
        openssl(
                List.of(),
                ("x509 -req -in %1$s.csr -CA ca.pem -CAkey ca.key -copy_extensions copy -days 1"
                                + " -out %1$s.pem")
                        .formatted(name));
        return new Pair(folder.resolve(name + ".pem"), folder.resolve(name + ".key"));
    }

    /** Runs openssl in the folder of this authority. */
    void openssl(List<String> more, String arguments) throws Exception {
        List<String> command =
                Stream.of(List.of("openssl"), List.of(arguments.split(" ")), more)
                        .flatMap(List::stream)
                        .toList();
        File log = folder.resolve("openssl.log").toFile();
        Process process = new ProcessBuilder(command)
                .directory(folder.toFile())
                .redirectErrorStream(true)
                .redirectOutput(log)
                .start();
        if (Timeouts.exitCode(process, "openssl did not end") != 0) {
            throw new IOException(command + " failed; see " + log);
        }
    }
}
