"""The drivers: the only code that touches the sockets of clients.

    selector   an epoll loop that never blocks on a client; requests run inline (``sync``) or on threads (``gthread``)
    greenlet   blocking style on gevent's cooperative sockets (``gevent``)
    asyncio    protocols on an event loop (``asgi``)

``runner`` calls the WSGI application for the first two, ``body_stream`` is its input while a body arrives, and
``admission`` says who gives way when all connections are taken. Of the selector driver: ``channel`` is a connection
(``tls_channel`` under TLS, ``reserve`` with a health path), ``crew`` its threads, ``spool`` holds bodies, ``sendfile``
sends files, ``poller`` wraps epoll.
"""
