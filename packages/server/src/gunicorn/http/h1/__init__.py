"""HTTP/1.0 and HTTP/1.1 (RFC 9112).

``head`` reads request heads, ``body`` reads message bodies, ``response`` writes responses; ``connection`` holds the
state between them. All of it is strict: what two readers could frame differently is refused.
"""
