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

/** Converters for the values of the flags. Each error names the wanted and the given value. */
final class Values {
    private static final int GRACE_SECONDS_MAX = 3600;
    // The maximum of google.protobuf.Duration, about 10,000 years.
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

    /** The time that running calls get when the server stops. */
    static final class Grace implements ITypeConverter<Duration> {
        @Override
        public Duration convert(String text) {
            return seconds(text, 0, GRACE_SECONDS_MAX);
        }
    }

    /** The maximum duration of a conference. */
    static final class Longest implements ITypeConverter<Duration> {
        @Override
        public Duration convert(String text) {
            return seconds(text, 1, DURATION_SECONDS_MAX);
        }
    }

    /** A metadata key. */
    static final class Header implements ITypeConverter<String> {
        // The characters that gRPC allows in metadata keys. Keys that end in "-bin" have binary
        // values, and gRPC reserves keys that begin with "grpc-".
        private static final Pattern ALLOWED = Pattern.compile("(?!grpc-)[0-9a-z_.-]+(?<!-bin)");

        @Override
        public String convert(String text) {
            String name = text.toLowerCase(Locale.ROOT);
            if (!ALLOWED.matcher(name).matches()) {
                throw new TypeConversionException(
                        "wanted letters, digits, '-', '_' and '.', without 'grpc-' at the start"
                                + " or '-bin' at the end, got " + Text.quoted(text));
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
                // gRPC accepts only printable ASCII in a metadata value, and may strip spaces at
                // its ends.
                throw new TypeConversionException(
                        "wanted ASCII characters without spaces at the start or the end,"
                                + " got other characters in " + path);
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
                        "wanted at most " + PASSWORD_BYTES_MAX + " bytes, got " + size
                                + " bytes in " + path);
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
            // The method throws the same error as for a number that is out of range.
        }
        throw new TypeConversionException(
                "wanted a number of seconds from " + least + " to " + most + ", got "
                        + Text.quoted(text));
    }

    /** Returns the single line of a file, without the line ending. */
    private static String line(String path) {
        String text;
        try {
            text = Files.readString(Path.of(path)).replaceFirst("\r?\n\\z", "");
        } catch (CharacterCodingException error) {
            throw new TypeConversionException(
                    "wanted UTF-8 text, got bytes that are not valid UTF-8 in " + path);
        } catch (IOException error) {
            throw new TypeConversionException(
                    "wanted a readable file, got " + path + ": " + Text.reason(error));
        }
        if (text.isEmpty() || !text.codePoints().allMatch(Text::isPrintable)) {
            throw new TypeConversionException(
                    "wanted a single line of printable text, got an empty file, several lines or"
                            + " control characters in " + path);
        }
        return text;
    }
}
