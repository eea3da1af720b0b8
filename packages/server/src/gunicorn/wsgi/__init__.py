"""WSGI (PEP 3333) as a pure layer: a request event becomes an environ, what the application says becomes events.

``environ`` builds the dict, ``response`` is one call of an application: ``start_response``, the body, the end. The
drivers call both through ``drivers.runner``.
"""
