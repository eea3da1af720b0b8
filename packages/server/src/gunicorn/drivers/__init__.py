"""The drivers: the only code that touches the sockets of clients.

    selector   an epoll loop that never blocks on a client; requests run inline (``sync``) or on threads (``gthread``)
    greenlet   blocking style on gevent's cooperative sockets (``gevent``)
    asyncio    protocols on an event loop (``asgi``)

``runner`` calls the WSGI application for the first two, ``spool`` holds request bodies, ``poller`` wraps epoll.
"""
