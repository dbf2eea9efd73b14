//! Basin over the wire: the real server, real sockets, real files.
