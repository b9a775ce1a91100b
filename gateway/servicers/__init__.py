"""TRANSLATE: the contract's messages to the domain's nouns and back, and the doors in front of them.

Servicers are thin: a request is read by `wire`, handed to application (commands) or services (questions),
and the answer is written by `wire`. What every call has in common is done once, in `interceptors`: who is
calling, deadlines, request ids, malformed bytes, errors to statuses, spans. Nothing here decides.
"""
