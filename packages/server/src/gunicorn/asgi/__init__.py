"""ASGI 3.0 as pure logic: HTTP events to scopes and messages, and back. The asyncio driver owns the I/O.

    Request ─► scope.ScopeMaker.make                  ─► the application's scope
    Data    ─► cycle.HTTPCycle.feed ─► next_message   ─► what ``receive()`` answers
    OutEvent ◄─ cycle.HTTPCycle.event_for             ◄─ what the application gave to ``send()``
    lifespan.Lifespan                                    the application's startup and shutdown

Nothing in here touches a socket, a clock, a thread or an event loop.
"""
