package com.example.reservations;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.UnixDomainSocketAddress;
import java.net.UnknownHostException;
import java.nio.file.Path;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The address to listen on: {@code host:port} (port 0: any free port) or {@code unix:/path}. */
record ListenAddress(String text, Optional<Path> unixPath, String host, int port) {
    private static final Pattern HOST_PORT = Pattern.compile("(.+):([0-9]{1,5})");
    private static final Pattern UNIX = Pattern.compile("unix:(?://)?(.+)");
    private static final int PORT_MAX = 65_535;

    /**
     * Parses an address.
     *
     * @throws IllegalArgumentException if the text has neither of the two forms
     */
    static ListenAddress parse(String text) {
        Matcher unix = UNIX.matcher(text);
        if (unix.matches()) {
            return new ListenAddress(text, Optional.of(Path.of(unix.group(1))), "", 0);
        }
        Matcher tcp = HOST_PORT.matcher(text);
        if (tcp.matches() && Integer.parseInt(tcp.group(2)) <= PORT_MAX) {
            String host = tcp.group(1).replaceAll("^\\[|]$", "");
            return new ListenAddress(
                    text, Optional.empty(), host, Integer.parseInt(tcp.group(2)));
        }
        throw new IllegalArgumentException(
                "wanted host:port or unix:/path, got " + Text.quoted(text)
                        + "; for example 127.0.0.1:50051");
    }

    /**
     * Returns whether only this machine can reach the address. For a host name other than
     * localhost, the result is false.
     */
    boolean isLocal() {
        if (unixPath.isPresent() || host.equals("localhost")) {
            return true;
        }
        boolean isNumber = host.contains(":") || host.matches("[0-9.]+");
        try {
            return isNumber && InetAddress.getByName(host).isLoopbackAddress();
        } catch (UnknownHostException error) {
            return false;
        }
    }

    /** Returns the address for a socket; a host name is resolved now. */
    SocketAddress socketAddress() {
        return unixPath.isPresent()
                ? UnixDomainSocketAddress.of(unixPath.get())
                : new InetSocketAddress(host, port);
    }

    /** Returns the same address with another port; a Unix socket has no port. */
    String withPort(int realPort) {
        return unixPath.isPresent()
                ? text
                : text.substring(0, text.lastIndexOf(':') + 1) + realPort;
    }
}
