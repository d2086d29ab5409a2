"""The tests of jicofo-reservation-proxy."""
