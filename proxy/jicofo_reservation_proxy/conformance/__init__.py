"""The conformance kit: whether a backend keeps the contract, in whatever language it is written.

`jicofo-reservation-proxy conformance TARGET` is its command. In a test suite of pytest:

    @pytest.fixture(scope="session")
    def kit():
        with Kit("127.0.0.1:50051", without={"denial"}) as kit:
            yield kit

    @pytest.mark.parametrize("case", cases(), ids=str)
    def test_the_contract(kit, case):
        kit.run(case).raise_for_failure()
"""

from .case import Case, cases
from .kit import Kit
from .result import Result, Verdict

__all__ = ["Case", "Kit", "Result", "Verdict", "cases"]
