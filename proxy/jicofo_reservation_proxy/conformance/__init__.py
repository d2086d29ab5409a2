"""The conformance kit: it checks that a backend, in any language, follows the contract.

The command `jicofo-reservation-proxy conformance TARGET` runs the kit. A pytest suite can run it,
too:

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
