"""Tests of the HTTP backend in `backend_stub/http`."""
