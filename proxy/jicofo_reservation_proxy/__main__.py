"""`python -m jicofo_reservation_proxy`."""

from .cli import run

if __name__ == "__main__":
    run()
