package com.example.reservations;

import java.io.IOException;
import java.math.BigDecimal;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;
import java.util.regex.Pattern;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** What the values of the flags may be. Each error says what was wanted and what was got. */
final class Values {
    private static final int GRACE_SECONDS_MAX = 3600;
    // A duration in the contract's messages ends at 10,000 years.
    private static final long DURATION_SECONDS_MAX = 315_576_000_000L;
    private static final int NANOS_PER_SECOND_DIGITS = 9;
    private static final int PASSWORD_BYTES_MAX = 255;

    private Values() {}

    /** An address to listen on. */
    static final class Address implements ITypeConverter<ListenAddress> {
        @Override
        public ListenAddress convert(String text) {
            try {
                return ListenAddress.parse(text);
            } catch (IllegalArgumentException error) {
                throw new TypeConversionException(error.getMessage());
            }
        }
    }

    /** A whole number of 1 or more. */
    static final class Positive implements ITypeConverter<Integer> {
        @Override
        public Integer convert(String text) {
            if (!text.matches("[0-9]{1,10}")
                    || Long.parseLong(text) < 1
                    || Long.parseLong(text) > Integer.MAX_VALUE) {
                throw new TypeConversionException(
                        "wanted a whole number from 1 to " + Integer.MAX_VALUE + ", got "
                                + Text.quoted(text));
            }
            return Integer.valueOf(text);
        }
    }

    /** How long running calls may take. */
    static final class Grace implements ITypeConverter<Duration> {
        @Override
        public Duration convert(String text) {
            return seconds(text, 0, GRACE_SECONDS_MAX);
        }
    }

    /** How long a conference may last. */
    static final class Longest implements ITypeConverter<Duration> {
        @Override
        public Duration convert(String text) {
            return seconds(text, 1, DURATION_SECONDS_MAX);
        }
    }

    /** A metadata key. */
    static final class Header implements ITypeConverter<String> {
        // What gRPC allows; those in "-bin" are binary, "grpc-" is its own.
        private static final Pattern ALLOWED = Pattern.compile("(?!grpc-)[0-9a-z_.-]+(?<!-bin)");

        @Override
        public String convert(String text) {
            String name = text.toLowerCase(Locale.ROOT);
            if (!ALLOWED.matcher(name).matches()) {
                throw new TypeConversionException(
                        "wanted letters, digits, '-', '_' and '.', no grpc-... or ...-bin, got "
                                + Text.quoted(text));
            }
            return name;
        }
    }

    /** A file with an API key. */
    static final class KeyFile implements ITypeConverter<Secret> {
        @Override
        public Secret convert(String path) {
            String key = line(path);
            if (!StandardCharsets.US_ASCII.newEncoder().canEncode(key)
                    || !key.equals(key.strip())) {
                // HTTP/2 carries nothing else in a header.
                throw new TypeConversionException(
                        "wanted ASCII without blanks around it, got something else in " + path);
            }
            return new Secret(key);
        }
    }

    /** A file with a password for rooms. */
    static final class PasswordFile implements ITypeConverter<Secret> {
        @Override
        public Secret convert(String path) {
            String password = line(path);
            int size = password.getBytes(StandardCharsets.UTF_8).length;
            if (size > PASSWORD_BYTES_MAX) {
                throw new TypeConversionException(
                        "wanted at most " + PASSWORD_BYTES_MAX + " bytes, got " + size + " in "
                                + path);
            }
            return new Secret(password);
        }
    }

    private static Duration seconds(String text, long least, long most) {
        try {
            BigDecimal seconds = new BigDecimal(text);
            if (seconds.compareTo(BigDecimal.valueOf(least)) >= 0
                    && seconds.compareTo(BigDecimal.valueOf(most)) <= 0) {
                BigDecimal nanos = seconds
                        .remainder(BigDecimal.ONE)
                        .movePointRight(NANOS_PER_SECOND_DIGITS);
                return Duration.ofSeconds(seconds.longValue(), nanos.longValue());
            }
        } catch (NumberFormatException notANumber) {
            // The same error as for a number that is out of range.
        }
        throw new TypeConversionException(
                "wanted seconds from " + least + " to " + most + ", got " + Text.quoted(text));
    }

    /** Returns the one line of a file, without its end. */
    private static String line(String path) {
        String text;
        try {
            text = Files.readString(Path.of(path)).replaceFirst("\r?\n\\z", "");
        } catch (CharacterCodingException error) {
            throw new TypeConversionException(
                    "wanted one line of UTF-8, got other bytes in " + path);
        } catch (IOException error) {
            throw new TypeConversionException(
                    "wanted a readable file, got " + path + ": " + Text.reason(error));
        }
        if (text.isEmpty() || !text.codePoints().allMatch(Text::isPrintable)) {
            throw new TypeConversionException(
                    "wanted one line of printable text, got something else in " + path);
        }
        return text;
    }
}
