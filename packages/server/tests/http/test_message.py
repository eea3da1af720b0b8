"""The door that hooks import their request type from."""

from gunicorn.http import events, message


def test_it_leads_to_the_request() -> None:
    assert message.Request is events.Request
