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
     * Returns a regular expression that is fast for every name. A part between two stars can always
     * use its first match in the name: if the pattern matches with a later match of the part, it
     * matches with the first one too. So each such part is in an atomic group, and the regular
     * expression does not try a later match.
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
