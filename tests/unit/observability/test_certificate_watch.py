"""The warnings about certificates that end soon."""

import pytest
from jicofo_reservation_proxy.certificates import CertificateEnd
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.observability.certificate_watch import CertificateWatch

DAY_MS = 86_400_000


def test_a_certificate_that_ends_soon_is_a_warning_each_day(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At the start and then once a day, for each certificate with less than 14 days left."""
    seconds = [0.0]
    ends = {"soon": 13, "late": 15, "over": -1}
    found = [CertificateEnd(key, now_ms() + days * DAY_MS + 9000) for key, days in ends.items()]
    watch = CertificateWatch(lambda: found, lambda: seconds[0])
    for moment in (0.0, 2.0, 86_399.0):
        seconds[0] = moment
        watch.refresh()
    soon, over = caplog.messages
    assert soon.startswith("soon: a certificate ends in 13d, at ")
    assert over.startswith("over: a certificate ends already, at ")
    seconds[0] = 86_400.0
    watch.refresh()
    assert len(caplog.messages) == 4
