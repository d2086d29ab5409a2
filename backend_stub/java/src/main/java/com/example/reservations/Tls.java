package com.example.reservations;

import io.grpc.ServerCredentials;
import io.grpc.TlsServerCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.Collection;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The certificate of the server, and the authority of its clients.
 *
 * @param mutual whether the server accepts only clients with a certificate of that authority (mTLS)
 */
record Tls(ServerCredentials credentials, boolean mutual) {
    // An unencrypted key in the PKCS #8 format (RFC 5958), which Java reads and OpenSSL 3 writes.
    private static final Pattern PKCS8 =
            Pattern.compile("-----BEGIN PRIVATE KEY-----([^-]+)-----END PRIVATE KEY-----");

    /** A TLS file is not valid; the text names the file and the reason. */
    static final class CredentialsException extends Exception {
        CredentialsException(String text) {
            super(text);
        }
    }

    /**
     * Reads and checks the PEM files, so that an error appears now and not in every handshake.
     *
     * @param clientCa the authority of the clients; empty means that the server accepts any client
     * @throws CredentialsException if a file is not readable, if a file is not PEM, if the key is
     *     encrypted, or if the key does not belong to the certificate
     */
    static Tls fromFiles(Path cert, Path key, Optional<Path> clientCa)
            throws CredentialsException {
        byte[] chain = read(cert);
        byte[] privateKey = read(key);
        try {
            checkPair(certificates(chain).iterator().next().getPublicKey(), privateKey);
        } catch (GeneralSecurityException error) {
            throw new CredentialsException(
                    "wanted a PEM certificate chain and its unencrypted private key, got "
                            + cert + " and " + key + ": " + error.getMessage());
        }
        try {
            var credentials = TlsServerCredentials.newBuilder()
                    .keyManager(stream(chain), stream(privateKey));
            if (clientCa.isPresent()) {
                credentials
                        .trustManager(stream(authority(clientCa.get())))
                        .clientAuth(TlsServerCredentials.ClientAuth.REQUIRE);
            }
            return new Tls(credentials.build(), clientCa.isPresent());
        } catch (IOException error) {
            throw new CredentialsException(error.getMessage());
        }
    }

    private static byte[] authority(Path file) throws CredentialsException {
        byte[] pem = read(file);
        try {
            certificates(pem);
        } catch (GeneralSecurityException error) {
            throw new CredentialsException(
                    "wanted PEM certificates of an authority, got " + file + ": "
                            + error.getMessage());
        }
        return pem;
    }

    private static Collection<? extends Certificate> certificates(byte[] pem)
            throws GeneralSecurityException {
        var certificates =
                CertificateFactory.getInstance("X.509").generateCertificates(stream(pem));
        if (certificates.isEmpty()) {
            throw new GeneralSecurityException("the file contains no certificate");
        }
        return certificates;
    }

    private static PrivateKey privateKey(byte[] pem, String algorithm)
            throws GeneralSecurityException {
        Matcher block = PKCS8.matcher(new String(pem, StandardCharsets.ISO_8859_1));
        if (!block.find()) {
            throw new GeneralSecurityException(
                    "the key is not in the PKCS #8 format, or it is encrypted;"
                            + " convert it with openssl pkcs8 -topk8 -nodes");
        }
        try {
            byte[] der = Base64.getMimeDecoder().decode(block.group(1));
            return KeyFactory.getInstance(algorithm).generatePrivate(new PKCS8EncodedKeySpec(der));
        } catch (IllegalArgumentException error) {
            throw new GeneralSecurityException("the key is not Base64: " + error.getMessage());
        }
    }

    /** Signs bytes with the private key, and verifies them with the key of the certificate. */
    private static void checkPair(PublicKey certified, byte[] pem) throws GeneralSecurityException {
        Signature signature = Signature.getInstance(signatureAlgorithm(certified));
        PrivateKey key = privateKey(pem, certified.getAlgorithm());
        byte[] anything = {1, 2, 3};
        signature.initSign(key);
        signature.update(anything);
        byte[] signed = signature.sign();
        signature.initVerify(certified);
        signature.update(anything);
        if (!signature.verify(signed)) {
            throw new GeneralSecurityException("the key belongs to another certificate");
        }
    }

    private static String signatureAlgorithm(PublicKey certified) throws GeneralSecurityException {
        return switch (certified.getAlgorithm()) {
            case "EC" -> "SHA256withECDSA";
            case "RSA" -> "SHA256withRSA";
            default ->
                    throw new GeneralSecurityException(
                            "wanted a certificate with a key of RSA or EC, got a key of "
                                    + certified.getAlgorithm());
        };
    }

    private static byte[] read(Path file) throws CredentialsException {
        try {
            return Files.readAllBytes(file);
        } catch (IOException error) {
            throw new CredentialsException(
                    "wanted a readable file, got " + file + ": " + Text.reason(error));
        }
    }

    private static ByteArrayInputStream stream(byte[] bytes) {
        return new ByteArrayInputStream(bytes);
    }
}
