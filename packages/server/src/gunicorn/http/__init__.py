"""HTTP as a pure library: bytes in, events out; events in, bytes out.

Nothing in this package touches a socket, a clock, a thread or an event loop; ``integration/tests/test_architecture.py``
holds it to that. The drivers own the I/O and feed a :class:`~gunicorn.http.connection.Connection`.

    bytes ─► Connection.receive_data ─► Connection.next_event ─► Request, Data, Disconnected
    bytes ◄─ Connection.data_to_send ◄─ Connection.send       ◄─ Informational, ResponseHead, Data
"""
