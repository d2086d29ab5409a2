package com.example.reservations;

import java.util.Arrays;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * A shell pattern for a whole name. {@code *} matches any text, {@code ?} matches any one
 * character, and any other character matches itself. Upper and lower case are the same.
 */
final class Glob {
    private final Pattern pattern;

    Glob(String text) {
        pattern = Pattern.compile(
                expression(text),
                Pattern.CASE_INSENSITIVE | Pattern.UNICODE_CASE | Pattern.DOTALL);
    }

    boolean matches(String name) {
        return pattern.matcher(name).matches();
    }

    /**
     * Returns the pattern as a regular expression that is fast for every name. The part between two
     * stars may match at its first possible place: a later place never helps. So the part is in an
     * atomic group, and the expression does not try later places.
     */
    private static String expression(String glob) {
        String[] parts = glob.split("\\*+", -1);
        if (parts.length == 1) {
            return literal(glob);
        }
        int last = parts.length - 1;
        String between = Arrays.stream(parts, 1, last)
                .map(part -> "(?>.*?" + literal(part) + ")")
                .collect(Collectors.joining());
        return literal(parts[0]) + between + ".*" + literal(parts[last]);
    }

    private static String literal(String part) {
        return Arrays.stream(part.split("\\?", -1))
                .map(Pattern::quote)
                .collect(Collectors.joining("."));
    }
}
