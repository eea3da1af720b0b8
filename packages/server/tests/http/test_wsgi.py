"""The door that hooks import their response type from."""

from gunicorn.http import wsgi
from gunicorn.wsgi import file, response


def test_it_leads_to_the_response() -> None:
    assert wsgi.Response is response.Response
    assert wsgi.FileWrapper is file.FileWrapper
