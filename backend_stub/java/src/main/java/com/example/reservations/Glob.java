package com.example.reservations;

import java.util.Arrays;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * A pattern as of a shell for a whole name: {@code *} is any text, {@code ?} any one character, and
 * everything else is itself. Case does not matter.
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
     * Returns the pattern as a regular expression that is quick with every name: between two stars,
     * the first place that fits is as good as any later one, and an atomic group holds on to it.
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
