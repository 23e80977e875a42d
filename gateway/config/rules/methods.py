"""Which methods there are, and which may be repeated."""

from __future__ import annotations

# What the HTTP parser in front takes (llhttp's table); any other method is answered 400 before a route is looked up.
_TABLE = (
    "DELETE GET HEAD POST PUT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND "
    "ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK UNLINK "
    "SOURCE QUERY"
)
METHODS = frozenset(_TABLE.split())
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})  # RFC 9110 section 9.2.2
