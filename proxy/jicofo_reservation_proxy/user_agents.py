"""What the clients call themselves (clients.md "User-Agent")."""

JICOFO = "Apache-HttpClient/4.5.13 (Java/17)"
PROSODY = "Prosody (0.12.3; posix)"
